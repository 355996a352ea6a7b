"""``workbench reference``: the project's own measurements, made and checked."""

import json as json_text
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands.output import Json, near, print_json
from workbench.commands.sweep import execute_sweep
from workbench.io.project import project_root, runs_folder

if TYPE_CHECKING:
    from workbench.reports.reference import Reference, ReferenceRow


def run(
    names: Annotated[list[str] | None, typer.Argument(help="Sweeps; all of them unless given.")] = None,
    workers: Annotated[int, typer.Option(help="Trainings at a time.")] = 2,
    collect_only: Annotated[bool, typer.Option("--collect", help="Train nothing, write what is done so far.")] = False,
) -> None:
    """Train what notebooks/sweeps/reference lists and write reports/reference; call it again to go on."""
    from workbench.reports.reference import collect, read_reference, records_below
    from workbench.sweeps.grid import read_grid
    from workbench.sweeps.plan import plan

    folder = project_root() / "reports" / "reference"
    unfinished = False
    for grid in grids(names):
        content = read_grid(grid)
        place = runs_folder() / "sweeps" / f"reference-{content.name}"
        out, progress, _ = execute_sweep(grid, out=place, dry_run=collect_only, workers=workers)
        unfinished |= not progress.done
        file = folder / f"{content.name}.jsonl"
        missing = {_key(content.run, cell.parameters) for cell in plan(content, out, beside=grid.parent)}
        new = {_key(content.run, record.config): (record, code) for record, code in records_below(out)}
        done = [new[key] for key in new if key in missing]
        if not done:
            typer.echo(f"{content.name}: nothing is done yet")
            continue
        missing -= set(new)
        rows = _whole_rows(read_reference(file)) if file.is_file() else []
        earlier = [row for row in rows if _key(content.run, row.config) in missing]
        path = collect(content.name, content.run, done, earlier).write(folder)
        typer.echo(f"{content.name}: {len(done)} new, {len(earlier)} kept, {near(path)}")
    if unfinished and not collect_only:
        raise typer.Exit(1)


def check(
    rows: Annotated[int, typer.Option(help="How many runs are repeated.", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="Which ones: drawn from this seed, each from another file first.")] = 0,
    stamp: Annotated[bool, typer.Option(help="Say in the files that rows of older code were made again.")] = False,
    json: Json = False,
) -> None:
    """Repeat runs of reports/reference and compare their scores."""
    import torch

    from workbench.io.source import source_digest
    from workbench.reports.reference import differences, read_reference, reference_folder
    from workbench.runs.record import now, versions
    from workbench.sweeps.plan import TRAININGS, train

    folder = reference_folder()
    paths = sorted(folder.glob("*.jsonl")) if folder else []
    if not paths:
        raise FileNotFoundError("reports/reference holds no reference records, expected a clone of the project")
    references = {path: read_reference(path) for path in paths}
    results = []
    torch.set_num_threads(1)  # as in a sweep: with two threads sums round otherwise, and no row came back
    for path, row in draw(references, rows, seed):
        reference = references[path]
        head = reference.head
        label = f"{head.sweep} {' '.join(f'{key}={value}' for key, value in row.config.items())}"
        typer.echo(f"{label}: about {row.seconds:.0f} s", err=True)
        with tempfile.TemporaryDirectory(prefix="reference-") as place:
            record = train(head.run, reference.config(row), Path(place) / "run")
        code = source_digest(TRAININGS[head.run].module)[:12]
        wrong = differences(reference, row, dict(record.metrics), versions(commit=False))
        results.append({"sweep": head.sweep, "config": row.config, "same_code": code == row.code, "differs": wrong})
        if stamp and not wrong and code != row.code:
            stamped = row.model_copy(update={"code": code, "checked": now()})
            reference.rows[reference.rows.index(row)] = stamped
            reference.write(path.parent)
        said = "; ".join(f"{name}: {text}" for name, text in wrong.items()) or "as recorded"
        typer.echo(f"  {said}{'' if code == row.code else ' (recorded by older code)'}", err=True)
    if json:
        print_json(results)
    bad = sum(bool(result["differs"]) for result in results)
    typer.echo(f"{len(results) - bad} of {len(results)} as recorded", err=json)
    if bad:
        raise typer.Exit(1)


def draw(references: "dict[Path, Reference]", count: int, seed: int) -> "list[tuple[Path, ReferenceRow]]":
    """``count`` rows drawn at random, one of each file before a second one of any."""
    import numpy as np

    rng = np.random.default_rng(seed)
    drawn = []
    for path, reference in references.items():
        for turn, index in enumerate(rng.permutation(len(reference.rows))):
            drawn.append((turn, rng.random(), path, reference.rows[index]))
    return [(path, row) for *_, path, row in sorted(drawn, key=lambda one: one[:2])[:count]]


def grids(names: list[str] | None) -> list[Path]:
    """The grids of the reference sweeps, or those of these names; ``FileNotFoundError`` for another name."""
    known = {path.stem: path for path in sorted((project_root() / "notebooks/sweeps/reference").glob("*.yaml"))}
    for name in names or ():
        if name not in known:
            raise FileNotFoundError(f"no reference sweep {name!r}, expected one of {', '.join(known)}")
    return [known[name] for name in names or known]


def _key(run: str, config: dict[str, Any]) -> str:
    """What tells one run of a kind from another; keys that an older version did not know have their defaults."""
    from workbench.sweeps.plan import configured

    with suppress(ValueError):  # a configuration that is refused today is none of a grid
        config = configured(run, config)
    return json_text.dumps(config, sort_keys=True)


def _whole_rows(reference: "Reference") -> "list[ReferenceRow]":
    """The rows, each with its whole configuration."""
    return [row.model_copy(update={"config": reference.config(row)}) for row in reference.rows]
