"""Run notebooks with typed parameters, several at a time; each leaves a true status, even if its kernel dies."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from workbench.checks import check_positive
from workbench.io.lock import FolderInUseError, own_folder
from workbench.runs.parameters import read_parameters, typed_parameters
from workbench.runs.status import Failure, Job, Status
from workbench.sweeps.engine import Execute, open_engine


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
        out_dir: folder of the run, which the notebook is given as its parameter ``run_dir``.
        parameters: values by name, of the declared type or as text, see
            :func:`workbench.runs.parameters.typed_parameters`.
        preset: value of the notebook's parameter ``preset``; None leaves it as it is.
        timeout: seconds that one cell may take; None for no limit.
        threads: of the numeric libraries in the kernel; None for one a core.

    Returns:
        How it ended; a notebook that fails raises nothing here.

    Raises:
        FileNotFoundError: there is no such notebook.
        FolderInUseError: somebody else writes into ``out_dir``.
        ValueError: it is not a notebook with one parameters cell, a parameter is not known or does not fit its type,
            or ``out_dir`` is the notebook's own folder.
    """
    job = _job(Path(path), Path(out_dir), parameters or {}, preset, timeout)
    with open_engine(workers=1, threads=_cores() if threads is None else threads) as engine:
        # The worker starts while the notebook is read here.
        return engine.submit(lambda execute: execute(_checked(job))).result()


def run_notebooks(
    paths: Sequence[str | Path],
    runs_dir: str | Path,
    *,
    workers: int = 2,
    preset: str | None = None,
    timeout: float | None = None,
    threads: int | None = None,
    on_done: Callable[[Status], None] = lambda _: None,
) -> list[Status]:
    """Execute notebooks, ``workers`` at a time, each into the folder of its name below ``runs_dir``.

    A notebook that fails, or cannot even start, does not stop the others. ``threads`` None shares the cores out between
    the notebooks that run at once; ``on_done`` is told each status. What else is given holds for each notebook, as in
    :func:`run_notebook`.

    Returns:
        How each ended, in the order of ``paths``.

    Raises:
        ValueError: two notebooks of one name, or a number that makes no sense.
    """
    jobs = [_job(Path(path), Path(runs_dir) / Path(path).stem, {}, preset, timeout) for path in paths]
    names = [job.name for job in jobs]
    if len(set(names)) < len(names):
        raise ValueError(f"paths holds notebooks of one name: {', '.join(names)}; expected names that differ")
    at_once = min(workers, max(1, len(jobs)))
    threads = max(1, _cores() // max(1, at_once)) if threads is None else threads
    with open_engine(workers=at_once, threads=threads) as engine:
        futures = [engine.submit(partial(_run, job)) for job in jobs]
        for future in as_completed(futures):
            on_done(future.result())
    return [future.result() for future in futures]


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _job(path: Path, folder: Path, given: Mapping[str, Any], preset: str | None, timeout: float | None) -> Job:
    """What a worker is to do, with parameters as they were given."""
    if timeout is not None:
        check_positive(timeout, "timeout")
    parameters = dict(given) | ({} if preset is None else {"preset": preset})
    notebook = path.resolve()
    return Job(name=path.stem, notebook=notebook, folder=folder.resolve(), parameters=parameters, timeout=timeout)


def _checked(job: Job) -> Job:
    """``job`` with its parameters in the types of the notebook; errors as in :func:`run_notebook`."""
    assert job.notebook is not None
    if job.folder == job.notebook.parent:
        raise ValueError(f"out_dir is {job.folder}, the folder of the notebook itself; expected another")
    values = typed_parameters(read_parameters(job.notebook), job.parameters)
    values.pop("run_dir", None)
    return job.model_copy(update={"parameters": values})


def _run(job: Job, execute: Execute) -> Status:
    """Execute ``job``; where it cannot start, write so, unless the folder is somebody else's."""
    try:
        return execute(_checked(job))
    except (OSError, ValueError, FolderInUseError) as error:
        status = job.status("failed", Failure(type=type(error).__name__, message=str(error)))
        with suppress(OSError, FolderInUseError), own_folder(job.folder):
            status.write(job.folder)
        return status
