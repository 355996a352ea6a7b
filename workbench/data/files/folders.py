"""What data sets that lie in folders share: finding them, splits, reading one image, points at the border."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.checks import check_choice
from workbench.data.dataset import CrowdDataset
from workbench.data.files.entries import (
    OPTION,
    Annotation,
    Entry,
    Published,
    as_points,
    beyond,
    image_files,
    settle,
    within,
)
from workbench.data.files.images import MAX_PIXELS, image_size, read_image
from workbench.data.files.matlab import read_mat
from workbench.data.files.prepared import Prepared
from workbench.data.files.resizing import resize_rule
from workbench.data.sample import CrowdSample, Window
from workbench.data.splits import check_split, hold_out
from workbench.data.transforms import resize_sample
from workbench.io.project import project_root

__all__ = ["Annotation", "Entry", "FileDataset", "Published"]

VARIABLE = "WORKBENCH_DATA"


def default_place(name: str) -> Path:
    """Where the data set ``name`` is looked for when no root is given.

    ``$WORKBENCH_DATA/NAME``, or ``data/sets/NAME`` in the project where that variable is not set.
    """
    if home := os.environ.get(VARIABLE):
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
    place = default_place(name) if root is None else Path(root)
    if place.is_dir():
        return place
    if root is None:
        raise ValueError(
            f"root is None, expected the folder that holds {title} (see data/README.md); there is no {place} either"
        )
    raise FileNotFoundError(f"there is no folder {root}, expected the one that holds {title} (see data/README.md)")


@dataclass(kw_only=True, eq=False, repr=False)
class FileDataset(CrowdDataset):
    """A data set of image files, each with a file of annotations.

    A reader of one data set is a short table: the attributes below say where its files lie. Where that is not enough
    it overrides :meth:`entries`, :meth:`read_annotation` (or :meth:`read`), :meth:`read_roi` and :meth:`read_maps`. An
    option of its own is a field of the dataclass.

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
        folders: the folder of each part within the root; the root itself where a part has none.
        images: the folder of the images within that of the part.
        form: what the images' names look like without their endings, a regular expression.
        truth: the annotation of an image within the part's folder; ``{}`` stands for the image's name.
        variable: of a MATLAB annotation, that holds the points.
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
    folders: ClassVar[Mapping[str, str]] = {}
    images: ClassVar[str] = ""
    form: ClassVar[str] = ".*"
    truth: ClassVar[str] = "{}.mat"
    variable: ClassVar[str] = "annPoints"
    share: ClassVar[float] = 0.1
    truths: ClassVar[str] = "*"
    companions: ClassVar[tuple[str, ...]] = ()
    published: ClassVar[dict[str, Published]] = {}
    printed: ClassVar[dict[str, Published]] = {}
    faults: ClassVar[int] = 0
    remarks: ClassVar[dict[tuple[str, str], str]] = {}
    instead: ClassVar[str] = ""

    root: str | Path | None = field(default=None, kw_only=False)
    split: str = field(default="train", kw_only=False)
    validation: float | None = None
    seed: int = 0
    outside: str = "raise"
    stated: str = "raise"
    roi: str = "black"
    resize: str = "none"
    prepared: str | Path | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        check_split(self.split, self._share)
        check_choice(self.outside, ("raise", "clamp", "drop"), "outside")
        check_choice(self.stated, ("raise", "ignore"), "stated")
        check_choice(self.roi, ("black", "keep"), "roi")
        self._resized = resize_rule(self.resize)
        self.place = check_root(self.root, self.name, self.title)
        self._entries = self.choose()
        self.store = None if self.prepared is None else Prepared(self.prepared, self.place, self.settings())
        if self.faults and self.outside == "raise":
            self._allow_known_faults()

    @property
    def _share(self) -> float:
        return self.share if self.validation is None else self.validation

    def settings(self) -> dict[str, Any]:
        """The options that the samples depend on, with the data set's name."""
        chosen = {name: getattr(self, name) for name in ("outside", "stated", "roi", "resize")}
        return {"dataset": self.name} | chosen

    @classmethod
    def parts_of(cls, root: Path) -> tuple[str, ...]:
        """The parts of the copy in ``root``: ``parts``, unless a copy may have others."""
        return cls.parts

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images of one of ``parts`` in natural order, whether or not their files are sound.

        Raises:
            FileNotFoundError: the part's folder is missing or holds no image.
            ValueError: a file that lists the images is damaged.
        """
        folder = root / cls.folders.get(part, "")
        images = image_files(folder / cls.images, cls.form)
        return [Entry(image.stem, image, folder / cls.truth.format(image.stem)) for image in images]

    @classmethod
    def read_annotation(cls, path: Path) -> Annotation:
        """Read one annotation file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged or says something else than expected; the message names it.
        """
        return Annotation(as_points(read_mat(path, cls.variable), path))

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

    def choose(self) -> Sequence[Entry]:
        """The entries of the split."""
        if self.split == "test":
            return self.complete("test")
        if "val" not in self.parts_of(self.place):
            return self.keep(self.complete("train"))
        if self.validation is not None:
            raise ValueError(f"validation is {self.validation!r}, expected None: {self.title} has a validation part")
        parts = [part for part in ("train", "val") if self.split in (part, "trainval")]
        return [entry for part in parts for entry in self.complete(part)]

    def keep(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Those entries of the training part that belong to the split: not held out, held out, or all."""
        kept = hold_out(len(entries), self.split, validation=self._share, seed=self.seed)
        return [entries[index] for index in kept]

    def complete(self, part: str) -> Sequence[Entry]:
        """The entries of one of ``parts``, each with every file that belongs to it.

        Raises:
            FileNotFoundError: a file is missing, and the message names one and says how many are; or there is no image.
        """
        entries = self.entries(self.place, part)
        if not entries:
            raise FileNotFoundError(f"{self.place} holds no images of the part {part!r} of {self.title}")
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
        for entry in [entry for part in self.parts_of(self.place) for entry in self.complete(part)]:
            if number := int(beyond(self.read(entry).points, self._size(entry)).sum()):
                found[entry.annotation] = number
        if sum(found.values()) > self.faults:
            raise ValueError(
                f"{self.place} holds {sum(found.values())} points outside their image, for instance in "
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

    def _size(self, entry: Entry) -> tuple[int, int]:
        return image_size(entry.image, max_pixels=self.max_pixels)

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of one image, after resizing; of the file only the header is read."""
        return self._resized(self._size(self._entries[self.at(index)]))

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The annotated points; of the image only the header is read."""
        entry = self._entries[self.at(index)]
        if entry.annotation is None:
            self.read(entry)  # raises
        if self.store is not None and (item := self.store.find(entry)) is not None:
            return item.sample.points
        size = self._size(entry)
        bare = CrowdSample(torch.zeros(1).expand(3, *size), self._people(entry, size)[0].points, entry.name)
        return resize_sample(bare, self._resized(size), image=False).points

    def __getitem__(self, index: int) -> CrowdSample:
        entry = self._entries[self.at(index)]
        return self.load(entry) if self.store is None else self.store.get(entry, self.load).whole()

    def window(self, index: int, choose: Callable[[tuple[int, int]], Window]) -> CrowdSample:
        """A part of one image; of a prepared one only that part is read."""
        if self.store is None:
            return super().window(index, choose)
        item = self.store.get(self._entries[self.at(index)], self.load)
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
        known = {name: getattr(annotation, name) for name in ("head_sizes", "boxes", "level", "label", "attributes")}
        known |= {"roi": roi, "annotated": entry.annotation is not None} | dict(self.read_maps(entry, size))
        return resize_sample(CrowdSample(image, annotation.points, entry.name, **known), self._resized(size))

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
