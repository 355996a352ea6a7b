"""What an annotation file says of one image: marks with labels, before it is known which labels count as people."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from workbench.data.files.entries import Annotation, as_boxes, as_points, with_boxes

Labels = tuple[str, ...]
LISTED_LABELS = 20  # labels that a message lists


class Marks(NamedTuple):
    """The marks of one image, as its file holds them.

    Attributes:
        labels: the label of each mark, "" where it has none.
        given: the marks, in the form that ``people`` takes.
        people: makes the annotation of marks.
        size: (H, W) of the image that the file was made for, None where the file does not say.
    """

    labels: list[str]
    given: Sequence[Any] | Tensor
    people: Callable[[Any], Annotation]
    size: tuple[int, int] | None = None

    def annotation(self, labels: Labels | None) -> Annotation:
        """The annotation of the marks with one of ``labels``, of all marks if None; the others are not looked at.

        Raises:
            ValueError: a mark that counts is damaged, or does not say where the person is.
        """
        given = self.given
        if labels is not None:
            kept = [index for index, label in enumerate(self.labels) if label in labels]
            given = given[kept] if isinstance(given, Tensor) else [given[index] for index in kept]
        return self.people(given)._replace(size=self.size)


class Shape(NamedTuple):
    """A shape that somebody drew in an annotation tool.

    Attributes:
        label: its label, "" where it has none.
        kind: what the tool calls it, for the message.
        point: x and y of the person; None where the shape does not say where that is, as an outline does not.
        box: x1, y1, x2, y2, where it is an upright box.
    """

    label: str
    kind: str
    point: Sequence[Any] | None
    box: Sequence[Any] | None = None


def of_shapes(shapes: Sequence[Shape], path: Path, size: tuple[int, int] | None = None) -> Marks:
    """The marks of one image that the shapes in ``path`` are; ``size`` as in :class:`Marks`."""
    return Marks([shape.label for shape in shapes], shapes, partial(_people, path=path), size)


def _people(shapes: Sequence[Shape], path: Path) -> Annotation:
    outline = next((shape for shape in shapes if shape.point is None), None)
    if outline is not None:
        raise ValueError(f"{path} holds a shape {outline.kind!r}, expected points, boxes, circles or ellipses")
    points = as_points([shape.point for shape in shapes], path)
    boxes = as_boxes([shape.box for shape in shapes if shape.box is not None], path)
    return with_boxes(boxes, points) if len(boxes) == len(shapes) > 0 else Annotation(points)


def as_labels(labels: Sequence[str] | None) -> Labels | None:
    """The labels that count, of one text or several; ``ValueError`` if they are none, or not text."""
    if labels is None:
        return None
    listed = (labels,) if isinstance(labels, str) else tuple(labels) if isinstance(labels, list | tuple) else ()
    if not listed or not all(isinstance(label, str) for label in listed):
        raise ValueError(f"labels is {labels!r}, expected the labels that count as people, such as ['person']")
    return listed


def check_labels(found: Counter[str], labels: Labels | None, where: object) -> None:
    """Raise unless it is clear which of the labels that were ``found``, with their numbers, are people.

    Raises:
        ValueError: several labels and no ``labels`` that say which count, or one of these is not there. The message
            names ``where``.
    """
    listed = ", ".join(f"{label!r} ({number})" for label, number in found.most_common(LISTED_LABELS))
    listed += f" and {len(found) - LISTED_LABELS} more" if len(found) > LISTED_LABELS else ""
    if labels is None and len(found) > 1:
        example = next((label for label in ("person", "head", "people") if label in found), next(iter(found)))
        raise ValueError(
            f"{where} holds marks with several labels: {listed}; labels says which of them are people, "
            f'for instance labels=["{example}"]'
        )
    unknown = [label for label in labels or () if label not in found]
    if found and unknown:
        raise ValueError(f"labels names {', '.join(map(repr, unknown))}, but {where} holds {listed}")
