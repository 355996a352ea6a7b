"""Run notebooks: typed parameters, several at a time, an honest status of each, whatever happens to the kernel.

Each notebook runs in a process of its own, so that none takes another down and threads can be shared out between
them; this process watches, and says what became of one that could no longer say so itself.
"""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.checks import check_positive, check_whole
from workbench.runs.parameters import read_parameters, typed_parameters
from workbench.runs.record import now
from workbench.runs.status import Failure, Job, Status, kernel_environment, log_tail, read_status

POLL_SECONDS = 0.05
GRACE_SECONDS = 15


@dataclass
class _Work:
    """A notebook that waits or runs."""

    notebook: Path
    folder: Path
    parameters: Mapping[str, Any]
    preset: str | None
    timeout: float | None
    begun: float = 0.0


def run_notebook(
    path: str | Path,
    out_dir: str | Path,
    parameters: Mapping[str, Any] | None = None,
    preset: str | None = None,
    timeout: float | None = None,
    threads: int | None = None,
) -> Status:
    """Execute one notebook into ``out_dir``: the executed notebook, status.json and what it writes itself.

    Args:
        path: of the notebook.
        out_dir: folder of the run; the notebook's parameter ``run_dir``, where it has one, is set to it.
        parameters: values by name, of the declared type or as text, see
            :func:`workbench.runs.parameters.typed_parameters`.
        preset: value of the notebook's parameter ``preset``; None leaves it as it is.
        timeout: seconds that one cell may take; None for no limit.
        threads: of the numeric libraries in the kernel; None for one a core.

    Returns:
        How it ended; a notebook that fails raises nothing here.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: it is not a notebook with one parameters cell, a parameter is not known or does not fit its type,
            or ``out_dir`` is the notebook's own folder.
    """
    _check_limits(1, timeout, threads)
    work = _Work(Path(path).resolve(), Path(out_dir).resolve(), dict(parameters or {}), preset, timeout)
    _typed(work)
    return _run([work], workers=1, threads=threads or _cores(), on_done=None)[0]


