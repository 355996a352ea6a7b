"""Runs of notebooks -> one page that needs neither a network nor scripts."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from workbench.io.files import write_text
from workbench.reports.entry import RunEntry, printable, read_entry
from workbench.reports.figures import Picture
from workbench.runs.record import Table, Value, now

STATES = {
    "completed": "completed",
    "failed": "failed",
    "died": "kernel died",
    "timeout": "took too long",
    "interrupted": "interrupted",
    "running": "not finished",
    "by hand": "run by hand",
}


def collect_runs(runs_dir: str | Path) -> list[RunEntry]:
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


@dataclass(frozen=True)
class Summary:
    """What the reference records say, in a few lines for the first page."""

    networks: int
    verdicts: Mapping[str, int]  # claims by verdict
    claims: str  # the link to the page of claims
    forest: Picture | None


def write_report(
    runs_dir: str | Path,
    path: str | Path,
    *,
    pages: Mapping[str, str] | None = None,
    summary: Summary | None = None,
) -> list[RunEntry]:
    """Write the page at ``path`` over the runs below ``runs_dir``, whole or not at all, and return what is on it.

    Its links are relative; ``pages`` are other pages of the site by name, as links from this one.

    Raises:
        FileNotFoundError: there is no folder of runs.
        OSError: the page cannot be written.
    """
    entries = collect_runs(runs_dir)
    write_text(path, render(entries, Path(path).resolve().parent, pages=pages, summary=summary))
    return entries


def templates(base: Path) -> Environment:
    """The templates of every page; their links to files lead from the folder ``base``."""

    def link(path: Path) -> str:
        return quote(os.fsencode(Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()))

    environment = Environment(
        loader=PackageLoader("workbench.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"link": link, "value": shown, "duration": duration, "numeric": numeric}
    return environment


def render(
    entries: Sequence[RunEntry],
    base: Path,
    *,
    pages: Mapping[str, str] | None = None,
    summary: Summary | None = None,
) -> str:
    """The page as HTML; links lead from the folder ``base``, those of ``pages`` as they are."""
    environment = templates(base)
    newest = max((entry for entry in entries if entry.record), key=lambda entry: entry.started, default=None)
    return printable(
        environment.get_template("report.html").render(
            entries=entries,
            site=dict(pages or {}),
            summary=summary,
            states=STATES,
            counts=Counter(entry.state for entry in entries),
            presets=sorted({entry.preset for entry in entries if entry.preset}),
            seconds=sum(entry.seconds for entry in entries),
            versions=newest.record.versions if newest and newest.record else {},
            written=now()[:16].replace("T", " "),
        )
    )


def shown(value: Value) -> str:
    """A value as the page shows it: four significant digits, a dash where it is missing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"
    return str(value)


def duration(seconds: float) -> str:
    """A number of seconds in seconds, minutes or hours."""
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
