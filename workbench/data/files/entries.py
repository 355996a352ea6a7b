"""What the readers of data sets pass on: entries, annotations, published figures; numbers read from files."""

import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.data.files.images import IMAGE_SUFFIXES
from workbench.tensor_checks import check_points

MOST_PEOPLE = 1_000_000  # in one image; the most in a data set are 20,033

UNREAD_SUFFIXES = (
    *(".avif", ".heic", ".heif", ".jfif", ".jpe", ".jp2", ".j2k", ".jxl", ".ppm", ".pgm", ".pnm", ".tga", ".ico"),
    *(".psd", ".svg", ".eps", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""Endings of image kinds that are not read. Such a file is an error: no image is left out in silence."""

OPTION = 'outside="clamp" moves such points to the border, "drop" leaves them out'


@dataclass(frozen=True)
class Entry:
    """One image of a data set.

    Attributes:
        name: what the data set calls it.
        image: its file.
        annotation: its annotation's file; None where annotations are not published.
        beside: further files that belong to it, by what they hold ("roi", "perspective", "depth").
        given: what a file for many images says of this one, as it was read.
        own: whether the annotation's file is of this image alone.
        labels: the labels of the marks that count as people, where the file has such; all if None.
    """

    name: str
    image: Path
    annotation: Path | None
    beside: Mapping[str, Path] = field(default_factory=dict)
    given: Any = None
    own: bool = True
    labels: tuple[str, ...] | None = None

    @property
    def files(self) -> list[Path]:
        """Every file that the image's sample is made of."""
        return [path for path in (self.image, self.annotation, *self.beside.values()) if path is not None]


class Published(NamedTuple):
    """Published figures of one part of a data set; None where no source could be verified."""

    images: int | None = None
    people: int | None = None
    least: int | None = None
    most: int | None = None


class Annotation(NamedTuple):
    """What is annotated in one image; None where the files do not say.

    Attributes:
        points: (N, 2), x then y, image pixels.
        stated: the number of people that the file states beside the points.
        boxes: (N, 4), x1, y1, x2, y2 of each head in pixels.
        head_sizes: (N,), height of each head in pixels.
        level: the data set's name for the density level.
        label: number of the class or scene.
        attributes: what else is said of the whole image, by name.
        size: (H, W) of the image that the file was made for.
    """

    points: Float[Tensor, "n 2"]
    stated: int | None = None
    boxes: Float[Tensor, "n 4"] | None = None
    head_sizes: Float[Tensor, "n"] | None = None
    level: str | None = None
    label: int | None = None
    attributes: Mapping[str, str | int] | None = None
    size: tuple[int, int] | None = None

    def only(self, kept: Bool[Tensor, "n"]) -> "Annotation":
        """The annotation of some of its people."""
        boxes, sizes = (None if value is None else value[kept] for value in (self.boxes, self.head_sizes))
        return self._replace(points=self.points[kept], boxes=boxes, head_sizes=sizes)


def with_boxes(boxes: Float[Tensor, "n 4"], points: Float[Tensor, "n 2"] | None = None, **known: Any) -> Annotation:
    """The annotation of heads with a box (x1, y1, x2, y2) each; the points are the boxes' centres if None."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 if points is None else points
    return Annotation(centres, boxes=boxes, head_sizes=boxes[:, 3] - boxes[:, 1], **known)


def check_lists(lists: Mapping[Path, Iterable[str]]) -> None:
    """Raise ``ValueError`` if a name stands twice in the lists of a set's parts: one image could be in two parts."""
    first: dict[str, Path] = {}
    for path, names in lists.items():
        for name in names:
            if name in first:
                raise ValueError(f"{path} names {name[:60]!r} a second time, the first is in {first[name].name}")
            first[name] = path


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key that puts IMG_2 before IMG_10."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", text)]


