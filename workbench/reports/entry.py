"""What lies in the folder of one run, and what is wrong with it: a damaged run stops no report."""

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from workbench.io.files import check_regular
from workbench.runs.record import Figure, Record, Table, read_record
from workbench.runs.run import DOTS_PER_INCH
from workbench.runs.status import Status, read_status

MOST_FIGURE_PIXELS = 50_000_000
"""Of a figure on the page: a browser decodes it to four bytes a pixel, so 200 MB."""
MOST_PAGE_BYTES = 100_000_000
"""Of a notebook, record or status that is read for the page."""
PNG_HEADER = struct.Struct(">8sI4sII")
LONGEST_NAME = 60


class RunPicture(NamedTuple):
    """A figure of a run that the page can show; width and height in CSS pixels."""

    figure: Figure
    path: Path
    width: int
    height: int


@dataclass(frozen=True)
class RunEntry:
    """One run on the page.

    Attributes:
        folder: of the run.
        title: the notebook's first heading, or the folder's name.
        status: None where the notebook was run by hand, in JupyterLab.
        record: None where the run left none that can be read.
        notebook: the executed notebook, where there is one.
        pictures: the record's figures that can be shown.
        tables: the record's tables whose rows fit their columns.
        problems: what could not be read, a sentence each.
    """

    folder: Path
    title: str
    status: Status | None = None
    record: Record | None = None
    notebook: Path | None = None
    pictures: list[RunPicture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the folder; bytes that are no UTF-8 are escaped."""
        return printable(self.folder.name)

    @property
    def state(self) -> str:
        """The status's state, or "by hand"."""
        return self.status.state if self.status else "by hand"

    @property
    def started(self) -> str:
        """UTC, to the minute."""
        begun = self.status.started if self.status else self.record.timing.started if self.record else ""
        return begun[:16].replace("T", " ")

    @property
    def seconds(self) -> float:
        """From start to end."""
        return self.status.seconds if self.status else self.record.timing.seconds if self.record else 0.0

    @property
    def preset(self) -> str:
        """Of the run, or "" where there is none."""
        found = self.record.preset if self.record else self.status.preset if self.status else None
        return found or ""


def read_entry(folder: Path) -> RunEntry:
    """What lies in the folder of one run; what cannot be read or shown is said in ``problems``."""
    problems: list[str] = []
    status, record, notebook, title = None, None, None, ""
    for name in ("status.json", "record.json"):
        try:
            if not (folder / name).exists():
                continue
            file_inside(folder, name)
            if name == "status.json":
                status = read_status(folder)
            else:
                record = read_record(folder / name)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if status is not None and status.completed and record is None and not problems:
        problems.append("The notebook wrote no record.")
    if status is not None:
        try:
            path = file_inside(folder, status.notebook)
            title = _title(path)
            notebook = path
        except FileNotFoundError:
            pass  # a run that failed early has none
        except (ValueError, OSError) as error:
            problems.append(f"The executed notebook cannot be shown: {error}")
    pictures, tables = [], []
    for figure in record.figures if record else ():
        try:
            pictures.append(_picture(folder, figure))
        except (ValueError, OSError) as error:
            problems.append(f"Figure {quoted(figure.name)} cannot be shown: {error}")
    for table in record.tables if record else ():
        ragged = [(number, len(row)) for number, row in enumerate(table.rows, 1) if len(row) != len(table.columns)]
        if ragged:
            row, cells = ragged[0]
            found = f"row {row} has {cells} cells, expected {len(table.columns)}, one a column"
            problems.append(f"Table {quoted(table.name)} cannot be shown: {found}")
        else:
            tables.append(table)
    title = printable(title or folder.name)
    return RunEntry(folder, title, status, record, notebook, pictures, tables, [printable(one) for one in problems])


def file_inside(folder: Path, name: str) -> Path:
    """The ordinary file ``name`` in a run's folder, where nothing leads out of the folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the name is none that a file can have, the path or a link leads out of the folder, or it is not an
            ordinary file of at most :data:`MOST_PAGE_BYTES`.
    """
    if not name or "\0" in name or len(name.encode(errors="replace")) > 255:
        raise ValueError(f"{quoted(name)} is not the name of a file")
    path = folder / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise ValueError(f"{quoted(name)} lies outside the run's folder")
    check_regular(path, most=MOST_PAGE_BYTES)
    return path


def png_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file by its first 24 bytes; nothing is decoded.

    Raises:
        ValueError: not a PNG file, or one of no or more than :data:`MOST_FIGURE_PIXELS` pixels.
    """
    with path.open("rb") as file:
        head = file.read(PNG_HEADER.size)
    if len(head) < PNG_HEADER.size or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise ValueError(f"{path.name} is not a PNG file")
    *_, width, height = PNG_HEADER.unpack(head)
    if not 0 < width * height <= MOST_FIGURE_PIXELS:
        raise ValueError(f"{path.name} has {width:,} x {height:,} pixels, expected 1 to {MOST_FIGURE_PIXELS:,} of them")
    return width, height


def printable(text: str) -> str:
    """Text that UTF-8 can write: lone surrogates, as file names may hold them, and NUL are escaped."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def quoted(name: str) -> str:
    """A name in quotation marks, cut where it is too long to read."""
    return repr(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}... ({len(name):,} letters)")


def _picture(folder: Path, figure: Figure) -> RunPicture:
    path = file_inside(folder, figure.file)
    width, height = png_size(path)
    return RunPicture(figure, path, round(width * 96 / DOTS_PER_INCH), round(height * 96 / DOTS_PER_INCH))


def _title(notebook: Path) -> str:
    """The first heading of a notebook, or "" where it has none; ``ValueError`` if the file is not a notebook."""
    try:
        for line in _markdown(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
            if line.startswith("# "):
                return line[2:].strip()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{notebook.name} is not a notebook ({type(error).__name__}: {error})") from error
    return ""


def _markdown(cells: list[dict[str, str | list[str]]]) -> Iterator[str]:
    for cell in cells:
        if cell["cell_type"] == "markdown":
            yield from "".join(cell["source"]).splitlines()
