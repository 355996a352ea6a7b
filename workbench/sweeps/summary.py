"""What a report says of the sweeps: each cell of the newest plan, how it ended, and its scores."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from workbench.runs.record import read_record
from workbench.runs.status import Failure, read_status
from workbench.sweeps.cell import State, cell_state

SHOWN = ("mae", "mae_sparse", "mae_dense", "f1", "rmse")


class CellSummary(NamedTuple):
    """One cell: its name, its state, what the grid sets, its scores, and its record or why there is none."""

    name: str
    state: State
    given: dict[str, Any]
    metrics: dict[str, float]
    record: Path | None
    error: Failure | None


class SweepSummary(NamedTuple):
    """One sweep."""

    name: str
    planned: str
    run: str
    varying: list[str]
    metrics: list[str]
    cells: list[CellSummary]

    def count(self, state: State) -> int:
        """Cells in a state."""
        return sum(cell.state == state for cell in self.cells)


def collect_sweeps(runs_dir: str | Path) -> list[SweepSummary]:
    """The sweeps below ``runs_dir``/sweeps, by name; one whose plan cannot be read is left out."""
    found = []
    for path in sorted(Path(runs_dir).glob("sweeps/*/sweep.json")):
        with suppress(ValueError, KeyError, TypeError, OSError):
            content = json.loads(path.read_text(encoding="utf-8"))
            cells = [_cell(path.parent / "cells" / name) for name in content["cells"]]
            measured = {metric for cell in cells for metric in cell.metrics}
            metrics = [name for name in SHOWN if name in measured] or sorted(measured)[:4]
            varying = [name for name in _names(cells) if len({str(cell.given.get(name)) for cell in cells}) > 1]
            grid = content["grid"]
            found.append(SweepSummary(path.parent.name, content["planned"], grid["run"], varying, metrics, cells))
    return found


def _names(cells: list[CellSummary]) -> list[str]:
    return list(dict.fromkeys(name for cell in cells for name in cell.given))


def _cell(folder: Path) -> CellSummary:
    state = cell_state(folder)
    given: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    error = None
    with suppress(ValueError, OSError):
        given = json.loads((folder / "cell.json").read_text(encoding="utf-8"))["given"]
    with suppress(ValueError, OSError):
        if state == "done":
            metrics = dict(read_record(folder / "result" / "record.json").metrics)
        elif state == "failed":
            error = read_status(folder / "failed").error
    record = folder / "result" / "record.json" if state == "done" else None
    return CellSummary(folder.name, state, given, metrics, record, error)
