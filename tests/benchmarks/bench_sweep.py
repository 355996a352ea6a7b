"""Sweeps: twelve cells on two workers against one after another, the engine's own time, and plans of 2,000 cells.

python tests/benchmarks/bench_sweep.py

The cells sleep, so that the ratio is the engine's and not that of the cores that happen to be free.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_notebooks import write_notebook
from sweeping import CELL, PARAMETERS

from workbench.runs.status import read_status
from workbench.sweeps.engine import open_engine, run_sweep
from workbench.sweeps.grid import Grid
from workbench.sweeps.plan import plan
from workbench.sweeps.progress import SweepProgress

SECONDS = 5.0


def grid_of(folder, cells, seconds):
    fixed = {"log": str(folder / "log"), "seconds": seconds}
    return Grid(name="bench", run="tiny.ipynb", fixed=fixed, grid={"n": list(range(cells))})


def run_cells(folder, out, engine, cells, seconds):
    """Wall-clock seconds of a sweep on an engine that is open, and those that papermill itself took of each cell."""
    planned = plan(grid_of(folder, cells, seconds), folder / out, beside=folder)
    begun = time.perf_counter()
    outcomes = run_sweep(planned, engine)
    ended = time.perf_counter()
    states = [outcome.state for outcome in outcomes]
    assert states == ["done"] * cells, states
    spent = [read_status(path.parent).seconds for path in (folder / out).glob("cells/*/result/status.json")]
    return ended - begun, spent


def sweep_seconds(folder, out, workers, cells, seconds):
    """Wall-clock seconds of a whole sweep, the start of its workers included."""
    begun = time.perf_counter()
    with open_engine(workers=workers) as engine:
        run_cells(folder, out, engine, cells, seconds)
    return time.perf_counter() - begun


def main():
    folder = Path(tempfile.mkdtemp(prefix="bench-sweep-"))
    write_notebook(folder / "tiny.ipynb", CELL, parameters=PARAMETERS)
    begun = time.perf_counter()
    with open_engine(workers=1) as engine:
        opened = time.perf_counter() - begun
        seconds, (first,) = run_cells(folder, "first", engine, 1, 0.0)
        start = opened + seconds - first
        # The worker has made its imports. What is not papermill's now: the way to the worker, keys, locks, folders.
        seconds, spent = run_cells(folder, "trivial", engine, 9, 0.0)
    overhead = (seconds - sum(spent)) / len(spent)
    print(f"a worker's start {start:.2f} s, once a sweep")
    print(f"papermill {statistics.mean(spent):.2f} s a cell, the engine {overhead:.2f} s besides")
    one = sweep_seconds(folder, "one", 1, 12, SECONDS)
    two = sweep_seconds(folder, "two", 2, 12, SECONDS)
    print(f"12 cells of {SECONDS:g} s: one after another {one:.1f} s, two workers {two:.1f} s: {one / two:.2f}x")
    begun = time.perf_counter()
    progress = SweepProgress(plan(grid_of(folder, 2_000, 0.0), folder / "many", beside=folder))
    planned = time.perf_counter() - begun
    print(f"2,000 dry cells planned in {planned:.2f} s; {len(progress.table().splitlines())} lines of progress")
    print("asked for: overhead under 0.3 s, at least 1.7x, under 5 s")


if __name__ == "__main__":
    main()
