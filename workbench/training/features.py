"""Features of a frozen backbone, computed once for a whole data set and kept on the disk for many trainings.

The folder of one data set and one backbone holds::

    manifest.json                          data set, backbone, digest of its weights, strides and channels
    trainval/scale-0.5/images.jsonl        one line for each finished image: name, size, digest of its pixels
    trainval/scale-0.5/stride-8.npy        (cells, channels), half precision: the images one after another, row by row
    trainval/scale-0.5-mirrored/...        the same for the mirrored images

Each side of a picture is multiplied by ``scale`` and rounded to a multiple of 32 pixels, so that every cell lies within
the picture. A stopped extraction goes on after the last image that has its line. Files are read as memory maps; nothing
is pickled.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.lib.format import open_memmap
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from workbench.checks import check_positive
from workbench.data.dataset import CrowdDataset
from workbench.data.files.folders import default_place
from workbench.data.files.resizing import resize_rule
from workbench.data.sample import CrowdSample
from workbench.data.transforms import resize_sample
from workbench.io.files import write_json
from workbench.io.lock import own_folder
from workbench.io.text import read_object
from workbench.models.backbones import Backbone, open_backbone

MULTIPLE = 32
"""Sides of the resized pictures are multiples of this: the largest stride of the usual backbones."""
MANIFEST_FORMAT = 1


class Kept(BaseModel):
    """Which kept features a training uses.

    Attributes:
        scale: of the pictures in training and scoring; crops, widths and radii are in pixels at this scale.
        zooms: further scales from which training patches are cut, each as likely as ``scale``.
        mirrored: whether mirrored patches come from features of the mirrored picture; else the maps are mirrored.
        place: the folder of kept features; None for ``features`` beside the data sets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scale: float = Field(1.0, gt=0)
    zooms: tuple[float, ...] = ()
    mirrored: bool = False
    place: str | None = None


class Extracted(NamedTuple):
    """Numbers of images: made by this call, found finished, and in all; an image counts once at each scale."""

    made: int
    found: int
    images: int


def kept_folder(dataset: str, backbone: str, place: str | Path | None = None) -> Path:
    """The folder of the features of one data set and one backbone."""
    return (default_place("features") if place is None else Path(place)) / f"{dataset}-{backbone}"


def kept_rule(scale: float) -> str:
    """The rule, see :mod:`workbench.data.files.resizing`, by which pictures are resized before the backbone."""
    return f"scale:{scale:g},multiple:{MULTIPLE}"


def kept_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(H, W) of a picture of ``size`` at ``scale``: the nearest multiples of 32, at least one."""
    return resize_rule(kept_rule(scale))(size)


def expected_bytes(
    parts: Mapping[str, CrowdDataset], backbone: Backbone, scales: Sequence[float], *, mirrored: bool = False
) -> int:
    """The disk space that an extraction needs, in bytes."""
    pixels = sum(
        math.prod(kept_size(part.size_of(index), scale))
        for part in parts.values()
        for index in range(len(part))
        for scale in scales
    )
    return round(pixels * bytes_a_pixel(backbone)) * (1 + mirrored)


def expected_seconds(
    parts: Mapping[str, CrowdDataset], backbone: Backbone, scales: Sequence[float], *, mirrored: bool = False
) -> float:
    """The backbone's seconds on this machine, measured with 256 x 256 pixels of noise; decoding is not counted."""
    image = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        backbone(image)
        started = time.perf_counter()
        backbone(image)
    a_pixel = (time.perf_counter() - started) / 256**2
    return a_pixel * expected_bytes(parts, backbone, scales, mirrored=mirrored) / bytes_a_pixel(backbone)


def bytes_a_pixel(backbone: Backbone) -> float:
    """Bytes of the features, in half precision, per pixel of the picture."""
    return sum(2 * count / stride**2 for count, stride in zip(backbone.channels, backbone.strides, strict=True))


