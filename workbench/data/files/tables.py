"""Points in CSV files, of one image or of many."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from workbench.data.files.entries import Annotation, as_points, normal
from workbench.data.files.marks import Marks
from workbench.data.files.via import via_table
from workbench.io.text import TABLE_COSTS, comma_hint, is_decimal_comma, is_number, read_text

IMAGE_COLUMNS = ("image", "file", "filename", "file_name", "name")
LABEL_COLUMNS = ("label", "class", "category", "class_name", "category_name")

NumberedRow = tuple[int, list[str]]
"""The number of a line and its cells."""


def _table(path: Path) -> tuple[list[str], list[NumberedRow]]:
    """Header (empty where the first line holds a number) and rows; cells are split at semicolons, tabs or commas."""
    text = read_text(path, costs=TABLE_COSTS)
    first = text.lstrip().partition("\n")[0]
    separator = next((letter for letter in ";\t" if letter in first), ",")  # a comma may be a decimal one
    lines = csv.reader(io.StringIO(text), delimiter=separator)
    try:
        rows = [(lines.line_num, [cell.strip() for cell in cells]) for cells in lines if cells]
    except csv.Error as error:
        raise ValueError(f"{path} is not CSV: {error}") from error
    if not rows or any(is_number(cell) or is_decimal_comma(cell) for cell in rows[0][1]):
        return [], rows
    header = [cell.lower() for cell in rows[0][1]]
    double = next((name for name in header if name and header.count(name) > 1), None)
    if double is not None:
        raise ValueError(f"{path} has {header.count(double)} columns {double!r}, expected one of each name")
    _check_width(path, rows, len(header), f"{len(header)} as in its header", separator)
    return header, rows[1:]


def _check_width(path: Path, rows: Iterable[NumberedRow], width: int, expected: str, separator: str) -> None:
    """Raise ``ValueError`` unless every row has ``width`` cells."""
    for line, cells in rows:
        if len(cells) != width:
            commas = len(cells) > width and separator == ","
            hint = "; if these are decimal commas, write decimals with a point" if commas else ""
            raise ValueError(f"{path} holds {len(cells)} cells in line {line}, expected {expected}{hint}")


def _by_image(path: Path, header: list[str], rows: Iterable[NumberedRow], image: str) -> dict[str, Marks]:
    """The marks of each image that the column ``image`` names; of one image without a name if it is empty.

    A row whose x and y are empty says that there is nobody in a named image.
    """
    label = next((name for name in LABEL_COLUMNS if name in header), "")
    wanted = [name for name in (image, "x", "y", label) if name]
    if not set(wanted) <= set(header):
        found = ", ".join(map(repr, header))
        raise ValueError(f"{path} has the columns {found}, expected {', '.join(map(repr, wanted))} among them")
    people: dict[str, list[tuple[str, list[float]]]] = {} if image else {"": []}
    for line, cells in rows:
        row = dict(zip(header, cells, strict=True)) | {"": ""}
        marks = people.setdefault(normal(row[image]), [])
        if row["x"] or row["y"] or not image:
            marks.append((row[label], _numbers(path, line, (row["x"], row["y"]))))
    return {name: _marks(path, marks) for name, marks in people.items()}


def _numbers(path: Path, line: int, cells: Sequence[str]) -> list[float]:
    wrong = next((cell for cell in cells if not is_number(cell)), None)
    if wrong is not None:
        raise ValueError(f"{path} holds {wrong[:60]!r} in line {line}, expected a number{comma_hint(wrong)}")
    return [float(cell) for cell in cells]


def _marks(path: Path, found: Sequence[tuple[str, list[float]]]) -> Marks:
    return Marks([label for label, _ in found], as_points([point for _, point in found], path), Annotation)


def read_csv(path: Path) -> Marks:
    """Points of a CSV file of one image: columns ``x`` and ``y`` by name, or two columns without a header.

    A column ``label`` (or ``class``, ``category``) holds labels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: other columns, rows that are longer or shorter than the header, or cells that are not numbers.
    """
    header, rows = _table(path)
    if header:
        return _by_image(path, header, rows, "")[""]
    _check_width(path, rows, 2, "two, x and y, or a header", ",")
    return _marks(path, [("", _numbers(path, line, cells)) for line, cells in rows])


def read_csv_of_many(path: Path) -> dict[str, Marks]:
    """The points of each image that a CSV file with the columns image, x and y names; otherwise as :func:`read_csv`.

    A row whose x and y are empty says that there is nobody in the image. VIA's table is read, too.
    """
    header, rows = _table(path)
    header = [name.removeprefix("#") for name in header]  # of VIA's first version
    if {"filename", "region_shape_attributes", "region_attributes"} <= set(header):
        return via_table(((line, dict(zip(header, cells, strict=True))) for line, cells in rows), path)
    return _by_image(path, header, rows, next((name for name in IMAGE_COLUMNS if name in header), IMAGE_COLUMNS[0]))
