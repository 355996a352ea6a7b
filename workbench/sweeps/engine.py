"""Where the cells of a sweep and the notebooks of a report run: on this machine, or on a running Dask cluster.

On this machine every worker is a process that talks to this one through pipes. Nothing listens on a port, so no other
user can reach it. The security of a cluster is up to its owner.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar
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

Result = TypeVar("Result")
Execute = Callable[[Job], Status]
Work = Callable[[Execute], Result]
"""What an engine runs: a function that is given another one, which executes a job."""
OnStart = Callable[[Path], None]


class Local:
    """Workers on this machine; they end when this process ends, even if it is killed."""

    def __init__(self, workers: int, threads: int, on_start: OnStart) -> None:
        self._workers = [Worker(threads) for _ in range(workers)]
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._pool = ThreadPoolExecutor(workers)
        self._on_start = on_start

    def submit(self, work: Work[Result]) -> "Future[Result]":
        """Run ``work`` when a worker is free."""
        return self._pool.submit(work, self._execute)

    def _execute(self, job: Job) -> Status:
        worker = self._idle.get()
        try:
            self._on_start(job.folder)
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
    """The workers of a Dask scheduler; each starts a process of its own for a piece of work."""

    def __init__(
        self, client: "Client", threads: int | None, resources: Mapping[str, float], on_start: OnStart
    ) -> None:
        address, workers = client.scheduler.address, client.nthreads()
        if not workers:
            raise ValueError(f"scheduler {address} has no workers, start some: dask worker {address} --nthreads 1")
        for worker, number in workers.items():
            if number != 1:
                wanted = "dask worker --nthreads 1 --nworkers N"
                raise ValueError(f"worker {worker} has {number} threads, expected 1: {wanted}")
        self._executor = client.get_executor(pure=False, resources=dict(resources) or None)
        self._client = client
        self._threads = threads
        self._topic = f"workbench-{uuid4().hex}"
        client.subscribe_topic(self._topic, lambda event: on_start(Path(event[1])))

    def submit(self, work: Work[Result]) -> "Future[Result]":
        """Hand ``work`` to the scheduler."""
        future: Future[Result] = self._executor.submit(_on_a_cluster, work, self._threads, self._topic)
        return future

    def close(self) -> None:
        """Withdraw the work that waits."""
        with suppress(Exception):  # the scheduler may be gone
            self._client.unsubscribe_topic(self._topic)
            self._executor.shutdown(wait=False)


Engine = Local | Cluster


def _on_a_cluster(work: Work[Result], threads: int | None, topic: str) -> Result:
    """What a worker of Dask does."""
    from distributed import get_worker

    def execute(job: Job) -> Status:
        get_worker().log_event(topic, str(job.folder))
        return worker.run(job)

    with Worker(threads) as worker:
        return work(execute)


@contextmanager
def open_engine(
    *,
    workers: int = 2,
    threads: int | None = None,
    scheduler: str | None = None,
    needed: Mapping[str, float] | None = None,
    offered: Mapping[str, float] | None = None,
    on_start: OnStart = lambda _: None,
) -> Iterator[Engine]:
    """Workers of this machine, or those of a scheduler.

    Args:
        workers: processes on this machine, each of which does one job at a time.
        threads: of the numeric libraries in each; 1 on this machine, and the workers' own on a cluster, if None.
        scheduler: address of a running scheduler, for instance "tls://10.0.0.1:8786".
        needed: what each piece of work needs of its worker, for instance ``{"GPU": 1}``.
        offered: what each worker of this machine offers.
        on_start: told the folder of each job as a worker begins it.

    Raises:
        OSError: nothing answers at ``scheduler``.
        ValueError: a number makes no sense, a worker of this machine does not offer what is needed, or the scheduler
            has no workers, or one that would do several jobs in one process.
    """
    check_whole(workers, "workers")
    if threads is not None:
        check_whole(threads, "threads")
    needed, offered = dict(needed or {}), dict(offered or {})
    if scheduler is not None:
        from distributed import Client

        with (
            Client(scheduler, timeout="10s", name="workbench-sweep") as client,
            closing(Cluster(client, threads, needed, on_start)) as cluster,
        ):
            yield cluster
        return
    for name, amount in needed.items():
        if offered.get(name, 0) < amount:
            found = f"{name}={offered.get(name, 0):g}"
            raise ValueError(f"resource {found} is offered, expected at least {amount:g}: --resource {name}={amount:g}")
    with closing(Local(workers, threads or 1, on_start)) as local:
        yield local


def write_sweep(grid: Grid, cells: Sequence[str], out: Path) -> None:
    """Write sweep.json: what a report shows of the sweep in ``out``, with the names of its ``cells``."""
    content = {"planned": now(), "grid": grid.model_dump(mode="json"), "cells": list(cells)}
    with own_folder(out, wait=GRACE_SECONDS):  # two shells may share a sweep, but not this moment
        write_json(out / "sweep.json", content)


def run_sweep(
    cells: Sequence[Cell],
    engine: Engine,
    *,
    retry_failed: bool = False,
    on_end: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Run every cell that is not done yet, as many at a time as there are workers.

    A cell that another sweep runs at the same time is asked for again until that one has ended. With ``retry_failed``
    the cells that failed before run, too. ``on_end`` is told each outcome.

    Returns:
        The outcome of each, in the order of ``cells``.
    """
    ended: dict[str, Outcome] = {}
    waiting = list(cells)
    while waiting:
        futures = {engine.submit(partial(run_cell, cell, retry_failed)): cell for cell in waiting}
        waiting = []
        for future in as_completed(futures):
            cell = futures[future]
            try:
                outcome = future.result()
            except Exception as error:
                outcome = Outcome(cell.name, "died", message=f"{type(error).__name__}: {error}")
            if outcome.state == "busy":
                waiting.append(cell)
            else:
                ended[cell.name] = outcome
                on_end(outcome)
        if waiting:
            time.sleep(BUSY_SECONDS)
    return [ended[cell.name] for cell in cells]
