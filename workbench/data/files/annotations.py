"""Points of one's own pictures, in the forms that annotation tools write: CSV, LabelMe, COCO, MATLAB."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from workbench.data.files.entries import Annotation, as_boxes, as_number, as_points, heights
from workbench.data.files.matlab import read_variables, unwrap
from workbench.io.text import read_object, read_text

IMAGE_COLUMNS = ("image", "file", "filename", "file_name", "name")
MAT_KEYS = ("annPoints", "points", "point", "location", "image_info")
HEADS = ("head", "nose")  # the keypoints that stand for a person
Row = tuple[str, str]


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header (empty where the first line is numbers) and rows of a CSV file with commas, semicolons or tabs."""
    text = read_text(path)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=separator) if row]
    except csv.Error as error:
        raise ValueError(f"{path} is not CSV: {error}") from error
    if rows and not all(_is_number(cell) for cell in rows[0]):
        return [cell.lower() for cell in rows[0]], rows[1:]
    return [], rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _columns(path: Path, header: list[str], rows: list[list[str]], wanted: Sequence[str]) -> list[tuple[str, ...]]:
    """The columns ``wanted`` of every row."""
    missing = [name for name in wanted if name not in header]
    if missing:
        found = ", ".join(map(repr, header))
        raise ValueError(f"{path} has the columns {found}, expected {', '.join(map(repr, wanted))} among them")
    places = [header.index(name) for name in wanted]
    short = next((number for number, row in enumerate(rows, start=2) if len(row) <= max(places)), None)
    if short is not None:
        raise ValueError(f"{path} holds {len(rows[short - 2])} cells in row {short}, expected {len(header)}")
    return [tuple(row[place] for place in places) for row in rows]


def read_csv(path: Path) -> Annotation:
    """Points of a CSV file of one image: columns ``x`` and ``y`` by name, or two columns without a header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: other columns, or cells that are not numbers.
    """
    header, rows = _table(path)
    if header:
        return Annotation(as_points(_columns(path, header, rows, ("x", "y")), path))
    wrong = next((number for number, row in enumerate(rows, start=1) if len(row) != 2), None)
    if wrong is not None:
        raise ValueError(
            f"{path} holds {len(rows[wrong - 1])} cells in row {wrong}, expected two, x and y, or a header"
        )
    return Annotation(as_points(rows, path))


def read_csv_of_many(path: Path) -> dict[str, list[Row]]:
    """The cells of x and y of each image that a CSV file with the columns image, x and y names.

    A row whose x and y are empty says that there is nobody in the image.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: other columns.
    """
    header, rows = _table(path)
    column = next((name for name in IMAGE_COLUMNS if name in header), IMAGE_COLUMNS[0])
    found: dict[str, list[Row]] = {}
    for name, x, y in _columns(path, header, rows, (column, "x", "y")):
        people = found.setdefault(name, [])
        if x or y:
            people.append((x, y))
    return found


def read_json_of_one(path: Path) -> Annotation:
    """Points of a JSON file of one image: LabelMe's, or an object with ``points`` (and ``boxes``).

    Of LabelMe's shapes a point is a person, and so is the middle of a rectangle or a circle.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON, other keys, or shapes of which one cannot tell where the person is.
    """
    found = read_object(path)
    if "shapes" in found:
        return _labelme(found, path)
    if "points" not in found:
        held = ", ".join(map(repr, found)) or "nothing"
        raise ValueError(f"{path} holds {held}, expected LabelMe's 'shapes', or 'points'")
    points = as_points(found["points"], path)
    if found.get("boxes") is None:
        return Annotation(points)
    boxes = as_boxes(found["boxes"], path)
    if len(boxes) != len(points):
        raise ValueError(f"{path} holds {len(boxes)} boxes and {len(points)} points, expected as many")
    return Annotation(points, boxes=boxes, head_sizes=heights(boxes))


def _labelme(found: Mapping[str, Any], path: Path) -> Annotation:
    if not isinstance(found["shapes"], list) or not all(isinstance(shape, dict) for shape in found["shapes"]):
        raise ValueError(f"{path}: shapes is not a list of objects")
    people, boxes = [], []
    for shape in found["shapes"]:
        kind, corners = shape.get("shape_type", "point"), as_points(shape.get("points", []), path)
        wanted = {"point": 1, "circle": 2, "rectangle": 2}.get(kind) if isinstance(kind, str) else None
        if wanted != len(corners):
            raise ValueError(
                f"{path} holds a shape {kind!r} of {len(corners)} points, expected points, rectangles or circles"
            )
        if kind == "rectangle":
            boxes.append(torch.cat([corners.min(dim=0).values, corners.max(dim=0).values]))
        people.append(corners.mean(dim=0) if kind == "rectangle" else corners[0])
    points = torch.stack(people) if people else torch.zeros(0, 2)
    size = as_number(found.get("imageHeight")), as_number(found.get("imageWidth"))
    known = None if size[0] is None or size[1] is None else (size[0], size[1])
    if not boxes or len(boxes) < len(people):
        return Annotation(points, size=known)
    heads = torch.stack(boxes)
    return Annotation(points, boxes=heads, head_sizes=heights(heads), size=known)


