"""What a sweep prints while it runs; it stays short with two thousand cells."""

import time
from collections import Counter
from collections.abc import Sequence

from workbench.sweeps.cell import Outcome, cell_state
from workbench.sweeps.plan import Cell

COLUMNS = ("done", "running", "failed", "waiting")
MOST_ROWS = 12


class SweepProgress:
    """The state of every cell of a sweep, and an estimate of the time left."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = {cell.name: cell for cell in cells}
        self.states = {name: _column(cell_state(cell.folder)) for name, cell in self.cells.items()}
        self._begun = time.monotonic()
        self._ended = 0

    def start(self, name: str) -> None:
        """A worker has begun the cell ``name``."""
        if self.states[name] != "done":
            self.states[name] = "running"

    def end(self, outcome: Outcome) -> None:
        """A cell has ended, or another process runs it."""
        self.states[outcome.cell] = _column(outcome.state)
        self._ended += outcome.ran

    def counts(self) -> Counter[str]:
        """Cells by state."""
        return Counter(self.states.values())

    @property
    def done(self) -> bool:
        """Whether every cell is done."""
        return self.counts()["done"] == len(self.cells)

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the cells that ended so far; None before the first one has."""
        counts = self.counts()
        left = counts["running"] + counts["waiting"]
        return (time.monotonic() - self._begun) / self._ended * left if self._ended else None

    def line(self) -> str:
        """One line: cells by state, and the time left."""
        counts = self.counts()
        left = self.seconds_left
        parts = [f"{counts['done']}/{len(self.cells)} done"]
        parts += [f"{counts[state]} {state}" for state in COLUMNS[1:] if counts[state]]
        unsettled = counts["running"] + counts["waiting"]
        return "  ".join([*parts, *([f"about {clock(left)} left"] if left is not None and unsettled else [])])

    def table(self) -> str:
        """A row for each value of the first parameter that differs between cells, and a last one for all."""
        name = first_difference(list(self.cells.values()))
        rows: dict[str, Counter[str]] = {}
        for key, cell in self.cells.items():
            value = "" if name is None else str(cell.parameters.get(name))
            rows.setdefault(value, Counter())[self.states[key]] += 1
        if name is None or len(rows) > MOST_ROWS:
            rows = {}
        lines: list[tuple[str, ...]] = [(name if name and rows else "", *COLUMNS)]
        for value, counts in [*rows.items(), ("all", self.counts())]:
            lines.append((value, *(str(counts[column] or "–") for column in COLUMNS)))
        width = max(len(line[0]) for line in lines)
        return "\n".join(f"{line[0]:{width}}" + "".join(f"{text:>9}" for text in line[1:]) for line in lines)


def first_difference(cells: Sequence[Cell]) -> str | None:
    """The first parameter that is not the same in all cells, the seed last."""
    names = [name for name in (cells[0].parameters if cells else {}) if name != "seed"]
    given = [name for name in (cells[0].given if cells else {}) if name in names]
    for name in [*given, *names, "seed"]:
        if len({str(cell.parameters.get(name)) for cell in cells}) > 1:
            return name
    return None


def clock(seconds: float) -> str:
    """A duration in seconds, minutes or hours, rounded as an estimate should be."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _column(state: str) -> str:
    """The column of a state; a cell that died or was refused waits for a next call."""
    return state if state in ("done", "failed") else "waiting"
