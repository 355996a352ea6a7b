"""Points in CSV files, of one image or of many."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from workbench.data.files.entries import Annotation, as_points, normal
from workbench.data.files.marks import Marks
from workbench.io.text import TABLE_COSTS, comma_hint, is_decimal_comma, is_number, read_text

IMAGE_COLUMNS = ("image", "file", "filename", "file_name", "name")
LABEL_COLUMNS = ("label", "class", "category", "class_name", "category_name")
XY = ("x", "y")


class Row(NamedTuple):
    """The cells of a line."""

    line: int
    cells: list[str]


def _table(path: Path) -> tuple[list[str], list[Row]]:
    """Header (empty where the first line holds a number) and rows; cells are split at semicolons, tabs or commas."""
    text = read_text(path, costs=TABLE_COSTS)
    first = text.lstrip().partition("\n")[0]
    separator = next((letter for letter in ";\t" if letter in first), ",")  # a comma may be a decimal one
    lines = csv.reader(io.StringIO(text), delimiter=separator)
    try:
        rows = [Row(lines.line_num, [cell.strip() for cell in cells]) for cells in lines if cells]
    except csv.Error as error:
        raise ValueError(f"{path} is not CSV: {error}") from error
    if not rows or any(is_number(cell) or is_decimal_comma(cell) for cell in rows[0].cells):
        return [], rows
    header = [cell.lower() for cell in rows[0].cells]
    double = next((name for name in header if name and header.count(name) > 1), None)
    if double is not None:
        raise ValueError(f"{path} has {header.count(double)} columns {double!r}, expected one of each name")
    wrong = next((row for row in rows if len(row.cells) != len(header)), None)
    if wrong is not None:
        raise ValueError(
            f"{path} holds {len(wrong.cells)} cells in line {wrong.line}, expected {len(header)} as in its header"
            + _split_hint(len(wrong.cells) - len(header), separator)
        )
    return header, rows[1:]


def _split_hint(more: int, separator: str) -> str:
    if more <= 0 or separator != ",":
        return ""
    return "; if these are decimal commas, write decimals with a point"


def _columns(path: Path, header: list[str], rows: list[Row], wanted: Sequence[str]) -> Iterator[list[str]]:
    """The cells of the columns ``wanted`` of every row; of columns named "" they are empty."""
    missing = [name for name in wanted if name and name not in header]
    if missing:
        found = ", ".join(map(repr, header))
        expected = ", ".join(repr(name) for name in wanted if name)
        raise ValueError(f"{path} has the columns {found}, expected {expected} among them")
    places = [header.index(name) if name else None for name in wanted]
    for row in rows:
        yield ["" if place is None else row.cells[place] for place in places]


def _point(path: Path, line: int, cells: Sequence[str]) -> tuple[float, float]:
    wrong = next((cell for cell in cells if not is_number(cell)), None)
    if wrong is not None:
        raise ValueError(f"{path} holds {wrong[:60]!r} in line {line}, expected a number{comma_hint(wrong)}")
    x, y = map(float, cells)
    return x, y


def _first(names: Sequence[str], header: list[str]) -> str:
    """The first of the columns ``names`` that there is, "" if there is none."""
    return next((name for name in names if name in header), "")


def read_csv(path: Path) -> Marks:
    """Points of a CSV file of one image: columns ``x`` and ``y`` by name, or two columns without a header.

    A column ``label`` (or ``class``, ``category``) holds labels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: other columns, rows that are longer or shorter than the header, or cells that are not numbers.
    """
    header, rows = _table(path)
    if header:
        cells = _columns(path, header, rows, (*XY, _first(LABEL_COLUMNS, header)))
        found = [(_point(path, row.line, (x, y)), label) for row, (x, y, label) in zip(rows, cells, strict=True)]
        return _marks(path, found)
    wrong = next((row for row in rows if len(row.cells) != 2), None)
    if wrong is not None:
        raise ValueError(
            f"{path} holds {len(wrong.cells)} cells in line {wrong.line}, expected two, x and y, or a header"
            + _split_hint(len(wrong.cells) - 2, ",")
        )
    return _marks(path, [(_point(path, row.line, row.cells), "") for row in rows])


def read_csv_of_many(path: Path) -> dict[str, Marks]:
    """The points of each image that a CSV file with the columns image, x and y names; labels as in :func:`read_csv`.

    A row whose x and y are empty says that there is nobody in the image.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as :func:`read_csv`.
    """
    header, rows = _table(path)
    wanted = (_first(IMAGE_COLUMNS, header) or IMAGE_COLUMNS[0], *XY, _first(LABEL_COLUMNS, header))
    found: dict[str, list[tuple[tuple[float, float], str]]] = {}
    for row, (name, x, y, label) in zip(rows, _columns(path, header, rows, wanted), strict=True):
        people = found.setdefault(normal(name), [])
        if x or y:
            people.append((_point(path, row.line, (x, y)), label))
    return {name: _marks(path, people) for name, people in found.items()}


def _marks(path: Path, found: list[tuple[tuple[float, float], str]]) -> Marks:
    points = as_points([point for point, _ in found], path)
    return Marks([label for _, label in found], points, Annotation)
