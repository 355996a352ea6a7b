"""What a sweep prints while it runs; it stays short with two thousand cells."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from workbench.sweeps.cell import Outcome, cell_state
from workbench.sweeps.plan import Cell, differing

CELL_STATES = ("done", "running", "failed", "waiting")
MOST_ROWS = 12


class SweepProgress:
    """The state of every cell of a sweep, and an estimate of the time left."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = {cell.name: cell for cell in cells}
        self.states = {name: _column(cell_state(cell.folder)) for name, cell in self.cells.items()}
        self._begun = time.monotonic()
        self._ended = 0

    def start(self, folder: Path) -> None:
        """A worker has begun a job in ``folder``, which lies in the folder of its cell."""
        self.states[folder.parent.name] = "running"

    def end(self, outcome: Outcome) -> None:
        """A cell has ended."""
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
    def left(self) -> int:
        """How many cells run or wait."""
        return self.counts()["running"] + self.counts()["waiting"]

    def line(self) -> str:
        """One line: cells by state, and the time left, estimated from the cells that have ended so far."""
        counts = self.counts()
        parts = [f"{counts['done']}/{len(self.cells)} done"]
        parts += [f"{counts[state]} {state}" for state in CELL_STATES[1:] if counts[state]]
        if self._ended and self.left:
            parts.append(f"about {clock((time.monotonic() - self._begun) / self._ended * self.left)} left")
        return "  ".join(parts)

    def table(self) -> str:
        """A row for each value of the first parameter that differs between cells, and a last one for all."""
        names = differing([cell.given for cell in self.cells.values()])
        name = next((name for name in names if name != "seed"), names[0] if names else "")
        rows: dict[str, Counter[str]] = {}
        for key, cell in self.cells.items():
            rows.setdefault(str(cell.given.get(name)), Counter())[self.states[key]] += 1
        if not name or len(rows) > MOST_ROWS:
            name, rows = "", {}
        lines: list[tuple[str, ...]] = [(name, *CELL_STATES)]
        for value, counts in [*rows.items(), ("all", self.counts())]:
            lines.append((value, *(str(counts[column] or "–") for column in CELL_STATES)))
        width = max(len(line[0]) for line in lines)
        return "\n".join(f"{line[0]:{width}}" + "".join(f"{text:>9}" for text in line[1:]) for line in lines)


def clock(seconds: float) -> str:
    """A duration in seconds, minutes or hours, rounded as an estimate should be."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _column(state: str) -> str:
    """The column of a state; a cell that died or was refused waits for a next call."""
    return state if state in ("done", "failed") else "waiting"
