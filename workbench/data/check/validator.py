"""A look through a copy of a data set: is it whole, readable, and what was published?"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.data import DATASETS
from workbench.data.check.overlay import overlay_sheet
from workbench.data.check.report import ERROR, NOTE, WARNING, Figures, Finding, Report, figures
from workbench.data.files.entries import OPTION, Annotation, Entry, Published, beyond, within
from workbench.data.files.folders import FileDataset, check_root
from workbench.data.files.images import MOST_BYTES, ImageError, read_pixels
from workbench.data.files.marks import Labels, as_labels, check_labels
from workbench.registry import check_options

__all__ = ["Finding", "Report", "save_overlay", "validate"]


def reader(name: str, **options: Any) -> type[FileDataset]:
    """The reader of a data set that lies in files.

    Raises:
        ValueError: the name is not known, the data set is built in, or does not take one of ``options`` that are not
            None.
    """
    given = {option: value for option, value in options.items() if value is not None}
    found = check_options(DATASETS, name, "dataset", given)
    if not (isinstance(found, type) and issubclass(found, FileDataset)):
        raise ValueError(f"dataset {name!r} is built in: there are no files to look through")
    return found


def validate(
    name: str,
    root: str | Path | None,
    *,
    published: Mapping[str, Published] | None = None,
    labels: str | Sequence[str] | None = None,
) -> Report:
    """Look through a copy of a data set: every file is read, nothing is changed.

    Errors: a part, image, annotation or a file beside it is missing; a file cannot be read; the number that is stated
    is not that of the points; the annotation was made for another size of image; points lie outside their image (all
    of them inside with x and y exchanged: suspicious axes); totals and extremes differ from the published ones; there
    is nobody in the whole set; it is not said which of several labels are people. Warnings: nobody in a part, several
    points on one spot, points outside their own box, one picture in two files, files that are not of the set, known
    errors of the published set. Notes: points outside the region of interest, totals that the paper prints otherwise.
    Published figures that could not be verified are not compared.

    Args:
        name: one of ``DATASETS`` that lies in files.
        root: the folder that holds it; None for where it is looked for.
        published: figures to compare with instead of the published ones.
        labels: the labels of the marks that count as people, see :class:`workbench.data.readers.folder.Folder`.

    Raises:
        ValueError: the name is not known, the data set is built in, or has no labels.
        FileNotFoundError: there is no such folder, or it holds no part of the data set.
    """
    cls = reader(name, labels=labels)
    root = check_root(root, name, cls.title)
    wanted = dict(cls.published if published is None else published)
    found: list[Finding] = []
    counts: dict[str, list[int]] = {}
    pictures: dict[int, list[Path]] = defaultdict(list)
    known: set[str] = set()
    outside = 0
    parts = _parts(cls, root, found, as_labels(labels))
    everything = [entry for entries in parts.values() for entry in entries]
    found += [*_labels(cls, everything, root), *_strays(cls, everything, root)]
    for part, entries in parts.items():
        counts[part] = []
        for entry in entries:
            image = near(entry.image, root)
            if (part, entry.name) in cls.remarks:
                known.add(image)
                text = f"{cls.remarks[part, entry.name]}: known of the published set"
                found.append(Finding(WARNING, "known", image, text))
            if entry.image.is_file():
                pictures[entry.image.stat().st_size].append(entry.image)
            annotation, size, faults = check_entry(cls, entry, root)
            found += faults
            if annotation is not None:
                counts[part].append(len(annotation.points))
                outside += 0 if size is None else int(beyond(annotation.points, size).sum())
    for same in _equal_files(pictures):
        files = [near(path, root) for path in same]
        if not known.issuperset(files):
            found.append(Finding(WARNING, "duplicate image", files[1], f"is the same file as {files[0]}"))
    measured = {part: figures(len(entries), counts[part]) for part, entries in parts.items()}
    if len(parts) == len(cls.parts_of(root)):
        images = sum(figure.images for figure in measured.values())
        measured["all"] = figures(images, [count for part in parts for count in counts[part]])
    printed = cls.printed if published is None else {}
    found += _nobody(measured, counts)
    for part, figure in measured.items():
        found += _compare(part, figure, wanted.get(part, Published()), printed.get(part, Published()))
    if outside <= cls.faults:
        found = [_known_fault(cls, finding) if finding.kind == "outside" else finding for finding in found]
    compared = {part: wanted[part]._asdict() for part in measured if part in wanted}
    return Report(name, str(root), found, measured, compared)


def _parts(
    cls: type[FileDataset], root: Path, found: list[Finding], labels: Labels | None
) -> dict[str, Sequence[Entry]]:
    """The entries of each part that is there; a part that is not becomes a finding, and so does a damaged list."""
    parts: dict[str, Sequence[Entry]] = {}
    absent: list[Exception] = []
    for part in cls.parts_of(root):
        try:
            parts[part] = [replace(entry, labels=labels) for entry in cls.entries(root, part)]
        except (FileNotFoundError, ValueError) as error:
            absent.append(error)
    if absent and all(isinstance(problem, FileNotFoundError) for problem in absent) and not parts:
        raise absent[0]
    for problem in absent:
        kind = "missing part" if isinstance(problem, FileNotFoundError) else "list"
        found.append(Finding(ERROR, kind, ".", str(problem)))
    return parts


def _labels(cls: type[FileDataset], entries: Sequence[Entry], root: Path) -> Iterator[Finding]:
    """A finding where it is not clear which of the labels are people."""
    labels: Counter[str] = Counter()
    for entry in entries:
        with suppress(ValueError, OSError):  # a finding of its own
            labels += cls.labels_of(entry)
    try:
        check_labels(labels, entries[0].labels if entries else None, root)
    except ValueError as error:
        yield Finding(ERROR, "labels", ".", str(error))


def _nobody(measured: Mapping[str, Figures], counts: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    """Findings where no annotation of a part, or of the whole set, holds anybody."""
    empty = [part for part, read in counts.items() if read and not any(read)]
    if empty and not any(any(read) for read in counts.values()):
        images = sum(measured[part].images for part in counts)
        yield Finding(ERROR, "nobody", ".", f"there is nobody in any of the {images} images")
    else:
        for part in empty:
            text = f"there is nobody in any of the {measured[part].images} images of the part {part!r}"
            yield Finding(WARNING, "nobody", ".", text)


def _strays(cls: type[FileDataset], entries: Sequence[Entry], root: Path) -> Iterator[Finding]:
    """Annotations that belong to no image, and files among the images that are not of the set."""
    expected = {path for entry in entries for path in entry.files}
    truths = {entry.annotation for entry in entries if entry.annotation is not None}
    suffixes = {path.suffix for path in truths}
    for folder in sorted({path.parent for path in truths}):
        for path in sorted(folder.glob(cls.truths)) if folder.is_dir() else ():
            if path not in expected and path.suffix in suffixes and not path.name.startswith("."):
                yield Finding(ERROR, "missing image", near(path, root), "there is no image to this annotation")
    for folder in sorted({entry.image.parent for entry in entries}):
        strays = [
            path.name
            for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
            if path not in expected
            and path.is_file()
            and not path.name.startswith(".")
            and not any(path.match(form) for form in cls.companions)
        ]
        if strays:
            text = f"{len(strays)} files are not of the set and not read: {', '.join(strays[:5])}"
            yield Finding(WARNING, "stray", near(folder, root), text + (" and others" if len(strays) > 5 else ""))


def _compare(part: str, measured: Figures, published: Published, printed: Published) -> Iterator[Finding]:
    """Findings where measured figures differ from published ones that are verified, or from the paper's."""
    for what, wanted in published._asdict().items():
        value, paper = getattr(measured, what), getattr(printed, what)
        aside = "" if paper is None else f" (the paper prints {paper:,})"
        if wanted is not None and value not in (wanted, paper):
            kind = "total" if what in ("images", "people") else "extreme"
            text = f"{part} has {_words(what, value)}, published are {wanted:,}{aside}"
            yield Finding(ERROR, kind, ".", text)
        elif aside and value == wanted:
            yield Finding(NOTE, "total", ".", f"{part} has {_words(what, value)}, as the published files have{aside}")


