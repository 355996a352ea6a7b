"""What data sets that lie in folders share: entries, reading one, points at the border."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_points
from workbench.data.images import MAX_PIXELS, image_size, read_image
from workbench.data.sample import CrowdDataset, CrowdSample
from workbench.data.splits import check_split, hold_out

OUTSIDE = ("raise", "clamp", "drop")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")


class Entry(NamedTuple):
    """One image of a data set: what it is called, its file and its annotation's file."""

    name: str
    image: Path
    annotation: Path


class Published(NamedTuple):
    """Published figures of one part of a data set; None where no source could be verified."""

    images: int | None = None
    people: int | None = None
    least: int | None = None
    most: int | None = None


class Annotation(NamedTuple):
    """What an annotation file says: its points, and the number it states beside them where it does."""

    points: Float[Tensor, "n 2"]
    stated: int | None = None


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key that puts IMG_2 before IMG_10."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", text)]


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder in natural order; hidden files, such as a file system's own, are none."""
    found = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    return sorted(found, key=lambda path: natural(path.name))


def check_root(root: str | Path | None, name: str) -> Path:
    """``root`` as a path to a folder that exists.

    Raises:
        ValueError: no root is given.
        FileNotFoundError: there is no such folder.
    """
    if root is None:
        raise ValueError(f"root is None, expected the folder that holds {name} (see data/README.md)")
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}, expected the one that holds {name} (see data/README.md)")
    return root


def as_points(values: Any, path: Path) -> Float[Tensor, "n 2"]:
    """Numbers read from ``path`` as (N, 2) points; nobody may come in any empty shape.

    Raises:
        ValueError: not numbers, not N x 2, NaN or infinite; the message names the file.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=np.exceptions.ComplexWarning):
            array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds points that are not numbers") from error
    if np.iscomplexobj(values):
        raise ValueError(f"{path} holds complex numbers, expected pixels")
    if array.size == 0:
        return torch.zeros(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"{path} holds points of shape {array.shape}, expected (N, 2), x then y")
    points = torch.from_numpy(array).float()
    if not torch.isfinite(points).all():  # also what is finite, but beyond float32
        raise ValueError(f"{path} holds points that are NaN or infinite, expected pixels")
    return points


def as_number(value: object) -> int | None:
    """A whole number stated in a file, None where it states none."""
    try:
        number = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return int(number.item()) if number.size == 1 and float(number.item()).is_integer() else None


def settle(points: Float[Tensor, "n 2"], size: tuple[int, int], outside: str, path: Path) -> Float[Tensor, "m 2"]:
    """Deal with points outside an image of ``size`` = (H, W) as ``outside`` says.

    Raises:
        ValueError: ``outside`` is "raise" and a point lies outside; the message names the annotation's file.
    """
    if outside == "raise":
        try:
            check_points(points, str(path), size=size)
        except ValueError as error:
            raise ValueError(
                f'{error}; outside="clamp" moves such points to the border, "drop" leaves them out'
            ) from error
        return points
    limit = points.new_tensor([size[1], size[0]])
    if outside == "clamp":
        return torch.minimum(points.clamp(min=0), limit)
    return points[((points >= 0) & (points <= limit)).all(dim=1)]


class FileDataset(CrowdDataset):
    """A data set of image files, each with a file of annotations.

    A reader of one data set gives :meth:`parts`, :meth:`read_annotation` and what is published about it.

    Args:
        root: the folder that holds it.
        split: "train", "val", "trainval" or "test".
        validation: share of the official training part that is held out for validation.
        seed: what that choice is drawn from.
        outside: what to do about points outside the image: "raise" an error, "clamp" them to the border, "drop" them.
        max_pixels: largest image that is decoded, in pixels.

    Raises:
        FileNotFoundError: a folder, or the annotation of an image, is missing.
        ValueError: an option's value is out of range.
    """

    title: ClassVar[str]
    published: ClassVar[dict[str, Published]] = {}
    remarks: ClassVar[dict[tuple[str, str], str]] = {}

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        *,
        validation: float = 0.1,
        seed: int = 0,
        outside: str = "raise",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        check_split(split, validation)
        check_choice(outside, OUTSIDE, "outside")
        self.root = check_root(root, self.title)
        self.outside = outside
        self.max_pixels = max_pixels
        entries = self.entries(self.root, "test" if split == "test" else "train")
        missing = [entry for entry in entries if not entry.annotation.is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(entries)} images have no annotation, for instance {missing[0].image}, "
                f"expected {missing[0].annotation}"
            )
        if split != "test":
            entries = [entries[i] for i in hold_out(len(entries), split, validation=validation, seed=seed)]
        self._entries = entries

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images of one official part, "train" or "test", whether or not their files are sound.

        Raises:
            FileNotFoundError: the part's folder is missing or holds no image.
        """
        raise NotImplementedError

    @staticmethod
    def read_annotation(path: Path) -> Annotation:
        """Read one annotation file.

        Raises:
            ValueError: the file is damaged or says something else than expected; the message names it.
        """
        raise NotImplementedError

    @property
    def names(self) -> list[str]:
        """The images' file names without their endings."""
        return [entry.name for entry in self._entries]

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The annotated points; of the image only the header is read."""
        entry = self._entries[self.at(index)]
        size = image_size(entry.image, max_pixels=self.max_pixels)
        return settle(self.read_annotation(entry.annotation).points, size, self.outside, entry.annotation)

    def __getitem__(self, index: int) -> CrowdSample:
        entry = self._entries[self.at(index)]
        image = read_image(entry.image, max_pixels=self.max_pixels)
        points = self.read_annotation(entry.annotation).points
        size = (image.shape[1], image.shape[2])
        return CrowdSample(image, settle(points, size, self.outside, entry.annotation), entry.name)