def read_coco(path: Path) -> dict[str, tuple[Any, Any, list[Any]]]:
    """Height, width and annotations of each image of a COCO file, by file name.

    Each annotation is (keypoints' names or None, keypoints or None, box or None).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON, other keys, or annotations of images that are not listed.
    """
    found = read_object(path, "images", "annotations")
    names: dict[Any, str] = {}
    images: dict[str, tuple[Any, Any, list[Any]]] = {}
    try:
        for image in found["images"]:
            names[image["id"]] = image["file_name"]
            images[image["file_name"]] = image.get("height"), image.get("width"), []
        keypoints = {kind["id"]: kind.get("keypoints") for kind in found.get("categories", [])}
        for entry in found["annotations"]:
            if entry["image_id"] not in names:
                raise ValueError(f"an annotation belongs to image {entry['image_id']!r}, which is not listed")
            if entry.get("iscrowd"):
                raise ValueError(f"annotation {entry.get('id')!r} is a region of many people, whose number is not said")
            said = keypoints.get(entry.get("category_id")), entry.get("keypoints"), entry.get("bbox")
            images[names[entry["image_id"]]][2].append(said)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not of COCO's form: {type(error).__name__} {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return images


def coco_annotation(given: tuple[Any, Any, list[Any]], path: Path) -> Annotation:
    """The people of one image of a COCO file: a person's only keypoint, the head or nose, else the box's middle.

    Raises:
        ValueError: a person with none of them, or values that are not numbers.
    """
    height, width, people = given
    size = (as_number(height), as_number(width))
    points, boxes = [], []
    for names, keypoints, box in people:
        corners = None
        if box is not None:
            if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
                raise ValueError(f"{path} holds a box {str(box)[:60]}, expected [x, y, width, height]")
            corners = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
            boxes.append(corners)
        point = _keypoint(names, keypoints, path)
        if point is None and corners is not None:
            point = [(corners[0] + corners[2]) / 2, (corners[1] + corners[3]) / 2]
        if point is None:
            raise ValueError(f"{path} holds a person without a visible head, nose, single keypoint or box")
        points.append(point)
    known = None if size[0] is None or size[1] is None else (size[0], size[1])
    where = as_points(points, path)
    if not boxes or len(boxes) < len(points):
        return Annotation(where, size=known)
    heads = as_boxes(boxes, path)
    return Annotation(where, boxes=heads, head_sizes=heights(heads), size=known)


def _keypoint(names: Any, keypoints: Any, path: Path) -> list[Any] | None:
    """The keypoint that stands for a person, where there is one that is seen."""
    if keypoints is None:
        return None
    if not isinstance(keypoints, list) or len(keypoints) % 3:
        raise ValueError(f"{path} holds keypoints that are not x, y and visibility in turn")
    triples = [keypoints[place : place + 3] for place in range(0, len(keypoints), 3)]
    if len(triples) > 1:
        named = zip(names if isinstance(names, list) else [], triples, strict=False)
        chosen = {name: triple for name, triple in named if isinstance(name, str) and name in HEADS}
        triples = [chosen[name] for name in HEADS if name in chosen]
    return next((triple[:2] for triple in triples if triple[2]), None)


def read_mat_points(path: Path) -> Annotation:
    """Points of a MATLAB file: one of ``MAT_KEYS``, or its only variable.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: damaged, or none of the variables.
    """
    variables = read_variables(path)
    key = next((key for key in MAT_KEYS if key in variables), next(iter(variables)) if len(variables) == 1 else None)
    if key is None:
        held = ", ".join(map(repr, variables)) or "nothing"
        raise ValueError(f"{path} holds {held}, expected one of {', '.join(map(repr, MAT_KEYS))}")
    value = unwrap(variables[key])
    fields = getattr(getattr(value, "dtype", None), "names", None) or ()
    if fields and "location" not in fields:
        raise ValueError(
            f"{path}: {key} is a struct with the fields {', '.join(map(repr, fields))}, expected 'location'"
        )
    return Annotation(as_points(unwrap(value["location"]) if fields else value, path))
