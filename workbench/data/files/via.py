"""People in the files of the VGG Image Annotator, versions 1 and 2: JSON exports, projects and tables."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.data.files.entries import normal
from workbench.data.files.marks import Marks, Shape, of_shapes

METADATA = "_via_img_metadata"  # of a project: what an export holds alone
LABEL_ATTRIBUTES = ("label", "class", "category", "type")
SHAPE_CENTRES = {"point": ("cx", "cy"), "circle": ("cx", "cy"), "ellipse": ("cx", "cy"), "rect": ("x", "y")}

Region = tuple[str, dict[str, Any], dict[str, Any]]
"""An image's name, and a region's shape and attributes; both are empty where the image has no region."""


def via_marks(images: Mapping[str, Any], path: Path) -> dict[str, Marks]:
    """The marks of each image of an export, by file name.

    A point is a person, and so is the middle of a rectangle, a circle or an ellipse. The label is the regions' only
    attribute, or the one of ``LABEL_ATTRIBUTES``.

    Args:
        images: what the file says of each image.
        path: the file, for messages.

    Raises:
        ValueError: an image twice, or attributes of which none is known to be the label.
    """
    names = [normal(image["filename"]) for image in images.values()]
    double = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if double is not None:
        raise ValueError(f"{path} holds {names.count(double)} images named {double[:60]!r}, expected one")
    regions: list[Region] = [(name, {}, {}) for name in names]
    for name, image in zip(names, images.values(), strict=True):
        given = image["regions"]
        for region in given.values() if isinstance(given, dict) else given:  # version 1 numbers them
            regions.append((name, region["shape_attributes"], region.get("region_attributes") or {}))
    return _by_image(regions, path)


def via_table(rows: Iterable[tuple[int, Mapping[str, str]]], path: Path) -> dict[str, Marks]:
    """The marks of each image of a table of numbered rows; an image without regions has a row, too.

    Raises:
        ValueError: a cell is not JSON, or as :func:`via_marks`.
    """
    regions = []
    for line, row in rows:
        try:
            shape, attributes = (json.loads(row[key]) for key in ("region_shape_attributes", "region_attributes"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} holds a cell in line {line} that is not JSON: {error}") from error
        if not isinstance(shape, dict) or not isinstance(attributes, dict):
            raise ValueError(f"{path} holds a cell in line {line} that is not a JSON object")
        regions.append((normal(row["filename"]), shape, attributes))
    try:
        return _by_image(regions, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not of VIA's form: {type(error).__name__} {error}") from error


def _by_image(regions: Iterable[Region], path: Path) -> dict[str, Marks]:
    regions = list(regions)
    keys = dict.fromkeys(key for _, _, attributes in regions for key in attributes)
    key = next((key for key in LABEL_ATTRIBUTES if key in keys), None)
    if key is None and len(keys) > 1:
        held = ", ".join(map(repr, list(keys)[:10]))
        raise ValueError(
            f"{path} holds regions with the attributes {held}, expected one, or one of {', '.join(LABEL_ATTRIBUTES)}"
        )
    key = key or next(iter(keys), "")
    shapes: dict[str, list[Shape]] = {name: [] for name, _, _ in regions}
    for name, shape, attributes in regions:
        if shape:
            shapes[name].append(_shape(shape, _label(attributes.get(key, ""))))
    return {name: of_shapes(found, path) for name, found in shapes.items()}


def _label(value: Any) -> str:
    """An attribute's value; of a checkbox the options that are set."""
    return ", ".join(option for option, chosen in value.items() if chosen) if isinstance(value, dict) else str(value)


def _shape(shape: dict[str, Any], label: str) -> Shape:
    kind = str(shape["name"])
    if kind not in SHAPE_CENTRES:
        return Shape(label, kind, None)
    x, y = (shape[key] for key in SHAPE_CENTRES[kind])
    if kind != "rect":
        return Shape(label, kind, (x, y))
    corner = x + shape["width"], y + shape["height"]
    return Shape(label, kind, ((x + corner[0]) / 2, (y + corner[1]) / 2), (x, y, *corner))
