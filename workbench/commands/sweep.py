"""``workbench sweep``."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands.output import Json, assignments, near, parse, print_json
from workbench.io.project import runs_folder

if TYPE_CHECKING:
    from workbench.sweeps.cell import Outcome
    from workbench.sweeps.progress import SweepProgress


def sweep(
    grid: Annotated[Path, typer.Argument(metavar="GRID.yaml", help="The grid, see notebooks/sweeps.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="One of the fixed parameters, over the file's."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Cells at a time on this machine.")] = 2,
    threads: Annotated[int | None, typer.Option(help="Threads of each cell; 1 on this machine unless given.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler that runs, instead of this machine.")
    ] = None,
    resource: Annotated[
        list[str] | None, typer.Option(metavar="NAME=N", help="What each worker of this machine offers: GPU=1.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; reports/runs/sweeps/NAME unless given.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run the cells that failed once more.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what there is to do.")] = False,
    json: Json = False,
) -> None:
    """Run every cell of a grid that is not done yet; call it again to go on after an interruption."""
    folder, progress, outcomes = execute_sweep(
        grid,
        parameters={name: parse(value) for name, value in assignments(parameter or []).items()},
        workers=workers,
        threads=threads,
        scheduler=scheduler,
        resources={name: float(value) for name, value in assignments(resource or []).items()},
        out=out,
        retry_failed=retry_failed,
        dry_run=dry_run,
        err=json,
    )
    if json:
        print_json(
            {
                "folder": str(folder),
                "cells": progress.states,
                "ran": [outcome._asdict() for outcome in outcomes],
            }
        )
    else:
        typer.echo(progress.table())
        _explain(outcomes)
        typer.echo(f"  {near(folder)}")
    if not dry_run and not progress.done:
        raise typer.Exit(1)


def execute_sweep(
    grid: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    workers: int = 2,
    threads: int | None = None,
    scheduler: str | None = None,
    resources: Mapping[str, float] | None = None,
    out: Path | None = None,
    retry_failed: bool = False,
    dry_run: bool = False,
    err: bool = False,
) -> "tuple[Path, SweepProgress, list[Outcome]]":
    """What ``workbench sweep`` does: the sweep's folder, the state of every cell, and what ran now."""
    from workbench.sweeps.engine import open_engine, run_sweep, write_sweep
    from workbench.sweeps.grid import read_grid
    from workbench.sweeps.plan import plan
    from workbench.sweeps.progress import SweepProgress

    content = read_grid(grid)
    content = content.model_copy(update={"fixed": {**content.fixed, **(parameters or {})}})
    folder = out or runs_folder() / "sweeps" / content.name
    cells = plan(content, folder, beside=grid.parent)
    progress = SweepProgress(cells)
    wanted = ("waiting", "failed") if retry_failed else ("waiting",)
    todo = [cell for cell in cells if progress.states[cell.name] in wanted]
    if dry_run:
        return folder, progress, []
    write_sweep(content, cells, folder)
    if not todo:
        return folder, progress, []
    with open_engine(
        workers=min(workers, len(todo)),
        threads=threads,
        scheduler=scheduler,
        needed=content.resources,
        offered=resources,
    ) as engine:
        typer.echo(f"{len(todo)} of {len(cells)} cells to run", err=err)
        if scheduler is not None and not scheduler.startswith("tls://"):
            typer.echo(f"{scheduler} is not tls://: whoever reaches it can run code as its workers do", err=True)
        begin, end = _reporter(progress, err=err)
        outcomes = run_sweep(todo, engine, retry_failed=retry_failed, on_start=begin, on_end=end)
    return folder, progress, outcomes


def _reporter(progress: "SweepProgress", *, err: bool) -> tuple[Callable[[str], None], Callable[["Outcome"], None]]:
    """Printers for each start and end: one line that is rewritten; in a file a new line every few seconds."""
    stream = sys.stderr if err else sys.stdout
    live = stream.isatty()
    last = time.monotonic()

    def begin(name: str) -> None:
        progress.start(name)
        if live:
            typer.echo(f"\r\x1b[K{progress.line()}", nl=False, err=err)

    def end(outcome: "Outcome") -> None:
        nonlocal last
        progress.end(outcome)
        if outcome.state != "done":
            typer.echo(f"{clear}{outcome.cell}: {outcome.state}: {outcome.message}", err=err)
        over = not progress.counts()["waiting"] + progress.counts()["running"]
        if live:
            typer.echo(f"\r\x1b[K{progress.line()}", nl=over, err=err)
        elif over or time.monotonic() - last > 5:
            last = time.monotonic()
            typer.echo(progress.line(), err=err)

    clear = "\r\x1b[K" if live else ""
    return begin, end


def _explain(outcomes: "list[Outcome]") -> None:
    """What to do about the cells that are not done."""
    died = sum(outcome.state in ("died", "refused") for outcome in outcomes)
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    if died:
        typer.echo(f"{died} did not end: call the sweep again to run what is missing", err=True)
    if failed:
        typer.echo(
            f"{failed} failed: each keeps its traceback in failed/status.json; --retry-failed runs them again", err=True
        )