def extract(
    parts: Mapping[str, CrowdDataset],
    backbone: Backbone,
    folder: str | Path,
    *,
    dataset: str,
    scales: Sequence[float] = (1.0,),
    mirrored: bool = False,
    on_done: Callable[[Extracted], None] | None = None,
) -> Extracted:
    """Compute and keep the features of every image; goes on where an earlier call was stopped.

    Args:
        parts: "trainval" and "test", each a data set.
        backbone: with its weights.
        folder: see :func:`kept_folder`.
        dataset: the data set's name.
        scales: factors on the sides of the pictures.
        mirrored: whether to keep the features of the mirrored pictures, too.
        on_done: called after each image at each scale.

    Raises:
        ValueError: a scale is not above zero, or the folder holds features of another data set or backbone.
        FolderInUseError: another process writes there.
    """
    for scale in scales:
        check_positive(scale, "scales")
    folder = Path(folder)
    with own_folder(folder):
        wanted = about(dataset, backbone)
        if (folder / "manifest.json").is_file():
            check_manifest(folder, wanted)
        else:
            write_json(folder / "manifest.json", wanted)
        views = [(part, scale, side) for part in parts for scale in scales for side in ((False, True)[: 1 + mirrored])]
        done = Extracted(0, 0, sum(len(parts[part]) for part, *_ in views))
        for part, scale, side in views:
            for made in _extract_view(parts[part], backbone, view_folder(folder, part, scale, side), scale, side):
                done = Extracted(done.made + made, done.found + (not made), done.images)
                if on_done:
                    on_done(done)
    return done


def about(dataset: str, backbone: Backbone) -> dict[str, Any]:
    """The content of a manifest."""
    shown = {"backbone": backbone.name, "weights": backbone.digest, "strides": list(backbone.strides)}
    return {"format": MANIFEST_FORMAT, "dataset": dataset, **shown, "channels": list(backbone.channels)}


def check_manifest(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if the features in ``folder`` are others than those that ``wanted`` describes."""
    found = read_object(folder / "manifest.json")
    other = [f"{key} is {found.get(key)}, expected {value}" for key, value in wanted.items() if found.get(key) != value]
    if other:
        raise ValueError(f"{folder} holds other features: {'; '.join(other)}; choose another place")


def check_weights(folder: Path, dataset: str, backbone: str, weights: str | None) -> None:
    """Raise ``ValueError`` if the features in ``folder`` are another data set's or come from other weights."""
    found = read_object(folder / "manifest.json")
    try:
        opened = _opened(backbone, tuple(found["strides"]), weights)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'manifest.json'} is damaged: it has no {error}") from error
    check_manifest(folder, about(dataset, opened))


@cache
def _opened(backbone: str, strides: tuple[int, ...], weights: str | None) -> Backbone:
    return open_backbone(backbone, strides, weights)


def view_folder(folder: Path, part: str, scale: float, mirrored: bool) -> Path:
    """Where the features of one part at one scale lie."""
    return folder / part / f"scale-{scale:g}{'-mirrored' if mirrored else ''}"


