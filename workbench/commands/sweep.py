"""``workbench sweep``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from workbench.commands.output import Json, LiveLine, assignments, near, parse, print_json, settings
from workbench.io.project import runs_folder

if TYPE_CHECKING:
    from workbench.sweeps.cell import Outcome
    from workbench.sweeps.progress import SweepProgress
    from workbench.sweeps.search import Searched


def sweep(
    grid: Annotated[Path, typer.Argument(metavar="GRID.yaml", help="The grid, see notebooks/sweeps.")],
    parameter: Annotated[list[str] | None, settings("One of the fixed parameters, over the file's.")] = None,
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
    search: Annotated[
        Literal["optuna"] | None, typer.Option(help="Who chooses of the grid's lists and ranges, cell after cell.")
    ] = None,
    trials: Annotated[int, typer.Option(help="Cells of a search, in all.")] = 20,
    objective: Annotated[str, typer.Option(help="The metric that a search makes low.")] = "val_mae",
    json: Json = False,
) -> None:
    """Run every cell of a grid that is not done yet; call it again to go on after an interruption."""
    if search is not None:
        if retry_failed or dry_run:
            raise ValueError("--retry-failed or --dry-run is given, expected neither with --search")
        options = {"threads": threads, "scheduler": scheduler, "offered": assignments(resource, float)}
        place, found = execute_search(
            grid,
            assignments(parameter, parse),
            out=out,
            trials=trials,
            workers=workers,
            objective=objective,
            err=json,
            **options,
        )
        if json:
            print_json({"folder": str(place)} | found._asdict())
        else:
            typer.echo(f"{found.trials} trials, {found.pruned} of them stopped early, {found.failed} failed")
            typer.echo(f"{objective} {found.value} with {found.parameters}: {found.cell}")
            typer.echo(f"  {near(place)}")
        return
    folder, progress, outcomes = execute_sweep(
        grid,
        assignments(parameter, parse),
        out=out,
        retry_failed=retry_failed,
        dry_run=dry_run,
        err=json,
        workers=workers,
        threads=threads,
        scheduler=scheduler,
        offered=assignments(resource, float),
    )
    if json:
        ran = [outcome._asdict() for outcome in outcomes]
        print_json({"folder": str(folder), "cells": progress.states, "ran": ran})
    else:
        typer.echo(progress.table())
        _explain(outcomes)
        typer.echo(f"  {near(folder)}")
    if not dry_run and not progress.done:
        raise typer.Exit(1)


def execute_search(
    path: Path,
    parameters: Mapping[str, Any],
    *,
    out: Path | None,
    trials: int,
    workers: int,
    objective: str,
    err: bool,
    **engine_options: Any,
) -> "tuple[Path, Searched]":
    """What ``workbench sweep --search optuna`` does: the sweep's folder, and what was found."""
    from workbench.sweeps.engine import open_engine
    from workbench.sweeps.grid import read_grid
    from workbench.sweeps.search import run_search, search_space

    grid = read_grid(path)
    grid = grid.model_copy(update={"fixed": {**grid.fixed, **parameters}})
    search_space(grid)
    folder = out or runs_folder() / "sweeps" / grid.name

    def ends(outcome: "Outcome") -> None:
        typer.echo(f"{outcome.cell}: {outcome.state} {outcome.message}".rstrip(), err=err)

    with open_engine(workers=workers, needed=grid.resources, **engine_options) as engine:
        options: dict[str, Any] = {"trials": trials, "workers": workers, "objective": objective}
        return folder, run_search(grid, folder, engine, beside=path.parent, on_end=ends, **options)


def execute_sweep(
    grid: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    out: Path | None = None,
    retry_failed: bool = False,
    dry_run: bool = False,
    err: bool = False,
    workers: int = 2,
    scheduler: str | None = None,
    **engine_options: Any,
) -> "tuple[Path, SweepProgress, list[Outcome]]":
    """What ``workbench sweep`` does, with its options and those of :func:`~workbench.sweeps.engine.open_engine`.

    Returns:
        The sweep's folder, the state of every cell, and how each cell ended that ran now.
    """
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
    if not dry_run:
        write_sweep(content, [cell.name for cell in cells], folder)
    if dry_run or not todo:
        return folder, progress, []
    line = LiveLine(err=err, every=5.0)

    def begins(job: Path) -> None:
        progress.start(job)
        if line.watched:
            line.show(progress.line)

    def ends(outcome: "Outcome") -> None:
        progress.end(outcome)
        if outcome.state != "done":
            line.print(f"{outcome.cell}: {outcome.state}: {outcome.message}", err=err)
        line.show(progress.line, last=not progress.left)

    engine_options |= {"scheduler": scheduler, "needed": content.resources, "on_start": begins}
    with open_engine(workers=min(workers, len(todo)), **engine_options) as engine:
        typer.echo(f"{len(todo)} of {len(cells)} cells to run", err=err)
        if scheduler is not None and not scheduler.startswith("tls://"):
            typer.echo(f"{scheduler} is not tls://: whoever reaches it can run code as its workers do", err=True)
        return folder, progress, run_sweep(todo, engine, retry_failed=retry_failed, on_end=ends)


def _explain(outcomes: "list[Outcome]") -> None:
    """What to do about the cells that are not done."""
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    missing = sum(outcome.state in ("died", "refused") for outcome in outcomes)
    if missing:
        typer.echo(f"{missing} did not end: call the sweep again to run what is missing", err=True)
    if failed:
        typer.echo(f"{failed} failed: failed/status.json holds the traceback; --retry-failed runs them again", err=True)
