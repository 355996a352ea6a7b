"""People in CVAT's own XML, "CVAT for images 1.1"."""

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring

from workbench.data.files.entries import as_size, normal
from workbench.data.files.marks import Marks, Shape, of_shapes
from workbench.io.text import is_number, read_text

XML_COSTS = {"<": 350, "=": 400}  # bytes of memory that a character stands for, see workbench.io.text
IMAGE_ELEMENTS = ("tag", "attribute")  # of the whole image
CORNERS = ("xtl", "ytl", "xbr", "ybr")


def read_cvat(path: Path) -> dict[str, Marks]:
    """The marks of each image of an XML file, by file name; an image without shapes is one of nobody.

    Each of a shape's points is a person, and so is the middle of a box or an ellipse.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not XML, an image twice, tracks of a video, or a place that is not a number.
    """
    text = read_text(path, costs=XML_COSTS)
    try:
        root = fromstring(text, forbid_dtd=True)
    except (ParseError, ValueError) as error:
        raise ValueError(f"{path} is not XML that is read: {error}") from error
    if root.tag != "annotations":
        raise ValueError(f"{path} holds <{root.tag[:60]}>, expected CVAT's <annotations>")
    if root.find("track") is not None:
        raise ValueError(f"{path} holds tracks of a video, expected images: export it as 'CVAT for images 1.1'")
    found: dict[str, Marks] = {}
    for image in root.iter("image"):
        name = normal(_said(image, "name", path))
        if name in found:
            raise ValueError(f"{path} holds several images named {name[:60]!r}, expected one")
        shapes = [shape for element in image if element.tag not in IMAGE_ELEMENTS for shape in _shapes(element, path)]
        size = as_size(image.get("height"), image.get("width"))
        found[name] = of_shapes(shapes, path, size)
    return found


def _shapes(element: Element, path: Path) -> list[Shape]:
    """The shapes that an element is: as many as it has points."""
    kind, label = element.tag, _said(element, "label", path)
    if kind == "points":
        pairs = [pair.split(",") for pair in _said(element, "points", path).split(";")]
        return [Shape(label, kind, _numbers(pair, 2, path)) for pair in pairs]
    if kind == "ellipse":
        return [Shape(label, kind, _numbers([_said(element, key, path) for key in ("cx", "cy")], 2, path))]
    if kind != "box":
        return [Shape(label, kind, None)]
    box = _numbers([_said(element, key, path) for key in CORNERS], 4, path)
    turned = float((_numbers([element.get("rotation", "0")], 1, path))[0])
    return [Shape(label, kind, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), None if turned else box)]


def _said(element: Element, key: str, path: Path) -> str:
    value = element.get(key)
    if value is None:
        raise ValueError(f"{path} holds <{element.tag[:60]}> without {key!r}")
    return value


def _numbers(cells: list[str], length: int, path: Path) -> list[float]:
    if len(cells) != length or not all(is_number(cell.strip()) for cell in cells):
        raise ValueError(f"{path} holds {','.join(cells)[:60]!r}, expected {length} numbers")
    return [float(cell) for cell in cells]
