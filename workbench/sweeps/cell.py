"""One cell of a sweep: its folder, its lock, and what lies in it after whatever happened.

A cell's folder holds ``result`` once it has completed, ``failed`` if its code raised an error, and nothing else that
counts. An attempt works in a folder of its own and takes one of these names, in one rename, when it has ended: what was
killed half-way is never taken for a result, and a kernel that outlives its worker can spoil nothing. The operating
system frees the lock of a process that dies.
"""

import logging
import os
import shutil
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import uuid4

from filelock import FileLock, Timeout

from workbench.io.files import write_json
from workbench.io.source import source_digest
from workbench.runs.record import now, read_record
from workbench.runs.status import Failure, Job, Status, log_tail, read_status
from workbench.sweeps.plan import Cell, notebook_digest

State = Literal["done", "failed", "missing"]
TRACEBACK_LINES = 30


class Outcome(NamedTuple):
    """What came of asking for a cell.

    Attributes:
        cell: its name.
        state: "done", "failed" (its code raised an error, or took too long), "died" (something killed it; a second
            call runs it again), "busy" (another process runs it), "refused" (notebook or code changed since the plan).
        ran: whether it ran now; otherwise this is what was there.
        seconds: that it ran.
        message: why it is not done.
    """

    cell: str
    state: Literal["done", "failed", "died", "busy", "refused"]
    ran: bool = False
    seconds: float = 0.0
    message: str = ""


def cell_state(folder: Path) -> State:
    """What lies in a cell's folder."""
    if (folder / "result" / "record.json").is_file():
        return "done"
    return "failed" if (folder / "failed" / "status.json").is_file() else "missing"


def run_cell(
    cell: Cell,
    *,
    retry_failed: bool = False,
    threads: int | None = None,
    on_start: Callable[[], None] | None = None,
) -> Outcome:
    """Run a cell unless it is done, or failed and ``retry_failed`` is not set, or somebody else runs it.

    Args:
        cell: of :func:`workbench.sweeps.plan.plan`.
        retry_failed: run it again if it failed before.
        threads: of the numeric libraries in a notebook's kernel; None leaves the environment's.
        on_start: called once it begins to run.
    """
    cell.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(cell.folder / "lock", timeout=0):
            state = cell_state(cell.folder)
            if state == "done" or (state == "failed" and not retry_failed):
                return Outcome(cell.name, state, message=_why(cell.folder / "failed") if state == "failed" else "")
            changed = _changed(cell)
            if changed:
                return Outcome(cell.name, "refused", message=f"{changed} since the sweep was planned; call it again")
            if on_start is not None:
                on_start()
            return _attempt(cell, threads)
    except Timeout:
        return Outcome(cell.name, "busy", message="another process runs it")


def _changed(cell: Cell) -> str:
    """What is no longer as it was planned, if anything: the cell would not be what its name says."""
    if source_digest() != cell.code:
        return "the package's code changed (or differs on this machine)"
    if cell.notebook is not None and notebook_digest(cell.notebook) != cell.source:
        return f"{cell.notebook.name} changed"
    return ""


def _attempt(cell: Cell, threads: int | None) -> Outcome:
    begun = time.perf_counter()
    write_json(cell.folder / "cell.json", cell.model_dump(mode="json", exclude={"folder"}))
    status, work = _train(cell) if cell.notebook is None else _execute(cell, cell.notebook, threads)
    seconds = time.perf_counter() - begun
    if status.state == "died":
        shutil.rmtree(work, ignore_errors=True)
        return Outcome(cell.name, "died", True, seconds, _message(status))
    target = cell.folder / ("result" if status.completed else "failed")
    shutil.rmtree(cell.folder / "failed", ignore_errors=True)
    os.rename(work, target)
    return Outcome(cell.name, "done" if status.completed else "failed", True, seconds, _message(status))


def _execute(cell: Cell, notebook: Path, threads: int | None) -> tuple[Status, Path]:
    """Execute the notebook into a folder that no earlier attempt knows."""
    from workbench.runs.worker import execute

    for left in cell.folder.glob("work-*"):  # by attempts that were killed; the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    work = cell.folder / f"work-{uuid4().hex[:8]}"
    preset = cell.parameters.get("preset")
    shown = {name: value for name, value in cell.parameters.items() if name != "preset"}
    status = Status(
        name=notebook.stem, state="running", started=now(), parameters=shown, preset=preset, notebook=notebook.name
    )
    status.write(work)
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what goes wrong comes back as a status
    parameters = cell.parameters | {"run_dir": str(work)}
    job = Job(
        notebook=notebook, folder=work, parameters=parameters, timeout=cell.timeout, kernel_log=True, threads=threads
    )
    status = execute(job)
    if status.completed:
        status = status.model_copy(update=_without_record(work))
        (work / "kernel.log").unlink(missing_ok=True)
    elif status.error is not None and not status.error.traceback:
        status = status.model_copy(update={"error": status.error.model_copy(update={"traceback": log_tail(work)})})
    status.write(work)
    return status, work


def _without_record(work: Path) -> dict[str, object]:
    """The failure of a notebook that ran to its end and left no record."""
    try:
        read_record(work / "record.json")
    except FileNotFoundError:
        message = "the notebook wrote no record: expected start_run(..., run_dir=run_dir) and run.finish()"
    except ValueError as error:
        message = str(error)
    else:
        return {}
    return {"state": "failed", "error": Failure(type="NoRecord", message=message)}


def _train(cell: Cell) -> tuple[Status, Path]:
    """Train in a folder that the next attempt takes up: a checkpoint there is where it goes on."""
    from workbench.training.experiment import build_config, run_experiment

    work = cell.folder / "work-train"
    config = build_config(**cell.parameters)
    status = Status(
        name=f"{config.model}-{config.loss}", state="running", started=now(), parameters=cell.given, notebook=""
    )
    status.write(work)
    begun = time.perf_counter()
    try:
        run_experiment(config, work)
        update: dict[str, object] = {"state": "completed"}
    except Exception as error:
        lines = traceback.format_exc().splitlines()[-TRACEBACK_LINES:]
        failure = Failure(type=type(error).__name__, message=str(error), traceback="\n".join(lines))
        update = {"state": "failed", "error": failure}
    status = status.model_copy(update={**update, "seconds": round(time.perf_counter() - begun, 2)})
    status.write(work)
    return status, work


def _message(status: Status) -> str:
    if status.error is None:
        return ""
    cell = "" if status.error.cell is None else f" in cell {status.error.cell + 1}"
    return f"{status.error.type}{cell}: {status.error.message}"


def _why(folder: Path) -> str:
    """Why the attempt in ``folder`` failed."""
    with suppress(ValueError, OSError):
        return _message(read_status(folder))
    return ""
