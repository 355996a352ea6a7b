"""Points of one image in a JSON file (LabelMe's, or plain points) or a MATLAB file."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.data.files.entries import Annotation, as_boxes, as_points, as_size, with_boxes
from workbench.data.files.marks import Marks
from workbench.data.files.matlab import field, fields, pick, read_variables
from workbench.io.text import read_object

MAT_KEYS = ("annPoints", "points", "point", "location", "image_info")
SHAPES = {"point": 1, "circle": 2, "rectangle": 2}  # of LabelMe, with their numbers of points


def read_json_of_one(path: Path) -> Marks:
    """Points of a JSON file of one image: LabelMe's, or an object with ``points`` (and ``boxes``, ``labels``).

    Of LabelMe's shapes a point is a person, and so is the middle of a rectangle or a circle. Other shapes, which do not
    say where the person is, are errors, and so are other keys.
    """
    found = read_object(path)
    if "shapes" in found:
        shapes = found["shapes"]
        if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
            raise ValueError(f"{path}: shapes is not a list of objects")
        size = as_size(found.get("imageHeight"), found.get("imageWidth"))
        return Marks(_labels([shape.get("label") for shape in shapes]), shapes, partial(_labelme, path=path), size)
    if "points" not in found:
        held = ", ".join(map(repr, found)) or "nothing"
        raise ValueError(f"{path} holds {held}, expected LabelMe's 'shapes', or 'points'")
    columns = [points := as_points(found["points"], path)]
    if found.get("boxes") is not None:
        columns.append(as_boxes(found["boxes"], path))
    labels = found.get("labels")
    for what, values in (("boxes", columns[-1]), ("labels", [] if labels is None and not len(points) else labels)):
        if values is not None and (not isinstance(values, list | Tensor) or len(values) != len(points)):
            number = len(values) if isinstance(values, list | Tensor) else 0
            raise ValueError(f"{path} holds {number} {what} and {len(points)} points, expected as many")
    return Marks(_labels([None] * len(points) if labels is None else labels), torch.cat(columns, dim=1), _plain)


def _labels(given: Sequence[Any]) -> list[str]:
    return ["" if label is None else str(label) for label in given]


def _plain(rows: Tensor) -> Annotation:
    """People of rows x, y, or x, y, x1, y1, x2, y2."""
    return with_boxes(rows[:, 2:], rows[:, :2]) if rows.shape[1] == 6 else Annotation(rows[:, :2])


def _labelme(shapes: list[dict[str, Any]], path: Path) -> Annotation:
    people, boxes = [], []
    for shape in shapes:
        kind, corners = shape.get("shape_type", "point"), as_points(shape.get("points", []), path)
        wanted = SHAPES.get(kind) if isinstance(kind, str) else None
        if wanted != len(corners):
            raise ValueError(
                f"{path} holds a shape {kind!r} of {len(corners)} points, expected points, rectangles or circles"
            )
        if kind == "rectangle":
            boxes.append(torch.cat([corners.min(dim=0).values, corners.max(dim=0).values]))
        people.append(corners.mean(dim=0) if kind == "rectangle" else corners[0])
    points = torch.stack(people) if people else torch.zeros(0, 2)
    return with_boxes(torch.stack(boxes), points) if boxes and len(boxes) == len(people) else Annotation(points)


def read_mat_points(path: Path) -> Marks:
    """Points of a MATLAB file: its only variable, or one of ``MAT_KEYS``; an error if it holds none of these."""
    variables = read_variables(path)
    key = next(iter(variables)) if len(variables) == 1 else pick(variables, path, *MAT_KEYS)
    value = field(variables[key], "location", path, key) if fields(variables[key]) else variables[key]
    points = as_points(value, path)
    return Marks([""] * len(points), points, Annotation)
