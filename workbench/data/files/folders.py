"""What data sets that lie in folders share: finding them, splits, reading one image, points at the border."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.checks import check_choice
from workbench.data.dataset import CrowdDataset
from workbench.data.files.entries import OPTION, Annotation, Entry, Published, beyond, settle, within
from workbench.data.files.images import MAX_PIXELS, image_size, read_image
from workbench.data.files.prepared import Prepared
from workbench.data.files.resizing import resize_rule
from workbench.data.sample import CrowdSample, Window
from workbench.data.splits import check_split, hold_out
from workbench.data.transforms import resize_sample
from workbench.io.project import project_root

__all__ = ["Annotation", "Entry", "FileDataset", "Published"]

VARIABLE = "WORKBENCH_DATA"
OUTSIDE = ("raise", "clamp", "drop")
STATED = ("raise", "ignore")
ROI = ("black", "keep")


def default_place(name: str) -> Path:
    """Where the data set ``name`` is looked for when no root is given.

    ``$WORKBENCH_DATA/NAME``, or ``data/sets/NAME`` in the project where that variable is not set.
    """
    home = os.environ.get(VARIABLE)
    if home:
        return Path(home) / name
    try:
        return project_root() / "data" / "sets" / name
    except FileNotFoundError:  # used outside a clone of the project
        return Path("data") / "sets" / name


def check_root(root: str | Path | None, name: str, title: str) -> Path:
    """``root``, or where the data set is looked for if it is None, as a path to a folder that exists.

    Raises:
        ValueError: no root is given, and nothing lies where the data set is looked for.
        FileNotFoundError: there is no such folder.
    """
    if root is None:
        place = default_place(name)
        if place.is_dir():
            return place
        raise ValueError(
            f"root is None, expected the folder that holds {title} (see data/README.md); there is no {place} either"
        )
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}, expected the one that holds {title} (see data/README.md)")
    return root


class FileDataset(CrowdDataset):
    """A data set of image files, each with a file of annotations.

    A reader of one data set gives :meth:`entries`, :meth:`read_annotation` (or :meth:`read`) and what is published
    about it; where it has them :meth:`read_roi` and :meth:`read_maps`.

    Args:
        root: the folder that holds it; None for the place that ``workbench data list`` names.
        split: "train", "val", "trainval" or "test".
        validation: share of the official training part that is held out for validation, the class's ``share`` if
            None; a set with an official validation part takes that, and no share.
        seed: of the random choice of held-out images.
        outside: what to do about points outside the image: "raise" an error, "clamp" them to the border, "drop" them.
            With "raise", points that the published set is known to have outside (the class's ``faults``) count as
            published, moved to the border.
        stated: where a file states a number of people that is not that of its points, "raise" an error or "ignore" it
            and count the points.
        roi: where the set has a region of interest, people outside it are not counted, and the pixels outside are
            "black", so that a network sees nobody there, or stay as they are ("keep").
        resize: the rule for the images' size, see :data:`workbench.data.files.resizing.RULES`.
        prepared: folder for decoded and resized images: each is kept there when it is first read, see
            :mod:`workbench.data.files.prepared`; None keeps nothing.
        max_pixels: largest image that is decoded, in pixels.

    Raises:
        FileNotFoundError: a folder, or a file that belongs to an image, is missing.
        ValueError: an option's value is out of range; in a set with known faults, more points lie outside than those.

    Attributes:
        title: what people call the set.
        name: its name in the registry.
        parts: its official parts.
        share: of the training part that is held out where ``validation`` is None.
        truths: what the names of annotations look like, as in :meth:`pathlib.Path.glob`.
        companions: what the names of files look like that lie among the images and are not read, likewise.
        published: figures of the published files, by part and for "all".
        printed: figures that the paper prints, where the published files hold others.
        faults: how many points of the whole published set lie outside their image.
        remarks: known errors of the published set, by part and image.
        instead: what an error advises where annotations are not published.
    """

    title: ClassVar[str]
    name: ClassVar[str]
    parts: ClassVar[tuple[str, ...]] = ("train", "test")
    share: ClassVar[float] = 0.1
    truths: ClassVar[str] = "*"
    companions: ClassVar[tuple[str, ...]] = ()
    published: ClassVar[dict[str, Published]] = {}
    printed: ClassVar[dict[str, Published]] = {}
    faults: ClassVar[int] = 0
    remarks: ClassVar[dict[tuple[str, str], str]] = {}
    instead: ClassVar[str] = ""
    settings: Mapping[str, Any] = MappingProxyType({})  # further options of a reader that its samples depend on

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        *,
        validation: float | None = None,
        seed: int = 0,
        outside: str = "raise",
        stated: str = "raise",
        roi: str = "black",
        resize: str = "none",
        prepared: str | Path | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        check_split(split, self.share if validation is None else validation)
        check_choice(outside, OUTSIDE, "outside")
        check_choice(stated, STATED, "stated")
        check_choice(roi, ROI, "roi")
        self.resize = resize_rule(resize)
        self.root = check_root(root, self.name, self.title)
        self.split = split
        self.outside = outside
        self.stated = stated
        self.roi = roi
        self.max_pixels = max_pixels
        self._entries = self.choose(split, validation, seed)
        settings = {"dataset": self.name, "outside": outside, "stated": stated, "roi": roi, "resize": resize}
        settings |= self.settings
        self.prepared = None if prepared is None else Prepared(prepared, self.root, settings)
        if self.faults and outside == "raise":
            self._allow_known_faults()

    @classmethod
    def parts_of(cls, root: Path) -> tuple[str, ...]:
        """The parts of the copy in ``root``: ``parts``, unless a copy may have others."""
        return cls.parts

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images of one of ``parts``, whether or not their files are sound.

        Raises:
            FileNotFoundError: the part's folder is missing or holds no image.
            ValueError: a file that lists the images is damaged.
        """
        raise NotImplementedError

    @staticmethod
    def read_annotation(path: Path) -> Annotation:
        """Read one annotation file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged or says something else than expected; the message names it.
        """
        raise NotImplementedError

    @classmethod
    def read(cls, entry: Entry) -> Annotation:
        """The annotation of one entry; errors as :meth:`read_annotation`."""
        if entry.annotation is None:
            raise ValueError(f"{entry.image}: the annotation of this image is not published{cls.instead}")
        return cls.read_annotation(entry.annotation)

    @classmethod
    def labels_of(cls, entry: Entry) -> Counter[str]:
        """The labels of one image's marks with their numbers, where some may not be people; errors as above."""
        return Counter()

    @classmethod
    def read_roi(cls, entry: Entry, size: tuple[int, int]) -> Bool[Tensor, "h w"] | None:
        """The region of interest of an image of ``size`` = (H, W), None where the set has none; errors as above."""
        return None

    @classmethod
    def read_maps(cls, entry: Entry, size: tuple[int, int]) -> Mapping[str, Float[Tensor, "h w"]]:
        """Perspective and depth of an image of ``size`` = (H, W) where the set has them; errors as above."""
        return {}

    def choose(self, split: str, validation: float | None, seed: int) -> Sequence[Entry]:
        """The entries of a split."""
        if split == "test":
            return self.complete("test")
        if "val" in self.parts_of(self.root):
            if validation is not None:
                raise ValueError(f"validation is {validation!r}, expected None: {self.title} has a validation part")
            return [entry for part in ("train", "val") if split in (part, "trainval") for entry in self.complete(part)]
        entries = self.complete("train")
        share = self.share if validation is None else validation
        return [entries[i] for i in hold_out(len(entries), split, validation=share, seed=seed)]

    def complete(self, part: str) -> Sequence[Entry]:
        """The entries of one of ``parts``, each with every file that belongs to it.

        Raises:
            FileNotFoundError: a file is missing, and the message names one and says how many are; or there is no image.
        """
        entries = self.entries(self.root, part)
        if not entries:
            raise FileNotFoundError(f"{self.root} holds no images of the part {part!r} of {self.title}")
        for kind in ("image", "annotation", *sorted({kind for entry in entries for kind in entry.beside})):
            wanted = [(entry, entry.beside.get(kind) or getattr(entry, kind, None)) for entry in entries]
            missing = [(entry, path) for entry, path in wanted if path is not None and not path.is_file()]
            if missing:
                entry, path = missing[0]
                raise FileNotFoundError(
                    f"{len(missing)} of {len(entries)} images have no {kind}, for instance {entry.image}, "
                    f"expected {path}"
                )
        return entries

    def _allow_known_faults(self) -> None:
        """Clamp points outside their image if there are not more of them than in the published set, else raise."""
        found = {}
        for entry in [entry for part in self.parts_of(self.root) for entry in self.complete(part)]:
            size = image_size(entry.image, max_pixels=self.max_pixels)
            number = int(beyond(self.read(entry).points, size).sum())
            if number:
                found[entry.annotation] = number
        if sum(found.values()) > self.faults:
            raise ValueError(
                f"{self.root} holds {sum(found.values())} points outside their image, for instance in "
                f"{next(iter(found))}, expected at most {self.faults}, as the published set has; {OPTION}"
            )
        self.outside = "clamp"

    def check(self) -> None:
        """Read every annotation and the header of every image: what is wrong with them stops no training halfway.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: an annotation is damaged, or does not fit its image; the message names it.
        """
        self.counts()

    @property
    def names(self) -> list[str]:
        """The images' file names without their endings."""
        return [entry.name for entry in self._entries]

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of one image, after resizing; of the file only the header is read."""
        return self.resize(image_size(self._entries[self.at(index)].image, max_pixels=self.max_pixels))

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The annotated points; of the image only the header is read."""
        entry = self._entries[self.at(index)]
        if entry.annotation is None:
            self.read(entry)  # raises
        if self.prepared is not None and (item := self.prepared.find(entry)) is not None:
            return item.sample.points
        size = image_size(entry.image, max_pixels=self.max_pixels)
        bare = CrowdSample(torch.zeros(1).expand(3, *size), self._people(entry, size)[0].points, entry.name)
        return resize_sample(bare, self.resize(size), image=False).points

    def labels(self) -> list[int | None]:
        """The class or scene of every image, for scores by scene; None where the set has none."""
        return [None if entry.annotation is None else self.read(entry).label for entry in self._entries]

    def __getitem__(self, index: int) -> CrowdSample:
        entry = self._entries[self.at(index)]
        if self.prepared is None:
            return self.load(entry)
        return self.prepared.get(entry, self.load).whole()

    def window(self, index: int, choose: Callable[[tuple[int, int]], Window]) -> CrowdSample:
        """A part of one image; of a prepared one only that part is read."""
        if self.prepared is None:
            return super().window(index, choose)
        item = self.prepared.get(self._entries[self.at(index)], self.load)
        return item.window(*choose(item.size))

    def load(self, entry: Entry) -> CrowdSample:
        """The sample of an entry, read from the data set's own files.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged or does not fit the image; the message names it.
        """
        image = read_image(entry.image, max_pixels=self.max_pixels)
        size = (image.shape[1], image.shape[2])
        annotation, roi = self._people(entry, size)
        if roi is not None and self.roi == "black":
            image *= roi
        known: dict[str, Any] = dict(self.read_maps(entry, size))
        sample = CrowdSample(
            image,
            annotation.points,
            entry.name,
            head_sizes=annotation.head_sizes,
            boxes=annotation.boxes,
            roi=roi,
            level=annotation.level,
            label=annotation.label,
            attributes=annotation.attributes,
            annotated=entry.annotation is not None,
        )
        return resize_sample(replace(sample, **known), self.resize(size))

    def _people(self, entry: Entry, size: tuple[int, int]) -> tuple[Annotation, Bool[Tensor, "h w"] | None]:
        """The people who are counted, and the region in which they are."""
        roi = self.read_roi(entry, size)
        if entry.annotation is None:
            return Annotation(torch.zeros(0, 2)), roi
        annotation = self.read(entry)
        if self.stated == "raise" and annotation.stated not in (None, len(annotation.points)):
            raise ValueError(
                f"{entry.annotation}: {annotation.stated} people are stated of {entry.name} and "
                f'{len(annotation.points)} points are given; stated="ignore" counts the points'
            )
        annotation = settle(annotation, size, self.outside, entry.annotation)
        return (annotation if roi is None else annotation.only(within(annotation.points, roi))), roi