def _known_fault(cls: type[FileDataset], finding: Finding) -> Finding:
    """The finding of points outside an image, where the published set has as many."""
    text = f"{cls.title} is known to have {cls.faults} such points: they count, moved to the border"
    return replace(finding, level=WARNING, message=f"{finding.message.removesuffix('; ' + OPTION)}; {text}")


def _words(what: str, value: int | None) -> str:
    number = "none" if value is None else f"{value:,}"
    return {"least": f"at least {number} people an image", "most": f"at most {number} people an image"}.get(
        what, f"{number} {what}"
    )


def _equal_files(by_size: Mapping[int, Sequence[Path]]) -> Iterator[list[Path]]:
    """Groups of files that hold the same bytes; only files of one size are read, and no larger ones than images are."""
    for size, paths in by_size.items():
        digests: dict[str, list[Path]] = defaultdict(list)
        for path in paths if len(paths) > 1 and size <= MOST_BYTES else ():
            with open(path, "rb") as file:
                digests[hashlib.file_digest(file, "sha256").hexdigest()].append(path)
        yield from (same for same in digests.values() if len(same) > 1)


def save_overlay(
    name: str,
    root: str | Path | None,
    path: str | Path,
    *,
    count: int = 12,
    labels: str | Sequence[str] | None = None,
) -> None:
    """Write a PNG sheet of images with their points drawn: the fullest, the emptiest and others evenly between.

    Images and annotations that cannot be read are left out (:func:`validate` names them).

    Raises:
        ValueError: the name is not known, the data set is built in, or nothing in it can be read.
        FileNotFoundError: there is no such folder, or it holds no part of the data set.
    """
    cls = reader(name, labels=labels)
    root = check_root(root, name, cls.title)
    parts = _parts(cls, root, [], as_labels(labels))
    overlay_sheet(cls, [entry for entries in parts.values() for entry in entries], path, count=count)


