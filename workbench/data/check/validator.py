"""A look through a copy of a data set: is it whole, readable, and what was published?"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.data import DATASETS
from workbench.data.check.overlay import overlay_sheet
from workbench.data.check.report import ERROR, NOTE, WARNING, Finding, Report, Totals, totals
from workbench.data.files.entries import OPTION, Annotation, Entry, Published, beyond, within
from workbench.data.files.folders import FileDataset, check_root
from workbench.data.files.images import MOST_IMAGE_BYTES, ImageError, read_pixels
from workbench.data.files.marks import Labels, as_labels, check_labels
from workbench.data.sample import Size
from workbench.registry import check_options

__all__ = ["Finding", "Report", "save_overlay_sheet", "validate"]


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
    look = _Look(cls, check_root(root, name, cls.title), as_labels(labels))
    parts = look.parts()
    everything = [entry for entries in parts.values() for entry in entries]
    look.check_labels(everything)
    look.check_strays(everything)
    known = look.check_remarks(parts)
    counts = {part: [n for entry in entries for n in look.check_entry(entry)] for part, entries in parts.items()}
    look.check_equal_files([entry.image for entry in everything], known)
    measured = {part: totals(len(entries), counts[part]) for part, entries in parts.items()}
    if len(parts) == len(cls.parts_of(look.root)):
        measured["all"] = totals(len(everything), [count for part in parts for count in counts[part]])
    look.check_anybody(measured, counts)
    wanted, printed = (cls.published, cls.printed) if published is None else (published, {})
    for part, figure in measured.items():
        look.compare(part, figure, wanted.get(part, Published()), printed.get(part, Published()))
    compared = {part: wanted[part]._asdict() for part in measured if part in wanted}
    return Report(name, str(look.root), look.findings(), measured, compared)


def save_overlay_sheet(
    name: str, root: str | Path | None, path: str | Path, *, count: int = 12, labels: str | Sequence[str] | None = None
) -> None:
    """Write a PNG sheet of images with their points drawn: the fullest, the emptiest and others evenly between.

    Images and annotations that cannot be read are left out (:func:`validate` names them).

    Raises:
        ValueError: the name is not known, the data set is built in, or nothing in it can be read.
        FileNotFoundError: there is no such folder, or it holds no part of the data set.
    """
    cls = reader(name, labels=labels)
    parts = _Look(cls, check_root(root, name, cls.title), as_labels(labels)).parts()
    overlay_sheet(cls, [entry for entries in parts.values() for entry in entries], path, count=count)


@dataclass
class _Look:
    """A look through the copy in ``root``: what was found so far, and the number of points outside their image."""

    cls: type[FileDataset]
    root: Path
    labels: Labels | None
    found: list[Finding] = field(default_factory=list)
    outside: int = 0

    def add(self, level: str, kind: str, file: Path | str, message: str) -> None:
        """Note a finding; of a message the file's name at its front, which the finding has already, is left out."""
        near = file if isinstance(file, str) else self.near(file)
        self.found.append(Finding(level, kind, near, message.removeprefix(str(file)).lstrip(": ")))

    def near(self, path: Path) -> str:
        """``path`` relative to the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def findings(self) -> list[Finding]:
        """All findings; points outside their image are warnings where the published set has as many."""
        if self.outside > self.cls.faults:
            return self.found
        text = f"{self.cls.title} is known to have {self.cls.faults} such points: they count, moved to the border"
        return [
            replace(finding, level=WARNING, message=f"{finding.message.removesuffix('; ' + OPTION)}; {text}")
            if finding.kind == "outside"
            else finding
            for finding in self.found
        ]

    def parts(self) -> dict[str, Sequence[Entry]]:
        """The entries of each part that is there; a part that is not is a finding, and so is a damaged list."""
        parts: dict[str, Sequence[Entry]] = {}
        absent: list[Exception] = []
        for part in self.cls.parts_of(self.root):
            try:
                parts[part] = [replace(entry, labels=self.labels) for entry in self.cls.entries(self.root, part)]
            except (FileNotFoundError, ValueError) as error:
                absent.append(error)
        if absent and all(isinstance(problem, FileNotFoundError) for problem in absent) and not parts:
            raise absent[0]
        for problem in absent:
            self.add(ERROR, "missing part" if isinstance(problem, FileNotFoundError) else "list", ".", str(problem))
        return parts

    def check_labels(self, entries: Sequence[Entry]) -> None:
        """Whether it is clear which of the labels are people."""
        labels: Counter[str] = Counter()
        for entry in entries:
            with suppress(ValueError, OSError):  # a finding of its own
                labels += self.cls.labels_of(entry)
        try:
            check_labels(labels, self.labels, self.root)
        except ValueError as error:
            self.add(ERROR, "labels", ".", str(error))

    def check_strays(self, entries: Sequence[Entry]) -> None:
        """Annotations that belong to no image, and files among the images that are not of the set."""
        expected = {path for entry in entries for path in entry.files}
        truths = {entry.annotation for entry in entries if entry.annotation is not None}
        suffixes = {path.suffix for path in truths}
        for folder in sorted({path.parent for path in truths}):
            for path in sorted(folder.glob(self.cls.truths)):
                if path not in expected and path.suffix in suffixes and not path.name.startswith("."):
                    self.add(ERROR, "missing image", path, "there is no image to this annotation")
        for folder in sorted({entry.image.parent for entry in entries}):
            others = sorted(path for path in folder.glob("[!.]*") if path.is_file() and path not in expected)
            strays = [p.name for p in others if not any(p.match(form) for form in self.cls.companions)]
            if strays:
                text = f"{len(strays)} files are not of the set and not read: {', '.join(strays[:5])}"
                self.add(WARNING, "stray", folder, text + (" and others" if len(strays) > 5 else ""))

    def check_remarks(self, parts: Mapping[str, Sequence[Entry]]) -> set[Path]:
        """The images in which the published set has a known error."""
        known = [(part, entry) for part in parts for entry in parts[part] if (part, entry.name) in self.cls.remarks]
        for part, entry in known:
            text = f"{self.cls.remarks[part, entry.name]}: known of the published set"
            self.add(WARNING, "known", entry.image, text)
        return {entry.image for _, entry in known}

    def check_entry(self, entry: Entry) -> Iterator[int]:
        """Read one image and everything that belongs to it, and compare them; gives its number of people if known."""
        size, annotation = None, None
        if not entry.image.is_file():
            self.add(ERROR, "missing image", entry.image, "there is no such image")
        else:
            try:
                height, width, _ = read_pixels(entry.image).shape
                size = height, width
            except (ImageError, OSError) as error:
                self.add(ERROR, "image", entry.image, str(error))
        if entry.annotation is not None:
            truth = self.near(entry.annotation) + ("" if entry.own else f" ({entry.name})")
            if not entry.annotation.is_file():
                self.add(ERROR, "missing annotation", entry.image, f"there is no {truth}")
            else:
                try:
                    annotation = self.cls.read(entry)
                except (ValueError, OSError) as error:
                    self.add(ERROR, "annotation", truth, str(error).removeprefix(str(entry.annotation)))
            if annotation is not None:
                self.check_annotation(annotation, size, truth)
                yield len(annotation.points)
        if size is not None:
            self.check_beside(entry, annotation, size)

    def check_annotation(self, annotation: Annotation, size: Size | None, file: str) -> None:
        """What is wrong with an annotation, of an image of ``size`` = (H, W) where that is known."""
        points, people = annotation.points, len(annotation.points)
        if annotation.stated is not None and annotation.stated != people:
            text = f'states {annotation.stated} people and holds {people} points; stated="ignore" counts the points'
            self.add(ERROR, "count", file, text)
        if repeated := people - len(torch.unique(points, dim=0)) if people else 0:
            self.add(WARNING, "duplicate points", file, f"{repeated} of {people} points lie exactly on another one")
        if annotation.boxes is not None:
            low, high = annotation.boxes[:, :2], annotation.boxes[:, 2:]
            if apart := int(((points < low) | (points > high)).any(dim=1).sum()):
                self.add(WARNING, "box", file, f"{apart} of {people} points lie outside their own box")
        if size is None:
            return
        if annotation.size is not None and annotation.size != size:
            text = f"was made for an image of (H, W) = {annotation.size}, the image has {size}"
            self.add(ERROR, "size", file, text)
        outside = beyond(points, size)
        if number := int(outside.sum()):
            self.outside += number
            x, y = points[outside][0].tolist()
            text = (
                f"{number} of {people} points lie outside the image of {size[1]} x {size[0]} pixels, "
                f"for instance (x, y) = ({x:g}, {y:g})"
            )
            exchanged = people > 1 and not beyond(points.flip(1), size).any()
            kind, advice = ("axes", "all lie inside with x and y exchanged") if exchanged else ("outside", OPTION)
            self.add(ERROR, kind, file, f"{text}; {advice}")

    def check_beside(self, entry: Entry, annotation: Annotation | None, size: Size) -> None:
        """What is wrong with the files beside the annotation: region of interest, perspective, depth."""
        missing = {kind: path for kind, path in entry.beside.items() if not path.is_file()}
        for kind, path in missing.items():
            self.add(ERROR, f"missing {kind}", entry.image, f"there is no {self.near(path)}")
        if missing:
            return
        for read, kinds in ((self.cls.read_roi, ("roi",)), (self.cls.read_maps, ("perspective", "depth"))):
            file = next((entry.beside[kind] for kind in kinds if kind in entry.beside), entry.image)
            try:
                result = read(entry, size)
            except (ValueError, OSError) as error:
                self.add(ERROR, kinds[0] if len(kinds) == 1 else "map", file, str(error))
                continue
            if isinstance(result, Tensor) and annotation is not None:
                people = len(annotation.points)
                if outside := int((~within(annotation.points, result)).sum()):
                    text = f"{outside} of {people} points lie outside the region of interest: not counted"
                    self.add(NOTE, "outside roi", entry.image, text)

    def check_equal_files(self, images: Sequence[Path], known: set[Path]) -> None:
        """Images that hold the same bytes; only files of one size are read, and no larger ones than images are."""
        by_size: dict[int, list[Path]] = defaultdict(list)
        for path in images:
            if path.is_file():
                by_size[path.stat().st_size].append(path)
        for size, paths in by_size.items():
            digests: dict[str, list[Path]] = defaultdict(list)
            for path in paths if len(paths) > 1 and size <= MOST_IMAGE_BYTES else ():
                with open(path, "rb") as file:
                    digests[hashlib.file_digest(file, "sha256").hexdigest()].append(path)
            for same in digests.values():
                if len(same) > 1 and not known.issuperset(same):
                    self.add(WARNING, "duplicate image", same[1], f"is the same file as {self.near(same[0])}")

    def check_anybody(self, measured: Mapping[str, Totals], counts: Mapping[str, Sequence[int]]) -> None:
        """Whether the annotations of each part, and of the whole set, hold anybody."""
        empty = [part for part, read in counts.items() if read and not any(read)]
        if empty and not any(any(read) for read in counts.values()):
            images = sum(measured[part].images for part in counts)
            self.add(ERROR, "nobody", ".", f"there is nobody in any of the {images} images")
        else:
            for part in empty:
                text = f"there is nobody in any of the {measured[part].images} images of the part {part!r}"
                self.add(WARNING, "nobody", ".", text)

    def compare(self, part: str, measured: Totals, published: Published, printed: Published) -> None:
        """Measured figures against published ones that are verified, and the paper's."""
        for what, wanted in published._asdict().items():
            value, paper = getattr(measured, what), getattr(printed, what)
            number = "none" if value is None else f"{value:,}"
            end = f"{number} people an image"
            has = f"{part} has {({'least': f'at least {end}', 'most': f'at most {end}'}).get(what, f'{number} {what}')}"
            aside = "" if paper is None else f" (the paper prints {paper:,})"
            if wanted is not None and value not in (wanted, paper):
                kind = "total" if what in ("images", "people") else "extreme"
                self.add(ERROR, kind, ".", f"{has}, published are {wanted:,}{aside}")
            elif aside and value == wanted:
                self.add(NOTE, "total", ".", f"{has}, as the published files have{aside}")
