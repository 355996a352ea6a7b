"""Runs of notebooks -> one page that reads without a network and without scripts."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from workbench.io.files import write_text
from workbench.runs.record import Cell, Record, Table, now, read_record
from workbench.runs.run import DOTS_PER_INCH
from workbench.runs.status import Status, read_status

STATES = {
    "completed": "completed",
    "failed": "failed",
    "died": "kernel died",
    "timeout": "took too long",
    "interrupted": "interrupted",
    "running": "not finished",
    "by hand": "run by hand",
}


@dataclass(frozen=True)
class Entry:
    """One notebook on the page.

    Attributes:
        folder: of the run.
        title: the notebook's first heading.
        status: None where the notebook was run by hand, in JupyterLab.
        record: None where the run left none.
        problem: why status or record could not be read.
    """

    folder: Path
    title: str
    status: Status | None
    record: Record | None
    problem: str = ""

    @property
    def name(self) -> str:
        """Of the notebook."""
        return self.folder.name

    @property
    def state(self) -> str:
        """A key of :data:`STATES`."""
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

    @property
    def notebook(self) -> Path | None:
        """The executed notebook, where there is one."""
        path = self.folder / self.status.notebook if self.status else None
        return path if path and path.is_file() else None


def read_entry(folder: Path) -> Entry:
    """What lies in the folder of one run; what cannot be read is said in ``problem``."""
    problems = []
    status, record = None, None
    try:
        status = read_status(folder) if (folder / "status.json").is_file() else None
    except (ValueError, OSError) as error:
        problems.append(str(error))
    try:
        record = read_record(folder / "record.json") if (folder / "record.json").is_file() else None
    except (ValueError, OSError) as error:
        problems.append(str(error))
    if status is not None and status.completed and record is None and not problems:
        problems.append("The notebook wrote no record.")
    if record is not None:
        gone = [figure.file for figure in record.figures if not (folder / figure.file).is_file()]
        problems += [f"The record names {file}, which is missing." for file in gone]
    title = _title(folder / status.notebook) if status else ""
    return Entry(folder, title or folder.name, status, record, "\n".join(problems))


def collect(runs_dir: str | Path) -> list[Entry]:
    """The runs below ``runs_dir``, by name.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    runs_dir = Path(runs_dir)
    if not runs_dir.is_dir():
        raise FileNotFoundError(f"runs_dir {runs_dir} does not exist, expected a folder with a folder a run")
    return [
        read_entry(folder)
        for folder in sorted(runs_dir.iterdir())
        if (folder / "status.json").is_file() or (folder / "record.json").is_file()
    ]


def write_report(runs_dir: str | Path, path: str | Path, *, pages: Mapping[str, str] | None = None) -> list[Entry]:
    """Write the page at ``path`` over the runs below ``runs_dir``, whole or not at all; its links are relative.

    Args:
        runs_dir: folder of the runs.
        path: of the page.
        pages: other pages of the site by name, as links from this one.

    Returns:
        What is on it.

    Raises:
        FileNotFoundError: there is no folder of runs.
        OSError: the page cannot be written.
    """
    entries = collect(runs_dir)
    write_text(path, render(entries, Path(path).resolve().parent, pages=pages))
    return entries


def templates(base: Path) -> Environment:
    """The templates of every page; their links to files lead from the folder ``base``."""

    def link(path: Path) -> str:
        return quote(Path(os.path.relpath(path.resolve(), base.resolve())).as_posix())

    environment = Environment(
        loader=PackageLoader("workbench.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"link": link, "value": shown, "duration": duration, "size": _size, "numeric": numeric}
    return environment


def render(entries: Sequence[Entry], base: Path, *, pages: Mapping[str, str] | None = None) -> str:
    """The page as HTML; links lead from the folder ``base``, those of ``pages`` as they are."""
    environment = templates(base)
    newest = max((entry for entry in entries if entry.record), key=lambda entry: entry.started, default=None)
    return environment.get_template("report.html").render(
        entries=entries,
        site=dict(pages or {}),
        states=STATES,
        counts=Counter(entry.state for entry in entries),
        presets=sorted({entry.preset for entry in entries if entry.preset}),
        seconds=sum(entry.seconds for entry in entries),
        versions=newest.record.versions if newest and newest.record else {},
        written=now()[:16].replace("T", " "),
    )


def shown(value: Cell) -> str:
    """A value as the page shows it: four significant digits, a dash where it is missing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"
    return str(value)


def duration(seconds: float) -> str:
    """Seconds as a reader likes them."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def numeric(table: Table) -> list[bool]:
    """Which columns of a table hold numbers alone, and are set to the right."""
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns)
    return [
        any(cell is not None for cell in column)
        and all(cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool)) for cell in column)
        for column in columns
    ]


def _size(picture: Path) -> tuple[int, int] | None:
    """Width and height in CSS pixels, of which an inch has 96, or None for what is not a picture."""
    try:
        with Image.open(picture) as image:
            return round(image.width * 96 / DOTS_PER_INCH), round(image.height * 96 / DOTS_PER_INCH)
    except OSError:
        return None


def _title(notebook: Path) -> str:
    """The first heading of a notebook, or "" where there is none."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    for cell in cells:
        for line in "".join(cell["source"]).splitlines() if cell["cell_type"] == "markdown" else ():
            if line.startswith("# "):
                return line[2:].strip()
    return ""
