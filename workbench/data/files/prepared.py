"""Prepared images: each is decoded, turned upright and resized once, and read in parts afterwards.

The folder that the user names holds a folder for each data set and way of reading it::

    shanghaitech_a-3f2a90c1d455/
      about.json                               data set, root, resize rule and what else the samples depend on
      test_data/images/IMG_1.jpg.pixels.npy    (H, W, 3), 8 bits: NumPy's plain array format, read in parts
      test_data/images/IMG_1.jpg.people.npz    points, boxes, head_sizes, roi, perspective, depth where known; about:
                                               level, label, attributes and size and time of the original files

Each file is written whole or not at all, the second one last. An image is prepared if both files are there and the
original files have not changed since. So preparation can be stopped at any moment and continues where it stopped,
several processes may prepare at the same time, and a changed original is prepared again. Nothing is pickled.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray

from workbench.data.files.entries import Entry
from workbench.data.files.images import as_image
from workbench.data.sample import CrowdSample
from workbench.data.transforms import crop_sample
from workbench.io.files import atomic_write, write_json

FORMAT = 1
ARRAYS = ("points", "head_sizes", "boxes", "roi", "perspective", "depth")
PLAIN = ("name", "level", "label", "attributes", "annotated")


class Item(NamedTuple):
    """A prepared image: its pixels, which are read from their file when needed, and its sample without pixels."""

    pixels: UInt8[np.ndarray, "h w 3"]
    sample: CrowdSample

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.sample.size

    def whole(self) -> CrowdSample:
        """The sample of the whole image."""
        return replace(self.sample, image=as_image(self.pixels))

    def window(self, left: int, top: int, width: int, height: int) -> CrowdSample:
        """The sample of a part, as :func:`~workbench.data.transforms.crop_sample` gives it."""
        part = crop_sample(self.sample, left, top, width, height)
        return replace(part, image=as_image(self.pixels[top : top + height, left : left + width]))


class Prepared:
    """The prepared images of one data set, read in one way.

    Args:
        folder: where prepared sets lie.
        root: the folder of the data set's own files.
        settings: whatever else the samples depend on; plain values.
    """

    def __init__(self, folder: str | Path, root: Path, settings: Mapping[str, Any]) -> None:
        about = {"format": FORMAT, "root": str(root.resolve()), **settings}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
        self.root = root
        self.folder = Path(folder) / f"{settings['dataset']}-{digest}"
        if not (self.folder / "about.json").is_file():
            write_json(self.folder / "about.json", about)

    def find(self, entry: Entry) -> Item | None:
        """The prepared image of an entry; None if it is not there, damaged, or older than the original."""
        pixels, people = self._files(entry)
        try:
            with np.load(people, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            about = json.loads(str(arrays.pop("about")[()]))
            if about.pop("stamp") != _stamp(entry):
                return None
            image = np.load(pixels, mmap_mode="r", allow_pickle=False)
        except Exception:  # after a power failure a file may hold anything; what cannot be read is prepared again
            return None
        if image.dtype != np.uint8 or image.shape != (*about.pop("size"), 3):
            return None
        blank = torch.zeros(1).expand(3, *image.shape[:2])
        tensors: dict[str, Any] = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return Item(image, CrowdSample(image=blank, **tensors, **about))

    def get(self, entry: Entry, load: Callable[[Entry], CrowdSample]) -> Item:
        """The prepared image of an entry; prepared now if it is not yet.

        Raises:
            OSError: the files cannot be written.
            ValueError: what ``load`` raises.
        """
        item = self.find(entry)
        if item is None:
            self.write(entry, load(entry))
            item = self.find(entry)
        if item is None:
            raise OSError(
                f"{self._files(entry)[1]} cannot be read again after it was written: did {entry.image} change?"
            )
        return item

    def write(self, entry: Entry, sample: CrowdSample) -> None:
        """Keep the sample of an entry."""
        pixels, people = self._files(entry)
        image = (sample.image * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
        about = {name: getattr(sample, name) for name in PLAIN}
        about |= {"size": list(sample.size), "stamp": _stamp(entry)}
        known = {name: getattr(sample, name) for name in ARRAYS}
        arrays: dict[str, NDArray[Any]] = {name: value.numpy() for name, value in known.items() if value is not None}
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
        with atomic_write(pixels) as file:
            np.save(file, image.numpy(), allow_pickle=False)
        with atomic_write(people) as file:
            file.write(packed.getvalue())

    def _files(self, entry: Entry) -> tuple[Path, Path]:
        place = self.folder / entry.image.relative_to(self.root)
        return place.with_name(place.name + ".pixels.npy"), place.with_name(place.name + ".people.npz")


def _stamp(entry: Entry) -> list[list[int]]:
    """Size and time of change of every file that the sample is made of."""
    return [[status.st_size, status.st_mtime_ns] for status in (path.stat() for path in entry.files)]
