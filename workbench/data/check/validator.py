"""A look through a copy of a data set: is it whole, readable, and what was published?"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from workbench.data import DATASETS
from workbench.data.check.examine import check_entry, near
from workbench.data.check.overlay import overlay_sheet
from workbench.data.check.report import ERROR, NOTE, WARNING, Figures, Finding, Report, figures
from workbench.data.files.entries import Entry, Published
from workbench.data.files.folders import FileDataset
from workbench.data.files.places import check_root
from workbench.registry import look_up

__all__ = ["Finding", "Report", "save_overlay", "validate"]


def reader(name: str) -> type[FileDataset]:
    """The reader of a data set that lies in files.

    Raises:
        ValueError: the name is not known, or the data set is built in.
    """
    found = look_up(DATASETS, name, "dataset")
    if not (isinstance(found, type) and issubclass(found, FileDataset)):
        raise ValueError(f"dataset {name!r} is built in: there are no files to look through")
    return found


def validate(name: str, root: str | Path | None, *, published: Mapping[str, Published] | None = None) -> Report:
    """Look through a copy of a data set: every file is read, nothing is changed.

    Errors: a part, image, annotation or a file beside it is missing; a file cannot be read; the number that is stated
    is not that of the points; the annotation was made for another size of image; points lie outside their image (all
    of them inside with x and y exchanged: suspicious axes); totals and extremes differ from the published ones.
    Warnings: several points on one spot, points outside their own box, one picture in two files. Notes: points outside
    the region of interest, known errors. Published figures that could not be verified are not compared.

    Args:
        name: one of ``DATASETS`` that lies in files.
        root: the folder that holds it; None for where it is looked for.
        published: figures to compare with instead of the published ones.

    Raises:
        ValueError: the name is not known, or the data set is built in.
        FileNotFoundError: there is no such folder, or it holds no part of the data set.
    """
    cls = reader(name)
    root = check_root(root, name, cls.title)
    wanted = dict(cls.published if published is None else published)
    found: list[Finding] = []
    counts: dict[str, list[int]] = {}
    pictures: dict[tuple[int, str], list[str]] = defaultdict(list)
    parts = _parts(cls, root, found)
    found += _strays(cls, [entry for entries in parts.values() for entry in entries], root)
    for part, entries in parts.items():
        counts[part] = []
        for entry in entries:
            if (part, entry.name) in cls.remarks:
                found.append(Finding(NOTE, "known", near(entry.image, root), cls.remarks[part, entry.name]))
            if entry.image.is_file():
                pictures[_fingerprint(entry.image)].append(near(entry.image, root))
            annotation, faults = check_entry(cls, entry, root)
            found += faults
            if annotation is not None:
                counts[part].append(len(annotation.points))
    for files in pictures.values():
        if len(files) > 1:
            found.append(Finding(WARNING, "duplicate image", files[1], f"is the same file as {files[0]}"))
    measured = {part: figures(len(entries), counts[part]) for part, entries in parts.items()}
    if len(parts) == len(cls.parts_of(root)):
        images = sum(figure.images for figure in measured.values())
        measured["all"] = figures(images, [count for part in parts for count in counts[part]])
    for part, figure in measured.items():
        found += _compare(part, figure, wanted.get(part, Published()))
    compared = {part: wanted[part]._asdict() for part in measured if part in wanted}
    return Report(name, str(root), found, measured, compared)


def _parts(cls: type[FileDataset], root: Path, found: list[Finding]) -> dict[str, Sequence[Entry]]:
    """The entries of each part that is there; a part that is not becomes a finding, and so does a damaged list."""
    parts: dict[str, Sequence[Entry]] = {}
    absent: list[Exception] = []
    for part in cls.parts_of(root):
        try:
            parts[part] = cls.entries(root, part)
        except (FileNotFoundError, ValueError) as error:
            absent.append(error)
    if absent and all(isinstance(problem, FileNotFoundError) for problem in absent) and not parts:
        raise absent[0]
    for problem in absent:
        kind = "missing part" if isinstance(problem, FileNotFoundError) else "list"
        found.append(Finding(ERROR, kind, ".", str(problem)))
    return parts


def _strays(cls: type[FileDataset], entries: Sequence[Entry], root: Path) -> Iterator[Finding]:
    """Annotations that belong to no image."""
    expected = {path for entry in entries for path in entry.files}
    truths = {entry.annotation for entry in entries if entry.annotation is not None}
    suffixes = {path.suffix for path in truths}
    for folder in sorted({path.parent for path in truths}):
        for path in sorted(folder.glob(cls.truths)) if folder.is_dir() else ():
            if path not in expected and path.suffix in suffixes and not path.name.startswith("."):
                yield Finding(ERROR, "missing image", near(path, root), "there is no image to this annotation")


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


def _fingerprint(path: Path) -> tuple[int, str]:
    """Size and digest of a file's bytes."""
    with open(path, "rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def save_overlay(name: str, root: str | Path | None, path: str | Path, *, count: int = 12) -> None:
    """Write a PNG sheet of images with their points drawn: the fullest, the emptiest and others evenly between.

    Images and annotations that cannot be read are left out (:func:`validate` names them).

    Raises:
        ValueError: the name is not known, the data set is built in, or nothing in it can be read.
        FileNotFoundError: there is no such folder, or it holds no part of the data set.
    """
    cls = reader(name)
    root = check_root(root, name, cls.title)
    overlay_sheet(cls, [entry for entries in _parts(cls, root, []).values() for entry in entries], path, count=count)
