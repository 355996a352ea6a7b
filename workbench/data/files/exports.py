"""One JSON file for many images, as an annotation tool exports it: COCO's form, Label Studio's or VIA's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.data.files.coco import coco_marks
from workbench.data.files.label_studio import label_studio_marks
from workbench.data.files.marks import Marks
from workbench.data.files.via import METADATA, via_marks
from workbench.io.text import read_json


def read_json_of_many(path: Path) -> dict[str, Marks]:
    """The marks of each image that a JSON file speaks of, by the image's name; what it holds says which form it has.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON, or of none of these forms; the message names the file.
    """
    found = read_json(path)
    form, read = _form(found, path)
    try:
        return read(found, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not of {form}'s form: {type(error).__name__} {error}") from error


def _form(found: Any, path: Path) -> tuple[str, Callable[[Any, Path], dict[str, Marks]]]:
    if isinstance(found, list):
        return "Label Studio", label_studio_marks
    if isinstance(found, dict) and {"images", "annotations"} <= set(found):
        return "COCO", coco_marks
    if isinstance(found, dict) and METADATA in found:
        return "VIA", lambda project, place: via_marks(project[METADATA], place)
    if isinstance(found, dict) and found and all(isinstance(v, dict) and "filename" in v for v in found.values()):
        return "VIA", via_marks
    held = ", ".join(map(repr, list(found)[:5])) if isinstance(found, dict) and found else type(found).__name__
    raise ValueError(
        f"{path} holds {held}, expected COCO's 'images' and 'annotations', VIA's images with a 'filename' each, or "
        "Label Studio's list of tasks"
    )
