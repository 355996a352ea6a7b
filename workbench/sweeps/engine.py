"""Run the cells of a sweep on a Dask scheduler: here on this machine, or any that is running."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from workbench.checks import check_whole
from workbench.io.files import write_json
from workbench.runs.record import now
from workbench.runs.status import THREAD_VARIABLES
from workbench.sweeps.cell import Outcome, run_cell
from workbench.sweeps.grid import Grid
from workbench.sweeps.plan import Cell

if TYPE_CHECKING:
    from distributed import Client, Future

BUSY_SECONDS = 2.0


@contextmanager
def open_client(
    *, workers: int = 2, threads: int = 1, scheduler: str | None = None, resources: Mapping[str, float] | None = None
) -> Iterator["Client"]:
    """A client of the scheduler at ``scheduler``, or of workers of this machine that end with it.

    Args:
        workers: processes on this machine, each runs one cell at a time.
        threads: of the numeric libraries in each.
        scheduler: address of a running scheduler, for instance "tcp://10.0.0.1:8786".
        resources: what each worker of this machine offers, for instance ``{"GPU": 1}``.

    Raises:
        OSError: nothing answers at ``scheduler``.
        ValueError: the scheduler has no workers, or one that would run several cells in one process.
    """
    check_whole(workers, "workers")
    check_whole(threads, "threads")
    from distributed import Client, LocalCluster

    if scheduler is not None:
        with Client(scheduler, timeout="10s", name="workbench-sweep") as client:
            _check_workers(client, scheduler)
            yield client
        return
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,  # a kernel and a training want a process of their own
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        memory_limit=None,  # kernels are not counted, and a worker that is stopped for its memory loses the cell
        silence_logs=logging.CRITICAL,
        resources=dict(resources or {}),
        env=dict.fromkeys(THREAD_VARIABLES, str(threads)),
    )
    with cluster, Client(cluster) as client:
        yield client


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
    write_json(out / "sweep.json", content)


def run_sweep(
    cells: Sequence[Cell],
    client: "Client",
    *,
    retry_failed: bool = False,
    threads: int | None = None,
    resources: Mapping[str, float] | None = None,
    on_start: Callable[[str], None] | None = None,
    on_end: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run every cell that is not done yet, as many at a time as there are workers.

    A cell that another sweep runs at the same time is asked for again until that one has ended.

    Args:
        cells: of :func:`workbench.sweeps.plan.plan`.
        client: of :func:`open_client`.
        retry_failed: run those that failed before, too.
        threads: of the numeric libraries in each kernel; None leaves the workers' own.
        resources: what each cell needs of its worker, for instance ``{"GPU": 1}``.
        on_start: told the name of each cell as a worker begins it.
        on_end: told each outcome.

    Returns:
        What came of each, in the order of ``cells``.
    """
    from distributed import as_completed

    topic = f"workbench-sweep-{uuid4().hex}"
    ended: dict[str, Outcome] = {}

    def submit(cell: Cell) -> "Future":
        return client.submit(
            _task,
            cell,
            retry_failed,
            threads,
            topic,
            key=f"{cell.name}-{uuid4().hex[:8]}",
            pure=False,
            resources=dict(resources or {}) or None,
        )

    if on_start is not None:
        client.subscribe_topic(topic, lambda event: on_start(event[1]["cell"]))
    try:
        waiting = list(cells)
        while waiting:
            futures = {submit(cell): cell for cell in waiting}
            waiting = []
            for future in as_completed(futures):
                cell = futures[future]
                outcome = _outcome(future, cell)
                future.release()
                if outcome.state == "busy":
                    waiting.append(cell)
                else:
                    ended[cell.name] = outcome
                    if on_end is not None:
                        on_end(outcome)
            if waiting:
                time.sleep(BUSY_SECONDS)
    finally:
        if on_start is not None:
            with suppress(Exception):  # the scheduler may be gone
                client.unsubscribe_topic(topic)
    return [ended[cell.name] for cell in cells]


def _task(cell: Cell, retry_failed: bool, threads: int | None, topic: str) -> Outcome:
    """What a worker does."""
    from distributed import get_worker

    def tell() -> None:
        get_worker().log_event(topic, {"cell": cell.name})

    return run_cell(cell, retry_failed=retry_failed, threads=threads, on_start=tell)


def _outcome(future: "Future", cell: Cell) -> Outcome:
    """What a task returned, or what became of it where it could not."""
    error: Any
    try:
        return future.result()
    except Exception as raised:
        error = raised
    return Outcome(cell.name, "died", message=f"{type(error).__name__}: {error}")