def image_files(folder: Path, form: str = ".*", *, one_a_name: bool = True) -> list[Path]:
    """The image files of a folder in natural order; hidden files are left out.

    Args:
        folder: where they lie.
        form: what the names of the set's images look like without their endings, a regular expression. Other files do
            not belong to the set (``workbench data check`` names them).
        one_a_name: whether two images that differ in their endings only, a.jpg and a.png, are an error: they would
            share the annotation a.csv.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no image of such a name.
        ValueError: an image of a kind that is not read, or two images of one name.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    files = [p for p in folder.iterdir() if not p.name.startswith(".") and re.fullmatch(form, p.stem)]
    unread = sorted(path.name for path in files if path.suffix.lower() in UNREAD_SUFFIXES)
    if unread:
        raise ValueError(
            f"{folder} holds {len(unread)} images of kinds that are not read, for instance {unread[0]}; "
            f"expected {', '.join(IMAGE_SUFFIXES)}"
        )
    images = sorted((p for p in files if p.suffix.lower() in IMAGE_SUFFIXES), key=lambda path: natural(path.name))
    if not images:
        named = "" if form == ".*" else f" whose name has the form {form}"
        raise FileNotFoundError(f"{folder} holds no images{named}")
    found: dict[str, Path] = {}
    for path in images:
        twin = found.setdefault(normal(path.stem if one_a_name else path.name), path)
        if twin != path:
            raise ValueError(
                f"{folder} holds {twin.name} and {path.name}, expected one image of a name: they share an annotation"
            )
    return images


def normal(name: str) -> str:
    """A file's name in Unicode's form NFC: macOS stores an accent apart from its letter."""
    return unicodedata.normalize("NFC", name)


def as_numbers(values: Any, path: Path, columns: int, what: str, meaning: str) -> Float[Tensor, "n columns"]:
    """Numbers read from ``path`` as an (N, columns) tensor; an empty array of any shape stands for none.

    Raises:
        ValueError: not numbers, not N x columns, NaN or infinite; the message names the file.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=np.exceptions.ComplexWarning):
            array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} holds {what} that are not numbers") from error
    if np.iscomplexobj(values):
        raise ValueError(f"{path} holds complex numbers, expected pixels")
    if array.size == 0:
        return torch.zeros(0, columns)
    if array.ndim and len(array) > MOST_PEOPLE:
        raise ValueError(f"{path} holds {len(array):,} {what}, expected at most {MOST_PEOPLE:,} of one image")
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"{path} holds {what} of shape {array.shape}, expected (N, {columns}), {meaning}")
    numbers = torch.from_numpy(array).float()
    if not torch.isfinite(numbers).all():  # also what is finite, but beyond float32
        raise ValueError(f"{path} holds {what} that are NaN or infinite, expected pixels")
    return numbers


def as_points(values: Any, path: Path) -> Float[Tensor, "n 2"]:
    """Numbers read from ``path`` as (N, 2) points; errors as :func:`as_numbers`."""
    return as_numbers(values, path, 2, "points", "x then y")


def as_boxes(values: Any, path: Path) -> Float[Tensor, "n 4"]:
    """Numbers read from ``path`` as (N, 4) boxes; errors as :func:`as_numbers`, and if a box ends before it begins."""
    boxes = as_numbers(values, path, 4, "boxes", "x1, y1, x2, y2")
    wrong = (boxes[:, 2:] < boxes[:, :2]).any(dim=1)
    if wrong.any():
        first = ", ".join(f"{value:g}" for value in boxes[wrong][0].tolist())
        raise ValueError(f"{path} holds {int(wrong.sum())} boxes that end before they begin, for instance ({first})")
    return boxes


def as_number(value: object) -> int | None:
    """A whole number stated in a file, None where it states none."""
    try:
        number = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number.item()) if number.size == 1 and float(number.item()).is_integer() else None


def as_size(height: object, width: object) -> tuple[int, int] | None:
    """(H, W) stated in a file, None where it states none."""
    rows, columns = as_number(height), as_number(width)
    return None if rows is None or columns is None else (rows, columns)


def beyond(points: Float[Tensor, "n 2"], size: tuple[int, int]) -> Bool[Tensor, "n"]:
    """Which points lie outside an image of ``size`` = (H, W); the border itself is inside."""
    return ((points < 0) | (points > points.new_tensor([size[1], size[0]]))).any(dim=1)


def settle(annotation: Annotation, size: tuple[int, int], outside: str, path: Path) -> Annotation:
    """The annotation in ``path`` of an image of ``size`` = (H, W), points outside it treated as ``outside`` says.

    Raises:
        ValueError: the file was made for another size; ``outside`` is "raise" and a point lies outside.
    """
    if annotation.size is not None and annotation.size != size:
        raise ValueError(f"{path} was made for an image of (H, W) = {annotation.size}, the image has {size}")
    points = annotation.points
    if outside == "clamp":
        return annotation._replace(points=torch.minimum(points.clamp(min=0), points.new_tensor([size[1], size[0]])))
    if outside == "drop":
        return annotation.only(~beyond(points, size))
    try:
        check_points(points, str(path), size=size)
    except ValueError as error:
        raise ValueError(f"{error}; {OPTION}") from error
    return annotation


def within(points: Float[Tensor, "n 2"], roi: Bool[Tensor, "h w"]) -> Bool[Tensor, "n"]:
    """Which points lie on a pixel of the region of interest; one outside the image lies on none."""
    height, width = roi.shape
    column, row = points.floor().long().unbind(1)
    return ~beyond(points, (height, width)) & roi[row.clamp(0, height - 1), column.clamp(0, width - 1)]
