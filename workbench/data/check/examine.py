"""A look at one image of a data set and everything that belongs to it."""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.data.check.report import ERROR, NOTE, WARNING, Finding
from workbench.data.files.entries import Annotation, Entry, within
from workbench.data.files.folders import FileDataset
from workbench.data.files.images import ImageError, read_pixels


def check_entry(cls: type[FileDataset], entry: Entry, root: Path) -> tuple[Annotation | None, list[Finding]]:
    """Read one image and everything that belongs to it, and hold them against each other."""
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
    return annotation, found


def check_annotation(annotation: Annotation, size: tuple[int, int] | None, file: str) -> Iterator[Finding]:
    """What is wrong with an annotation, of an image of ``size`` = (H, W) where that is known."""
    points, people = annotation.points, len(annotation.points)
    if annotation.stated is not None and annotation.stated != people:
        yield Finding(ERROR, "count", file, f"states {annotation.stated} people and holds {people} points")
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
    limit = points.new_tensor([size[1], size[0]])
    outside = ((points < 0) | (points > limit)).any(dim=1)
    if not outside.any():
        return
    x, y = points[outside][0].tolist()
    text = (
        f"{int(outside.sum())} of {len(points)} points lie outside the image of {size[1]} x {size[0]} pixels, "
        f"for instance (x, y) = ({x:g}, {y:g})"
    )
    if len(points) > 1 and bool(((points >= 0) & (points <= limit.flip(0))).all()):
        yield Finding(ERROR, "axes", file, f"{text}; all lie inside with x and y exchanged")
    else:
        yield Finding(ERROR, "outside", file, text)


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
