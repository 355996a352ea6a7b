"""People in Label Studio's JSON export: a list of tasks, an image each."""

import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from workbench.data.files.entries import as_size, normal
from workbench.data.files.images import IMAGE_SUFFIXES
from workbench.data.files.marks import Marks, Shape, of_shapes

PLACELESS = ("choices", "textarea", "number", "rating", "datetime", "taxonomy", "pairwise", "relation")
"""Kinds of results that mark no place in the image."""

UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of a file that was uploaded to it."""


def label_studio_marks(tasks: list[Any], path: Path) -> dict[str, Marks]:
    """The marks of each image of an export, by file name; an image that nobody has annotated is left out.

    Places are percent of the image. A keypoint is a person, and so is the middle of a rectangle or an ellipse.

    Args:
        tasks: what the file holds.
        path: the file, for messages.

    Raises:
        ValueError: an image twice or with several annotations of which none is the ground truth, an image that was
            turned in the tool, or a place that is not a number.
    """
    found: dict[str, Marks] = {}
    for task in tasks:
        name = _image(task["data"], path)
        if name in found:
            raise ValueError(f"{path} holds several tasks of the image {name[:60]!r}, expected one")
        done = [one for one in task["annotations"] if not one.get("was_cancelled")]
        done = [one for one in done if one.get("ground_truth")] or done
        if len(done) > 1:
            raise ValueError(
                f"{path} holds {len(done)} annotations of {name[:60]!r}, expected one, or one marked as ground truth"
            )
        if done:
            found[name] = _marks(done[0]["result"], name, path)
    return found


def own_names(said: Mapping[str, Marks], images: Mapping[str, Path]) -> dict[str, Marks]:
    """``said`` by the names of ``images``, where only the digits of an upload stand between them."""
    short = {name: UPLOADED.sub("", name, count=1) if UPLOADED.match(name) else name for name in said}
    free = {name for name in images if name not in said and list(short.values()).count(name) == 1}
    return {short[name] if name not in images and short[name] in free else name: said[name] for name in said}


def _image(data: Mapping[str, Any], path: Path) -> str:
    """The name of a task's image, from the address in its data."""
    values = [value for value in data.values() if isinstance(value, str)]
    names = [name for name in map(_name, values) if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    if len(names) != 1:
        held = ", ".join(map(repr, data))
        raise ValueError(f"{path}: a task's data {held} name {len(names)} images, expected one")
    return normal(names[0])


def _name(address: str) -> str:
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")  # of a file that the server reads from a folder
    return PurePosixPath(local[0] if local else unquote(parts.path)).name


def _marks(results: list[Any], name: str, path: Path) -> Marks:
    """The marks of one image; results of one id are one region, whose label may stand in another of them."""
    regions: dict[Any, tuple[dict[str, Any], list[str]]] = {}
    size = None
    for place, result in enumerate(results):
        kind = result["type"]
        if kind in PLACELESS:
            continue
        if result.get("image_rotation"):
            raise ValueError(f"{path}: {name[:60]!r} was turned in Label Studio, expected the image as it is")
        size = as_size(result.get("original_height"), result.get("original_width")) or size
        region, labels = regions.setdefault(result.get("id", place), ({}, []))
        region |= result | {"type": kind if kind != "labels" else region.get("type", kind)}
        labels += [label for label in result["value"].get(kind, []) if kind.endswith("labels")]
    shapes = [_shape(region, ", ".join(dict.fromkeys(map(str, labels))), path) for region, labels in regions.values()]
    return of_shapes(shapes, path, size)


def _shape(region: dict[str, Any], label: str, path: Path) -> Shape:
    """A region as a shape, in pixels."""
    value, kind = region["value"], str(region["type"]).removesuffix("labels")
    keys = {"keypoint": ("x", "y"), "rectangle": ("x", "y", "width", "height"), "ellipse": ("x", "y")}.get(kind)
    if keys is None:
        return Shape(label, kind, None)
    numbers = [value[key] for key in keys] + [region["original_width"], region["original_height"]]
    if not all(type(number) in (int, float) for number in numbers):
        raise ValueError(f"{path} holds a {kind} whose place {numbers[:4]} is not made of numbers")
    across, down = numbers[-2] / 100, numbers[-1] / 100
    x, y = numbers[0] * across, numbers[1] * down
    if kind != "rectangle":
        return Shape(label, kind, (x, y))
    right, lower = numbers[2] * across / 2, numbers[3] * down / 2
    turn = math.radians(float(value.get("rotation") or 0))  # about the first corner, clockwise
    cos, sin = math.cos(turn), math.sin(turn)
    middle = (x + right * cos - lower * sin, y + right * sin + lower * cos)
    return Shape(label, kind, middle, None if turn else (x, y, x + 2 * right, y + 2 * lower))