def run_notebooks(
    paths: Sequence[str | Path],
    runs_dir: str | Path,
    *,
    workers: int = 2,
    preset: str | None = None,
    timeout: float | None = None,
    threads: int | None = None,
    on_done: Callable[[Status], None] | None = None,
) -> list[Status]:
    """Execute notebooks, ``workers`` at a time, each into the folder of its name below ``runs_dir``.

    A notebook that fails, or cannot even start, does not stop the others.

    Args:
        paths: of the notebooks.
        runs_dir: folder of the runs.
        workers: how many run at a time.
        preset: as in :func:`run_notebook`.
        timeout: as in :func:`run_notebook`.
        threads: of each kernel; None shares the cores out between those that run at once.
        on_done: called with each status as it ends.

    Returns:
        How each ended, in the order of ``paths``.

    Raises:
        ValueError: two notebooks of one name, or a number that makes no sense.
    """
    _check_limits(workers, timeout, threads)
    runs_dir = Path(runs_dir).resolve()
    works = [_Work(Path(path).resolve(), runs_dir / Path(path).stem, {}, preset, timeout) for path in paths]
    names = [work.folder.name for work in works]
    if len(set(names)) < len(names):
        raise ValueError(f"paths holds notebooks of one name: {', '.join(names)}; expected names that differ")
    at_once = max(1, min(workers, len(works)))
    return _run(works, workers=workers, threads=threads or max(1, _cores() // at_once), on_done=on_done)


def _check_limits(workers: int, timeout: float | None, threads: int | None) -> None:
    check_whole(workers, "workers")
    if timeout is not None:
        check_positive(timeout, "timeout")
    if threads is not None:
        check_whole(threads, "threads")


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _typed(work: _Work) -> dict[str, Any]:
    """The parameters that papermill shall put in; raises what :func:`run_notebook` says."""
    if work.folder == work.notebook.parent:
        raise ValueError(f"out_dir is {work.folder}, the folder of the notebook itself; expected another")
    known = read_parameters(work.notebook)
    given = dict(work.parameters) | ({} if work.preset is None else {"preset": work.preset})
    typed = typed_parameters(known, given)
    return typed | ({"run_dir": str(work.folder)} if "run_dir" in known else {})


def _run(
    works: Sequence[_Work], *, workers: int, threads: int, on_done: Callable[[Status], None] | None
) -> list[Status]:
    waiting = deque(enumerate(works))
    running: dict[int, subprocess.Popen[bytes]] = {}
    ended: dict[int, Status] = {}

    def end(index: int, status: Status) -> None:
        ended[index] = status
        if on_done is not None:
            on_done(status)

    try:
        while waiting or running:
            while waiting and len(running) < workers:
                index, work = waiting.popleft()
                try:
                    running[index] = _start(work, threads)
                except (OSError, ValueError) as error:
                    end(index, _refuse(work, error))
            for index, process in list(running.items()):
                if process.poll() is not None:
                    del running[index]
                    end(index, _close(works[index], process))
            time.sleep(POLL_SECONDS if running else 0)
    finally:
        # Nothing runs any more unless this process was interrupted.
        for process in running.values():
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + GRACE_SECONDS
        for index, process in running.items():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close(works[index], process, interrupted=True)
    return [ended[index] for index in range(len(works))]


def _status(work: _Work, parameters: Mapping[str, Any]) -> Status:
    given = {name: value for name, value in parameters.items() if name not in ("preset", "run_dir")}
    return Status(
        name=work.notebook.stem,
        state="running",
        started=now(),
        parameters=given,
        preset=parameters.get("preset"),
        notebook=work.notebook.name,
    )


def _start(work: _Work, threads: int) -> subprocess.Popen[bytes]:
    parameters = _typed(work)
    for name in (work.notebook.name, "record.json", "kernel.log"):  # of an earlier run
        (work.folder / name).unlink(missing_ok=True)
    work.begun = time.perf_counter()
    _status(work, parameters).write(work.folder)
    job = Job(notebook=work.notebook, folder=work.folder, parameters=parameters, timeout=work.timeout)
    with open(work.folder / "kernel.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "workbench.runs.worker", job.model_dump_json()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=kernel_environment(threads),
            start_new_session=True,  # a Ctrl-C reaches this process alone, which passes it on once
        )


def _refuse(work: _Work, error: Exception) -> Status:
    """A notebook that could not be started."""
    failure = Failure(type=type(error).__name__, message=str(error))
    status = _status(work, {}).model_copy(update={"state": "failed", "error": failure, "preset": work.preset})
    with suppress(OSError):  # what could not be started may well be the folder
        status.write(work.folder)
    return status


def _close(work: _Work, process: subprocess.Popen[bytes], *, interrupted: bool = False) -> Status:
    """The status that the worker left, or the truth where it could not leave one."""
    status = read_status(work.folder)
    seconds = round(time.perf_counter() - work.begun, 2)
    tail = log_tail(work.folder)
    if interrupted and status.state in ("running", "died"):
        update: dict[str, Any] = {"state": "interrupted", "error": None}
        tail = ""  # how the kernel took the interruption is of no use to anybody
    elif status.state == "running":
        message = f"the process that ran the notebook ended with code {process.returncode}"
        update = {"state": "died", "error": Failure(type="DeadWorkerError", message=message, traceback=tail)}
    elif status.state == "died" and status.error is not None and tail:
        update = {"error": status.error.model_copy(update={"traceback": tail})}
    else:
        update = {}
    if not tail or status.state == "completed":  # what cells print is in the notebook; this is the kernel's own chatter
        (work.folder / "kernel.log").unlink(missing_ok=True)
    status = status.model_copy(update=update | {"seconds": seconds})
    status.write(work.folder)
    return status
