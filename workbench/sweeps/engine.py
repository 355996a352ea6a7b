"""Where the cells of a sweep and the notebooks of a report run: on this machine, or on a running Dask cluster.

On this machine every worker is a process that talks to this one through pipes. Nothing listens on a port, so no other
user can reach it. The security of a cluster is up to its owner.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import uuid4

from workbench.checks import check_whole
from workbench.io.files import write_json
from workbench.io.lock import own_folder
from workbench.runs.record import now
from workbench.runs.status import Job, Status
from workbench.sweeps.cell import Outcome, run_cell
from workbench.sweeps.grid import Grid
from workbench.sweeps.plan import Cell
from workbench.sweeps.process import GRACE_SECONDS, Worker

if TYPE_CHECKING:
    from distributed import Client

BUSY_SECONDS = 2.0

Result = TypeVar("Result", covariant=True)
Execute = Callable[[Job], Status]
OnStart = Callable[[], None]


class Task(Protocol[Result]):
    """What an engine runs: a function that gets two others, one that executes a job and one to call at the start."""

    def __call__(self, execute: Execute, on_start: OnStart) -> Result:
        """Run."""


class Engine(Protocol):
    """Runs tasks, as many at a time as it has workers."""

    def submit(self, task: Task[Result], on_start: OnStart) -> "Future[Result]":
        """Run a task when a worker is free."""


class Local:
    """Workers on this machine; they end when this process ends, even if it is killed."""

    def __init__(self, workers: int, threads: int) -> None:
        self._workers = [Worker(threads) for _ in range(workers)]
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._pool = ThreadPoolExecutor(workers)

    def submit(self, task: Task[Result], on_start: OnStart) -> "Future[Result]":
        """Run a task in one of the threads, each of which waits for a worker."""
        return self._pool.submit(task, self._execute, on_start)

    def _execute(self, job: Job) -> Status:
        worker = self._idle.get()
        try:
            return worker.run(job)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Stop whatever runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.stop()
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self._workers:
            worker.wait(max(0.0, deadline - time.monotonic()))
        self._pool.shutdown()


class Cluster:
    """The workers of a Dask scheduler; each starts a process of its own for a task."""

    def __init__(self, client: "Client", threads: int | None, resources: Mapping[str, float]) -> None:
        self._executor = client.get_executor(pure=False, resources=dict(resources) or None)
        self._client = client
        self._threads = threads
        self._topic = f"workbench-{uuid4().hex}"
        self._on_start: list[OnStart] = []
        client.subscribe_topic(self._topic, lambda event: self._on_start[event[1]["task"]]())

    def submit(self, task: Task[Result], on_start: OnStart) -> "Future[Result]":
        """Hand a task to the scheduler."""
        self._on_start.append(on_start)
        place = self._topic, len(self._on_start) - 1
        future: Future[Result] = self._executor.submit(_on_a_cluster, task, self._threads, *place)
        return future

    def close(self) -> None:
        """Withdraw the tasks that wait."""
        with suppress(Exception):  # the scheduler may be gone
            self._client.unsubscribe_topic(self._topic)
            self._executor.shutdown(wait=False)


def _on_a_cluster(task: Task[Result], threads: int | None, topic: str, number: int) -> Result:
    """What a worker of Dask does."""
    from distributed import get_worker

    with Worker(threads) as worker:
        return task(worker.run, lambda: get_worker().log_event(topic, {"task": number}))


@contextmanager
def open_engine(
    *,
    workers: int = 2,
    threads: int | None = None,
    scheduler: str | None = None,
    needed: Mapping[str, float] | None = None,
    offered: Mapping[str, float] | None = None,
) -> Iterator[Engine]:
    """Workers of this machine, or those of a scheduler.

    Args:
        workers: processes on this machine, each of which runs one task at a time.
        threads: of the numeric libraries in each; 1 on this machine, and the workers' own on a cluster, if None.
        scheduler: address of a running scheduler, for instance "tls://10.0.0.1:8786".
        needed: what each task needs of its worker, for instance ``{"GPU": 1}``.
        offered: what each worker of this machine offers.

    Raises:
        OSError: nothing answers at ``scheduler``.
        ValueError: a number makes no sense, a worker of this machine does not offer what is needed, or the scheduler
            has no workers, or one that would run several tasks in one process.
    """
    check_whole(workers, "workers")
    if threads is not None:
        check_whole(threads, "threads")
    needed, offered = dict(needed or {}), dict(offered or {})
    if scheduler is not None:
        from distributed import Client

        with Client(scheduler, timeout="10s", name="workbench-sweep") as client:
            _check_workers(client, scheduler)
            cluster = Cluster(client, threads, needed)
            try:
                yield cluster
            finally:
                cluster.close()
        return
    for name, amount in needed.items():
        if offered.get(name, 0) < amount:
            found = f"{name}={offered.get(name, 0):g}"
            raise ValueError(f"resource {found} is offered, expected at least {amount:g}: --resource {name}={amount:g}")
    local = Local(workers, threads or 1)
    try:
        yield local
    finally:
        local.close()


def _check_workers(client: "Client", scheduler: str) -> None:
    threads = client.nthreads()
    if not threads:
        raise ValueError(f"scheduler {scheduler} has no workers, start some: dask worker {scheduler} --nthreads 1")
    wide = [address for address, number in threads.items() if number != 1]
    if wide:
        raise ValueError(
            f"worker {wide[0]} has {threads[wide[0]]} threads, expected 1: dask worker --nthreads 1 --nworkers N"
        )


def write_sweep(grid: Grid, cells: Sequence[Cell], out: Path) -> None:
    """Write sweep.json: what a report shows of the sweep in ``out``."""
    content = {"planned": now(), "grid": grid.model_dump(mode="json"), "cells": [cell.name for cell in cells]}
    with own_folder(out, wait=GRACE_SECONDS):  # two shells may share a sweep, but not this moment
        write_json(out / "sweep.json", content)


def run_sweep(
    cells: Sequence[Cell],
    engine: Engine,
    *,
    retry_failed: bool = False,
    on_start: Callable[[str], None] | None = None,
    on_end: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run every cell that is not done yet, as many at a time as there are workers.

    A cell that another sweep runs at the same time is asked for again until that one has ended.

    Args:
        cells: of :func:`workbench.sweeps.plan.plan`.
        engine: of :func:`open_engine`.
        retry_failed: run those that failed before, too.
        on_start: told the name of each cell as a worker begins it.
        on_end: told each outcome.

    Returns:
        The outcome of each, in the order of ``cells``.
    """
    ended: dict[str, Outcome] = {}

    def begins(cell: Cell) -> OnStart:
        return lambda: None if on_start is None else on_start(cell.name)

    waiting = list(cells)
    while waiting:
        futures = {engine.submit(partial(run_cell, cell, retry_failed), begins(cell)): cell for cell in waiting}
        waiting = []
        for future in as_completed(futures):
            cell = futures[future]
            outcome = _outcome(future, cell)
            if outcome.state == "busy":
                waiting.append(cell)
            else:
                ended[cell.name] = outcome
                if on_end is not None:
                    on_end(outcome)
        if waiting:
            time.sleep(BUSY_SECONDS)
    return [ended[cell.name] for cell in cells]


def _outcome(future: "Future[Outcome]", cell: Cell) -> Outcome:
    """What a task returned, or "died" with the error that it raised."""
    error: Any
    try:
        return future.result()
    except Exception as raised:
        error = raised
    return Outcome(cell.name, "died", message=f"{type(error).__name__}: {error}")