def pixel_digest(image: Float[Tensor, "3 h w"]) -> str:
    """A digest of a picture's pixels in eight bits."""
    return hashlib.sha256((image * 255).round().to(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def _extract_view(data: CrowdDataset, backbone: Backbone, folder: Path, scale: float, mirrored: bool) -> Iterator[bool]:
    """Extract one part at one scale; yields for each image whether it was made now."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [kept_size(data.size_of(index), scale) for index in range(len(data))]
    log = folder / "images.jsonl"
    paths = {stride: folder / f"stride-{stride}.npy" for stride in backbone.strides}
    if not all(path.is_file() for path in paths.values()):
        log.unlink(missing_ok=True)  # first: a line stands for features of every stride
    lines = read_lines(log)
    for line, name, size in zip(lines, data.names, sizes, strict=False):
        _check_line(line, name, size, folder)
    if lines and len(lines) < len(data):
        check_pixels(lines[0], data[0], folder)
    pixels = sum(height * width for height, width in sizes)
    maps = []
    for stride, channels in zip(backbone.strides, backbone.channels, strict=True):
        path, shape = paths[stride], (pixels // stride**2, channels)
        if not lines:
            open_memmap(path, mode="w+", dtype=np.float16, shape=shape).flush()
        maps.append(open_memmap(path, mode="r+"))
        if maps[-1].shape != shape:
            raise ValueError(f"{path} holds {maps[-1].shape}, expected {shape}: it is another data set's")
    yield from (False for _ in lines)
    network = backbone.to(memory_format=torch.channels_last)
    starts = np.cumsum([0, *(height * width for height, width in sizes)])
    with open(log, "r+" if log.is_file() else "w+", encoding="utf-8") as file:
        file.truncate(sum(len(json.dumps(line)) + 1 for line in lines))  # without a line that was cut off
        file.seek(0, 2)
        for index in range(len(lines), len(data)):
            sample = data[index]
            image = resize_sample(sample, sizes[index]).image[None]
            image = image.flip(-1) if mirrored else image
            with torch.inference_mode():
                features = network(image.contiguous(memory_format=torch.channels_last))
            for stride, kept, values in zip(backbone.strides, maps, features, strict=True):
                start = starts[index] // stride**2
                rows = values[0].permute(1, 2, 0).flatten(0, 1).half()
                if not torch.isfinite(rows).all():
                    raise ValueError(f"{sample.name}: features of stride {stride} do not fit half precision")
                kept[start : start + len(rows)] = rows.numpy()
            line = {"name": sample.name, "size": list(sizes[index]), "pixels": pixel_digest(sample.image)}
            file.write(json.dumps(line) + "\n")
            file.flush()
            yield True
    for kept in maps:
        kept.flush()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; what a killed writer left of a last one is left out."""
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not text.endswith("\n"):
            break
        try:
            lines.append(json.loads(text))
        except ValueError as error:
            raise ValueError(f"{path} is damaged in line {len(lines) + 1}: {error}") from error
    return lines


def _check_line(line: Mapping[str, Any], name: str, size: tuple[int, int], folder: Path) -> None:
    if line["name"] != name or tuple(line["size"]) != size:
        raise ValueError(
            f"{folder} holds features of {line['name']} with (H, W) = {tuple(line['size'])} in the place of {name} "
            f"with {size}: it is another data set's, or the images were resized in another way"
        )


def check_pixels(line: Mapping[str, Any], sample: CrowdSample, folder: Path) -> None:
    """Raise ``ValueError`` unless the features of ``line`` came from the picture of ``sample``."""
    if line["pixels"] != pixel_digest(sample.image):
        raise ValueError(f"{folder} holds features of another picture {sample.name}: its pixels have changed")


class View:
    """The kept features of one part at one scale.

    Args:
        folder: see :func:`view_folder`.
        strides: those that are read, in rising order.

    Raises:
        FileNotFoundError: the part was not extracted at this scale.
        ValueError: the extraction is not complete, or a file is damaged.
    """

    def __init__(self, folder: Path, strides: Sequence[int]) -> None:
        self.folder, self.strides = folder, tuple(strides)
        lines = read_lines(folder / "images.jsonl")
        if not lines:
            raise FileNotFoundError(f"there are no features in {folder}; `workbench features` makes them")
        self.lines = {line["name"]: line for line in lines}
        ends = np.cumsum([math.prod(line["size"]) for line in lines])
        self.starts = dict(zip(self.lines, [0, *ends.tolist()[:-1]], strict=True))
        missing = [stride for stride in self.strides if not (folder / f"stride-{stride}.npy").is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} has no features of stride {missing[0]}, expected those of {self.strides}"
            )
        self.maps = {stride: np.load(folder / f"stride-{stride}.npy", mmap_mode="r") for stride in self.strides}
        for stride, kept in self.maps.items():
            if len(kept) != ends[-1] // stride**2:
                raise ValueError(
                    f"{folder} is not complete: {len(lines)} images are done; call `workbench features` again"
                )

    def size_of(self, name: str) -> tuple[int, int]:
        """(H, W) of one picture at this scale."""
        height, width = self.lines[name]["size"]
        return height, width

    def window(self, name: str, left: int, top: int, width: int, height: int) -> Float[Tensor, "c h w"]:
        """The features of a window, whose sides and place are multiples of the largest stride.

        Each finer stride's cells are moved into channels (``pixel_unshuffle``), so that all strides fit into one tensor
        at the largest stride: the finest stride's channels come first.
        """
        size, coarsest = self.size_of(name), self.strides[-1]
        parts = []
        for stride, kept in self.maps.items():
            start, across = self.starts[name] // stride**2, size[1] // stride
            image = kept[start : start + size[0] // stride * across].reshape(-1, across, kept.shape[1])
            cells = image[top // stride : (top + height) // stride, left // stride : (left + width) // stride]
            values = torch.from_numpy(np.array(cells)).float().permute(2, 0, 1)
            parts.append(F.pixel_unshuffle(values, coarsest // stride))
        return torch.cat(parts)


def mirror(features: Float[Tensor, "c h w"], channels: Sequence[int], strides: Sequence[int]) -> Tensor:
    """The features of :meth:`View.window`, left and right exchanged."""
    parts = features.split([count * (strides[-1] // s) ** 2 for count, s in zip(channels, strides, strict=True)])
    factors = [strides[-1] // stride for stride in strides]
    turned = [F.pixel_unshuffle(F.pixel_shuffle(part, k).flip(-1), k) for part, k in zip(parts, factors, strict=True)]
    return torch.cat(turned)
