"""People in COCO's form: one JSON file for many images."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from workbench.data.files.entries import Annotation, as_boxes, as_points, as_size, normal, with_boxes
from workbench.data.files.marks import Marks

HEAD_KEYPOINTS = ("head", "nose")  # the keypoints that stand for a person
KEPT = ("id", "keypoints", "bbox", "iscrowd")  # what is looked at of an annotation


def coco_marks(found: dict[str, Any], path: Path) -> dict[str, Marks]:
    """The marks of each image of a COCO file, by file name; labels are the categories' names.

    Args:
        found: what the file holds.
        path: the file, for messages.

    Raises:
        ValueError: an id or a file name twice, or annotations of images or of categories that are not listed.
    """
    categories = {kind["id"]: kind for kind in found.get("categories", [])}
    names = {image["id"]: normal(image["file_name"]) for image in found["images"]}
    _check_once((kind["id"] for kind in found.get("categories", [])), "categories with the id", path)
    _check_once((image["id"] for image in found["images"]), "images with the id", path)
    _check_once((normal(image["file_name"]) for image in found["images"]), "images named", path)
    ids = (entry["id"] for entry in found["annotations"] if entry.get("id") is not None)
    _check_once(ids, "annotations with the id", path)
    labels: dict[str, list[str]] = {name: [] for name in names.values()}
    given: dict[str, list[Any]] = {name: [] for name in names.values()}
    for entry in found["annotations"]:
        if entry["image_id"] not in names:
            raise ValueError(f"{path}: an annotation belongs to image {entry['image_id']!r}, which is not listed")
        kind = entry.get("category_id")
        if kind is not None and kind not in categories:
            raise ValueError(f"{path}: annotation {entry.get('id')!r} is of the category {kind!r}, which is not listed")
        name, category = names[entry["image_id"]], categories.get(kind, {})
        labels[name].append(str(category.get("name", "" if kind is None else kind)))
        given[name].append({"names": category.get("keypoints")} | {key: entry.get(key) for key in KEPT})
    people = partial(_people, path=path)
    sizes = {names[image["id"]]: as_size(image.get("height"), image.get("width")) for image in found["images"]}
    return {name: Marks(labels[name], given[name], people, sizes[name]) for name in labels}


def _check_once(values: Iterable[Any], what: str, path: Path) -> None:
    double, number = next(iter(Counter(values).most_common(1)), (None, 0))
    if number > 1:
        raise ValueError(f"{path} holds {number} {what} {double!r}, expected one")


def _people(given: list[dict[str, Any]], path: Path) -> Annotation:
    """A point for each annotation: its only keypoint, its head or nose, else the middle of its box."""
    points, boxes = [], []
    for entry in given:
        if entry["iscrowd"]:
            raise ValueError(
                f"{path}: annotation {entry['id']!r} is a region of many people (iscrowd), whose number is not said"
            )
        box, corners = entry["bbox"], None
        if box is not None:
            if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
                raise ValueError(f"{path} holds a box {str(box)[:60]}, expected [x, y, width, height]")
            corners = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
            boxes.append(corners)
        point = _keypoint(entry["names"], entry["keypoints"], path)
        if point is None and corners is not None:
            point = [(corners[0] + corners[2]) / 2, (corners[1] + corners[3]) / 2]
        if point is None:
            raise ValueError(f"{path} holds a person without a visible head, nose, single keypoint or box")
        points.append(point)
    where = as_points(points, path)
    return with_boxes(as_boxes(boxes, path), where) if boxes and len(boxes) == len(points) else Annotation(where)


def _keypoint(names: Any, keypoints: Any, path: Path) -> list[Any] | None:
    """The keypoint that stands for a person, where there is one that is seen."""
    if keypoints is None:
        return None
    if not isinstance(keypoints, list) or len(keypoints) % 3:
        raise ValueError(f"{path} holds keypoints that are not x, y and visibility in turn")
    triples = [keypoints[place : place + 3] for place in range(0, len(keypoints), 3)]
    if len(triples) > 1:
        named = zip(names if isinstance(names, list) else [], triples, strict=False)
        chosen = {name: triple for name, triple in named if isinstance(name, str) and name in HEAD_KEYPOINTS}
        triples = [chosen[name] for name in HEAD_KEYPOINTS if name in chosen]
    return next((triple[:2] for triple in triples if triple[2]), None)