def check_entry(
    cls: type[FileDataset], entry: Entry, root: Path
) -> tuple[Annotation | None, tuple[int, int] | None, list[Finding]]:
    """Read one image and everything that belongs to it, and compare them: annotation, (H, W) and findings."""
    image = near(entry.image, root)
    found: list[Finding] = []
    size, annotation = None, None
    if not entry.image.is_file():
        found.append(Finding(ERROR, "missing image", image, "there is no such image"))
    else:
        try:
            height, width, _ = read_pixels(entry.image).shape
            size = height, width
        except (ImageError, OSError) as error:
            found.append(Finding(ERROR, "image", image, _without(error, entry.image)))
    if entry.annotation is not None:
        truth = near(entry.annotation, root) + ("" if entry.own else f" ({entry.name})")
        if not entry.annotation.is_file():
            found.append(Finding(ERROR, "missing annotation", image, f"there is no {truth}"))
        else:
            try:
                annotation = cls.read(entry)
            except (ValueError, OSError) as error:
                found.append(Finding(ERROR, "annotation", truth, _without(error, entry.annotation)))
        if annotation is not None:
            found += check_annotation(annotation, size, truth)
    if size is not None:
        found += _check_beside(cls, entry, root, annotation, size)
    return annotation, size, found


def check_annotation(annotation: Annotation, size: tuple[int, int] | None, file: str) -> Iterator[Finding]:
    """What is wrong with an annotation, of an image of ``size`` = (H, W) where that is known."""
    points, people = annotation.points, len(annotation.points)
    if annotation.stated is not None and annotation.stated != people:
        text = f'states {annotation.stated} people and holds {people} points; stated="ignore" counts the points'
        yield Finding(ERROR, "count", file, text)
    repeated = people - len(torch.unique(points, dim=0)) if people else 0
    if repeated:
        text = f"{repeated} of {people} points lie exactly on another one"
        yield Finding(WARNING, "duplicate points", file, text)
    if annotation.boxes is not None:
        low, high = annotation.boxes[:, :2], annotation.boxes[:, 2:]
        apart = int(((points < low) | (points > high)).any(dim=1).sum())
        if apart:
            yield Finding(WARNING, "box", file, f"{apart} of {people} points lie outside their own box")
    if size is not None and annotation.size is not None and annotation.size != size:
        text = f"was made for an image of (H, W) = {annotation.size}, the image has {size}"
        yield Finding(ERROR, "size", file, text)
    if size is not None:
        yield from check_place(points, size, file)


def check_place(points: Float[Tensor, "n 2"], size: tuple[int, int], file: str) -> Iterator[Finding]:
    """Whether the points lie in an image of ``size`` = (H, W), and if not whether they do with x and y exchanged."""
    outside = beyond(points, size)
    number = int(outside.sum())
    if not number:
        return
    x, y = points[outside][0].tolist()
    text = (
        f"{number} of {len(points)} points lie outside the image of {size[1]} x {size[0]} pixels, "
        f"for instance (x, y) = ({x:g}, {y:g})"
    )
    if len(points) > 1 and not beyond(points.flip(1), size).any():
        yield Finding(ERROR, "axes", file, f"{text}; all lie inside with x and y exchanged")
    else:
        yield Finding(ERROR, "outside", file, f"{text}; {OPTION}")


def _check_beside(
    cls: type[FileDataset], entry: Entry, root: Path, annotation: Annotation | None, size: tuple[int, int]
) -> Iterator[Finding]:
    """What is wrong with the files beside the annotation: region of interest, perspective, depth."""
    missing = {kind: path for kind, path in entry.beside.items() if not path.is_file()}
    for kind, path in missing.items():
        yield Finding(ERROR, f"missing {kind}", near(entry.image, root), f"there is no {near(path, root)}")
    if missing:
        return
    for read, kinds in ((cls.read_roi, ("roi",)), (cls.read_maps, ("perspective", "depth"))):
        file = next((entry.beside[kind] for kind in kinds if kind in entry.beside), None)
        try:
            result = read(entry, size)
        except (ValueError, OSError) as error:
            file = file or entry.image
            yield Finding(ERROR, kinds[0] if len(kinds) == 1 else "map", near(file, root), _without(error, file))
            continue
        if isinstance(result, Tensor) and annotation is not None and file is not None:
            outside = int((~within(annotation.points, result)).sum())
            if outside:
                text = f"{outside} of {len(annotation.points)} points lie outside the region of interest: not counted"
                yield Finding(NOTE, "outside roi", near(entry.image, root), text)


def near(path: Path, root: Path) -> str:
    """``path`` relative to ``root``, with forward slashes."""
    return path.relative_to(root).as_posix()


def _without(error: Exception, path: Path) -> str:
    """The message of an error without the file's name at its front, which the finding has already."""
    return str(error).removeprefix(str(path)).lstrip(": ")
