"""A look through a copy of a data set: is it whole, readable, and what was published?"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.data import DATASETS
from workbench.data.folders import Annotation, Entry, FileDataset, Published, check_root
from workbench.data.images import ImageError, read_pixels
from workbench.data.overlay import overlay_sheet
from workbench.data.report import ERROR, NOTE, WARNING, Figures, Finding, Report, figures
from workbench.registry import look_up

__all__ = ["Finding", "Report", "save_overlay", "validate"]

PARTS = ("train", "test")


def reader(name: str) -> type[FileDataset]:
    """The reader of a data set that lies in files.

    Raises:
        ValueError: the name is not known, or the data set is built in.
    """
    found = look_up(DATASETS, name, "dataset")
    if not (isinstance(found, type) and issubclass(found, FileDataset)):
        raise ValueError(f"dataset {name!r} is built in: there are no files to look through")
    return found


def validate(name: str, root: str | Path, *, published: Mapping[str, Published] | None = None) -> Report:
    """Look through a copy of a data set: every file is read, nothing is changed.

    Errors: a part, image or annotation is missing; a file cannot be read; the number that an annotation states is not
    that of its points; points lie outside their image (all of them inside with x and y exchanged: suspicious axes);
    totals and extremes differ from the published ones. Warnings: several points on one spot, one picture in two
    files. Published figures that could not be verified are not compared.

    Args:
        name: one of ``DATASETS`` that lies in files.
        root: the folder that holds it.
        published: figures to compare with instead of the published ones.

    Raises:
        ValueError: the name is not known, or the data set is built in.
        FileNotFoundError: there is no such folder, or it holds no part of the data set.
    """
    cls = reader(name)
    root = check_root(root, cls.title)
    wanted = dict(cls.published if published is None else published)
    found: list[Finding] = []
    counts: dict[str, list[int]] = {}
    images: dict[str, int] = {}
    pictures: dict[tuple[int, str], list[str]] = defaultdict(list)
    parts = _parts(cls, root, found)
    for part, entries in parts.items():
        counts[part], images[part] = [], len(entries)
        found += _strays(entries, root)
        for entry in entries:
            if (part, entry.name) in cls.remarks:
                found.append(Finding(NOTE, "known", near(entry.image, root), cls.remarks[part, entry.name]))
            pictures[_fingerprint(entry.image)].append(near(entry.image, root))
            annotation, faults = check_entry(cls, entry, root)
            found += faults
            if annotation is not None:
                counts[part].append(len(annotation.points))
    for files in pictures.values():
        if len(files) > 1:
            found.append(Finding(WARNING, "duplicate image", files[1], f"is the same file as {files[0]}"))
    measured = {part: figures(images[part], counts[part]) for part in parts}
    if len(parts) == len(PARTS):
        measured["all"] = figures(sum(images.values()), [count for part in parts for count in counts[part]])
    for part, figure in measured.items():
        found += _compare(part, figure, wanted.get(part, Published()))
    compared = {part: wanted[part]._asdict() for part in measured if part in wanted}
    return Report(name, str(root), found, measured, compared)


def _parts(cls: type[FileDataset], root: Path, found: list[Finding]) -> dict[str, Sequence[Entry]]:
    """The entries of each part that is there; a part that is not becomes a finding."""
    parts: dict[str, Sequence[Entry]] = {}
    absent = []
    for part in PARTS:
        try:
            parts[part] = cls.entries(root, part)
        except FileNotFoundError as error:
            absent.append(error)
    if not parts:
        raise absent[0]
    found += [Finding(ERROR, "missing part", ".", str(error)) for error in absent]
    return parts


def _strays(entries: Sequence[Entry], root: Path) -> Iterator[Finding]:
    """Annotations that belong to no image."""
    expected = {entry.annotation.name for entry in entries}
    for folder in sorted({entry.annotation.parent for entry in entries}):
        for path in sorted(folder.glob(f"*{entries[0].annotation.suffix}")) if folder.is_dir() else ():
            if path.name not in expected and not path.name.startswith("."):
                yield Finding(ERROR, "missing image", near(path, root), "there is no image to this annotation")


def check_entry(cls: type[FileDataset], entry: Entry, root: Path) -> tuple[Annotation | None, list[Finding]]:
    """Read one image and its annotation and hold them against each other."""
    image, truth = near(entry.image, root), near(entry.annotation, root)
    found, size, annotation = [], None, None
    try:
        height, width, _ = read_pixels(entry.image).shape
        size = height, width
    except (ImageError, OSError) as error:
        found.append(Finding(ERROR, "image", image, _without(error, entry.image)))
    if not entry.annotation.is_file():
        found.append(Finding(ERROR, "missing annotation", image, f"there is no {truth}"))
    else:
        try:
            annotation = cls.read_annotation(entry.annotation)
        except (ValueError, OSError) as error:
            found.append(Finding(ERROR, "annotation", truth, _without(error, entry.annotation)))
    if annotation is not None:
        people = len(annotation.points)
        if annotation.stated is not None and annotation.stated != people:
            text = f"states {annotation.stated} people and holds {people} points"
            found.append(Finding(ERROR, "count", truth, text))
        repeated = people - len(torch.unique(annotation.points, dim=0)) if people else 0
        if repeated:
            text = f"{repeated} of {people} points lie exactly on another one"
            found.append(Finding(WARNING, "duplicate points", truth, text))
        if size is not None:
            found += check_place(annotation.points, size, truth)
    return annotation, found


def check_place(points: Float[Tensor, "n 2"], size: tuple[int, int], file: str) -> list[Finding]:
    """Whether the points lie in an image of ``size`` = (H, W), and if not whether they do with x and y exchanged."""
    limit = points.new_tensor([size[1], size[0]])
    outside = ((points < 0) | (points > limit)).any(dim=1)
    if not outside.any():
        return []
    x, y = points[outside][0].tolist()
    text = (
        f"{int(outside.sum())} of {len(points)} points lie outside the image of {size[1]} x {size[0]} pixels, "
        f"for instance (x, y) = ({x:g}, {y:g})"
    )
    if len(points) > 1 and bool(((points >= 0) & (points <= limit.flip(0))).all()):
        return [Finding(ERROR, "axes", file, f"{text}; all lie inside with x and y exchanged")]
    return [Finding(ERROR, "outside", file, text)]


def _compare(part: str, measured: Figures, published: Published) -> Iterator[Finding]:
    """Findings where measured figures differ from published ones that are verified."""
    for what, wanted in published._asdict().items():
        value = getattr(measured, what)
        if wanted is not None and value != wanted:
            kind = "total" if what in ("images", "people") else "extreme"
            text = f"{part} has {_words(what, value)}, published are {wanted:,}"
            yield Finding(ERROR, kind, ".", text)


def _words(what: str, value: int | None) -> str:
    number = "none" if value is None else f"{value:,}"
    return {"least": f"at least {number} people an image", "most": f"at most {number} people an image"}.get(
        what, f"{number} {what}"
    )


def near(path: Path, root: Path) -> str:
    """``path`` relative to ``root``, with forward slashes."""
    return path.relative_to(root).as_posix()


def _without(error: Exception, path: Path) -> str:
    """The message of an error without the file's name at its front, which the finding has already."""
    return str(error).removeprefix(str(path)).lstrip(": ")


def _fingerprint(path: Path) -> tuple[int, str]:
    """Size and digest of a file's bytes."""
    with open(path, "rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def save_overlay(name: str, root: str | Path, path: str | Path, *, count: int = 12) -> None:
    """Write a PNG sheet of images with their points drawn: the fullest, the emptiest and others evenly between.

    Images and annotations that cannot be read are left out (:func:`validate` names them).

    Raises:
        ValueError: the name is not known, the data set is built in, or nothing in it can be read.
        FileNotFoundError: there is no such folder, or it holds no part of the data set.
    """
    cls = reader(name)
    root = check_root(root, cls.title)
    overlay_sheet(cls, [entry for entries in _parts(cls, root, []).values() for entry in entries], path, count=count)
