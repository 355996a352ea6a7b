"""``workbench run`` and ``report``."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.output import Json, assignments, near, print_json, print_numbers, settings
from workbench.commands.sweep import execute_sweep
from workbench.io.files import remove_parts
from workbench.io.lock import own_folder
from workbench.io.project import clone_of, find_notebook, list_notebooks, project_root, runs_folder

if TYPE_CHECKING:
    from workbench.runs.status import Status

Preset = Annotated[str | None, typer.Option(help="smoke, default or paper; the notebook's own unless given.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds that one cell may take.")]
Threads = Annotated[int | None, typer.Option(help="Threads of each kernel; the cores shared out unless given.")]


def run(
    notebook: Annotated[
        str, typer.Argument(metavar="NOTEBOOK", help="A path, or the name of one of the project's notebooks.")
    ],
    parameter: Annotated[list[str] | None, settings("A parameter of the notebook.")] = None,
    preset: Preset = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; reports/runs/NOTEBOOK unless given.")] = None,
    timeout: Timeout = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Execute one notebook and say how it ended."""
    from workbench.runs.record import read_record
    from workbench.sweeps.notebooks import run_notebook

    path = find_notebook(notebook)
    folder = out or runs_folder(clone_of(path)) / path.stem
    status = run_notebook(path, folder, assignments(parameter), preset, timeout, threads)
    record = folder / "record.json"
    metrics = read_record(record).metrics if record.is_file() else {}
    if json:
        print_json({**status.model_dump(mode="json"), "folder": str(folder), "metrics": metrics})
    else:
        typer.echo(_line(status))
        print_numbers(metrics)
        _explain([status])
        typer.echo(f"  {near(folder)}")
    if not status.completed:
        raise typer.Exit(1)


def report(
    preset: Preset = None,
    workers: Annotated[int, typer.Option(help="Notebooks at a time.")] = 2,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NOTEBOOK", help="Run this one only; may be given again.")
    ] = None,
    sweep: Annotated[
        list[Path] | None, typer.Option(metavar="GRID.yaml", help="Run this sweep, too; may be given again.")
    ] = None,
    render_only: Annotated[bool, typer.Option("--render-only", help="Run nothing, render what was run.")] = False,
    timeout: Timeout = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Execute the notebooks and the sweeps, and render reports/index.html."""
    from workbench.reports.site import write_site
    from workbench.sweeps.notebooks import run_notebooks

    page = runs_folder().parent / "index.html"
    whole, statuses = True, []
    with own_folder(page.parent):
        if render_only:  # on a new clone, too: the reference records are there
            runs_folder().mkdir(parents=True, exist_ok=True)
        else:
            for grid in sweep or ():  # first, as notebooks show their results
                _, progress, _ = execute_sweep(grid, workers=workers, threads=threads, err=json)
                typer.echo(f"{grid.stem}: {progress.line()}", err=json)
                whole = whole and progress.done
            notebooks = [find_notebook(name) for name in only or ()] or list_notebooks()
            if not notebooks:
                raise FileNotFoundError(f"{project_root() / 'notebooks'} holds no notebook")
            ended = itertools.count(1)
            statuses = run_notebooks(
                notebooks,
                runs_folder(),
                workers=workers,
                preset=preset,
                timeout=timeout,
                threads=threads,
                on_done=lambda status: typer.echo(f"[{next(ended)}/{len(notebooks)}] {_line(status)}", err=json),
            )
        remove_parts(page.parent / "site")
        write_site(runs_folder(), page)
    if json:
        print_json({"page": str(page), "notebooks": [status.model_dump(mode="json") for status in statuses]})
    else:
        _explain(statuses)
        typer.echo(near(page))
    if not whole or not all(status.completed for status in statuses):
        raise typer.Exit(1)


def _line(status: "Status") -> str:
    return f"{status.name:28} {status.state:11} {status.seconds:7.1f} s"


def _explain(statuses: Sequence["Status"]) -> None:
    """On stderr, why each notebook that did not complete did not."""
    for status in statuses:
        if status.error is not None:
            typer.echo(f"\n{status.name}: {status.error}\n{status.error.traceback}".rstrip(), err=True)
