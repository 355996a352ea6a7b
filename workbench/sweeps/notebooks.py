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
    _check_timeout(timeout)
    threads = _cores() if threads is None else threads
    with open_engine(workers=1, threads=threads) as engine:  # it starts while the notebook is read here
        job = _job(Path(path), Path(out_dir), parameters or {}, preset, timeout)
        return engine.submit(lambda execute: execute(job)).result()


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
    _check_timeout(timeout)
    names = [Path(path).stem for path in paths]
    if len(set(names)) < len(names):
        raise ValueError(f"paths holds notebooks of one name: {', '.join(names)}; expected names that differ")
    ended: dict[int, Status] = {}
    at_once = min(workers, max(1, len(paths)))
    threads = max(1, _cores() // max(1, at_once)) if threads is None else threads
    with open_engine(workers=at_once, threads=threads) as engine:

        def run(path: Path, execute: Execute) -> Status:
            return execute(_job(path, Path(runs_dir) / path.stem, {}, preset, timeout))

        futures = {engine.submit(partial(run, Path(path))): index for index, path in enumerate(paths)}
        for future in as_completed(futures):
            index = futures[future]
            try:
                ended[index] = future.result()
            except (OSError, ValueError, FolderInUseError) as error:
                ended[index] = _refused(Path(paths[index]), Path(runs_dir), preset, error)
            on_done(ended[index])
    return [ended[index] for index in range(len(paths))]


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None:
        check_positive(timeout, "timeout")


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _job(path: Path, out_dir: Path, given: Mapping[str, Any], preset: str | None, timeout: float | None) -> Job:
    """What the worker is to do; raises what :func:`run_notebook` says."""
    notebook, folder = path.resolve(), out_dir.resolve()
    if folder == notebook.parent:
        raise ValueError(f"out_dir is {folder}, the folder of the notebook itself; expected another")
    chosen = dict(given) | ({} if preset is None else {"preset": preset})
    values = typed_parameters(read_parameters(notebook), chosen)
    parameters = {name: value for name, value in values.items() if name != "run_dir"}
    return Job(name=notebook.stem, notebook=notebook, folder=folder, parameters=parameters, timeout=timeout)


def _refused(path: Path, runs_dir: Path, preset: str | None, error: Exception) -> Status:
    """The status of a notebook that could not be started; written, unless the folder is somebody else's."""
    parameters = {} if preset is None else {"preset": preset}
    job = Job(name=path.stem, notebook=path, folder=runs_dir / path.stem, parameters=parameters)
    status = job.status("failed", Failure(type=type(error).__name__, message=str(error)))
    with suppress(OSError, FolderInUseError), own_folder(job.folder):
        status.write(job.folder)
    return status
