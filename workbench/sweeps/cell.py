"""One cell of a sweep: its folder, its lock, and how an attempt becomes a result.

A cell's folder holds ``result`` once it has completed, ``failed`` if its code raised an error, and nothing else that
counts. An attempt works in a folder of its own. When it has ended, one rename gives that folder one of these names. So
a killed attempt is never taken for a result, and a kernel that outlives its worker cannot spoil one.
"""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import uuid4

from workbench.io.files import write_json
from workbench.io.lock import LOCK, FolderInUseError, own_folder
from workbench.io.text import read_object
from workbench.runs.record import read_record
from workbench.runs.status import Failure, Job, Status, read_status
from workbench.sweeps.plan import Cell, code_digest, notebook_digest

CellState = Literal["done", "failed", "missing"]
RESULTS: dict[str, CellState] = {"result/record.json": "done", "failed/status.json": "failed"}


class Outcome(NamedTuple):
    """How a request to run a cell ended.

    Attributes:
        cell: its name.
        state: "done", "failed" (its code raised an error, or took too long), "died" (something killed it; a second
            call runs it again), "busy" (another process runs it), "refused" (notebook or code changed since the plan).
        ran: whether it ran now; otherwise this is what was there.
        seconds: how long it ran.
        message: why it is not done.
    """

    cell: str
    state: Literal["done", "failed", "died", "busy", "refused"]
    ran: bool = False
    seconds: float = 0.0
    message: str = ""


def cell_state(folder: Path) -> CellState:
    """What lies in a cell's folder; a file that is damaged does not count."""
    for name, state in RESULTS.items():
        with suppress(OSError, ValueError):
            read_object(folder / name)
            return state
    return "missing"


def run_cell(cell: Cell, retry_failed: bool, execute: Callable[[Job], Status]) -> Outcome:
    """Run a cell unless it is done, or failed and ``retry_failed`` is not set, or somebody else runs it.

    ``execute`` is an engine's function that does a job.
    """
    try:
        with own_folder(cell.folder):
            state = cell_state(cell.folder)
            if state == "done" or (state == "failed" and not retry_failed):
                return Outcome(cell.name, state, message=_why(cell.folder / "failed"))
            if changed := _changed(cell):
                return Outcome(cell.name, "refused", message=f"{changed} since the sweep was planned; call it again")
            return _attempt(cell, execute)
    except FolderInUseError as error:
        return Outcome(cell.name, "busy", message=str(error))


def _changed(cell: Cell) -> str:
    """What has changed since the cell was planned, "" if nothing: its name would no longer be right."""
    if cell.notebook is not None and notebook_digest(cell.notebook) != cell.source:
        return f"{cell.notebook.name} changed"
    if code_digest(cell.kind, cell.notebook) != cell.code:
        return "the package's code changed (or differs on this machine)"
    return ""


def _attempt(cell: Cell, execute: Callable[[Job], Status]) -> Outcome:
    begun = time.perf_counter()
    work = cell.folder / "work-train"  # a training that was killed goes on there
    if cell.notebook is not None:
        for left in cell.folder.glob("work-*"):  # by attempts that were killed
            shutil.rmtree(left, ignore_errors=True)
        work = cell.folder / f"work-{uuid4().hex[:8]}"
    write_json(cell.folder / "cell.json", cell.model_dump(mode="json", exclude={"folder"}))
    same = cell.model_dump(include={"kind", "notebook", "parameters", "timeout"})
    status = execute(Job(name=cell.title, folder=work, **same))
    seconds = time.perf_counter() - begun
    if status.state in ("died", "interrupted"):
        if cell.notebook is not None:
            shutil.rmtree(work, ignore_errors=True)
        return Outcome(cell.name, "died", True, seconds, _message(status))
    if status.completed:
        status = _with_record(status, work)
    (work / LOCK).unlink(missing_ok=True)
    for earlier in ("failed", "result"):  # a result whose record is damaged
        shutil.rmtree(cell.folder / earlier, ignore_errors=True)
    os.rename(work, cell.folder / ("result" if status.completed else "failed"))
    return Outcome(cell.name, "done" if status.completed else "failed", True, seconds, _message(status))


def _with_record(status: Status, work: Path) -> Status:
    """``status``, or a failure where the run has left no record."""
    try:
        read_record(work / "record.json")
        return status
    except FileNotFoundError:
        message = "the notebook wrote no record: expected start_run(..., run_dir=run_dir) and run.finish()"
    except ValueError as error:
        message = str(error)
    return status.end(work, "failed", Failure(type="NoRecord", message=message), status.seconds)


def _message(status: Status) -> str:
    return str(status.error) if status.error else "interrupted" if status.state == "interrupted" else ""


def _why(folder: Path) -> str:
    """Why the attempt in ``folder`` failed; "" where none did."""
    with suppress(ValueError, OSError):
        return _message(read_status(folder))
    return ""
