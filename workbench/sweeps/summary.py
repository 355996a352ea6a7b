"""What a report shows of the sweeps: each cell of the newest plan, how it ended, and its scores."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field

from workbench.runs.record import read_model, read_record
from workbench.runs.status import Failure, read_status
from workbench.sweeps.cell import CellState, cell_state
from workbench.sweeps.grid import Grid
from workbench.sweeps.plan import differing

SHOWN_METRICS = ("mae", "mae_sparse", "mae_dense", "f1", "rmse")


class CellSummary(NamedTuple):
    """One cell: its folder, its state, what the grid sets, its scores, and its record or why there is none."""

    folder: Path
    state: CellState
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

    def count(self, state: CellState) -> int:
        """Cells in a state."""
        return sum(cell.state == state for cell in self.cells)


class _Plan(BaseModel):
    """What sweep.json must hold."""

    planned: str
    grid: Grid
    cells: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=-]*$")]]


class _Given(BaseModel):
    """What is read of cell.json."""

    given: dict[str, Any]


def collect_sweeps(runs_dir: str | Path, *, damaged: list[str] | None = None) -> list[SweepSummary]:
    """The sweeps below ``runs_dir``/sweeps, by name.

    A sweep whose plan cannot be read is left out, and ``damaged`` takes a sentence that says why.
    """
    found = []
    for path in sorted(Path(runs_dir).glob("sweeps/*/sweep.json")):
        try:
            plan = read_model(_Plan, path, "a sweep")
            cells = [_cell(path.parent / "cells" / name) for name in plan.cells]
            measured = {metric for cell in cells for metric in cell.metrics}
            metrics = [name for name in SHOWN_METRICS if name in measured] or sorted(measured)[:4]
            varying = differing([cell.given for cell in cells])
            found.append(SweepSummary(path.parent.name, plan.planned, plan.grid.run, varying, metrics, cells))
        except (ValueError, OSError) as error:
            if damaged is not None:
                damaged.append(str(error))
    return found


def _cell(folder: Path) -> CellSummary:
    """What lies in a cell's folder; a file of it that is damaged is named as the cell's error."""
    state = cell_state(folder)
    given: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    record, error = None, None
    try:
        if (folder / "cell.json").is_file():
            given = read_model(_Given, folder / "cell.json", "a cell").given
        if state == "done":
            metrics = dict(read_record(folder / "result" / "record.json").metrics)
            record = folder / "result" / "record.json"
        elif state == "failed":
            error = read_status(folder / "failed").error
    except (ValueError, OSError) as damage:
        error = Failure(type=type(damage).__name__, message=str(damage))
    return CellSummary(folder, state, given, metrics, record, error)
