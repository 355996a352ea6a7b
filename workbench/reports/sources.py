"""Where the reference records come from: one file a sweep, by which code, on which machine."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from workbench.io.source import source_digest
from workbench.reports.measured import Measurement
from workbench.reports.reference import Head, read_reference, read_references, reference_folder
from workbench.sweeps.plan import TRAININGS


class Source(NamedTuple):
    """One file of reference records.

    Attributes:
        path: of the file.
        head: its first line.
        rows: runs in it.
        older: runs that other code made than today's.
        checked: runs that were repeated with newer code than they were made by.
        hours: of computing.
    """

    path: Path
    head: Head
    rows: int
    older: int
    checked: int
    hours: float

    @property
    def note(self) -> str:
        """What a reader of its numbers should know of their code; empty if it is today's."""
        if not self.older:
            return ""
        which = "all" if self.older == self.rows else f"{self.older} of the"
        return f"Made by older code than today's: {which} {self.rows} runs of {self.path.name}."


def read_sources(folder: str | Path | None = None) -> list[Source]:
    """The files of reference records.

    Args:
        folder: of the files; the project's if None. No folder, no files.

    Raises:
        ValueError: a file is damaged; the message names the line.
    """
    folder = reference_folder() if folder is None else Path(folder)
    found = []
    for path in sorted(folder.glob("*.jsonl")) if folder else ():
        head, rows = read_reference(path)
        today = source_digest(TRAININGS[head.run])[:12]
        older = sum(row.code != today for row in rows)
        checked = sum(row.checked is not None for row in rows)
        found.append(Source(path, head, len(rows), older, checked, sum(row.seconds for row in rows) / 3600))
    return found


def repeated_references(folder: str | Path | None = None) -> list[Measurement]:
    """The reference runs that compare something: those that their own file has with several seeds.

    A search for settings has one seed. It must not count as evidence for what it chose.

    Args:
        folder: of the files; the project's if None.
    """
    return with_several_seeds(read_references(folder))


def with_several_seeds(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Those whose configuration was run with two seeds or more in the same file."""
    known = list(measurements)
    seeds: dict[tuple[Path, str], set[int]] = {}
    for one in known:
        seeds.setdefault((one.record, one.but("seed")), set()).add(one.seed)
    return [one for one in known if len(seeds[one.record, one.but("seed")]) > 1]
