"""``workbench data list``, ``workbench data check`` and ``workbench data prepare``."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.commands.output import Json, near, print_json

Name = Annotated[str, typer.Argument(metavar="NAME", help="The data set, one of {data.DATASETS}.")]
Root = Annotated[Path | None, typer.Option(help="Its folder; the place that `data list` prints unless given.")]
LabelOption = Annotated[list[str] | None, typer.Option(metavar="LABEL", help="A label of people; may be given again.")]


def list_datasets(json: Json = False) -> None:
    """The data sets that can be opened by name, and where each is looked for when no root is given."""
    from workbench.data import DATASETS
    from workbench.data.files.folders import default_place
    from workbench.registry import look_up

    rows: list[dict[str, Any]] = []
    for name in DATASETS:
        builder = look_up(DATASETS, name, "dataset")
        about = (inspect.getdoc(builder) or "").partition("\n")[0]
        place = default_place(name) if "root" in inspect.signature(builder).parameters else None
        there = place is None or place.is_dir()
        rows.append({"name": name, "about": about, "place": None if place is None else str(place), "there": there})
    if json:
        print_json(rows)
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        where = "built in" if row["place"] is None else near(Path(row["place"]))
        typer.echo(f"{row['name']:{width}}  {row['about']}")
        typer.echo(f"{'':{width}}  {where}{'' if row['there'] else ' (not there)'}")


def check(
    name: Name,
    root: Root = None,
    overlay: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw some images with their points.")] = None,
    labels: LabelOption = None,
    json: Json = False,
) -> None:
    """Check a copy of a data set: damaged or missing files, points outside their image, published totals."""
    from workbench.data.check.validator import save_overlay_sheet, validate

    report = validate(name, root, labels=labels or None)
    if json:
        print_json(report.to_dict())
    else:
        typer.echo(report.to_text())
    if overlay is not None:
        save_overlay_sheet(name, root, overlay, labels=labels or None)
        typer.echo(f"points drawn on {near(overlay)}", err=json)
    if not report.ok:
        raise typer.Exit(1)


def prepare(
    name: Name,
    to: Annotated[Path, typer.Option(help="The folder for prepared sets; training is told it as `prepared`.")],
    root: Root = None,
    resize: Annotated[
        str, typer.Option(metavar="RULE", help="none, longest:N, shortest:N-M, qnrf, multiple:N, or several with ','.")
    ] = "none",
    outside: Annotated[str, typer.Option(help="Points outside their image: raise, clamp or drop.")] = "raise",
    workers: Annotated[int, typer.Option(help="Processes beside this one.")] = 0,
    labels: LabelOption = None,
    json: Json = False,
) -> None:
    """Decode and resize every image once; continues where it was stopped."""
    from workbench.data.check.validator import reader
    from workbench.data.files.preparing import Done
    from workbench.data.files.preparing import prepare as prepare_set

    def progress(done: Done) -> None:
        seen = done.prepared + done.found
        if seen % 500 == 0 or seen == done.images:
            typer.echo(f"{seen} of {done.images}", err=True)

    options: dict[str, Any] = {"labels": labels} if labels else {}
    done, folder = prepare_set(
        reader(name, **options), root, to, workers=workers, on_done=progress, resize=resize, outside=outside, **options
    )
    if json:
        print_json({**done._asdict(), "folder": str(folder)})
    else:
        typer.echo(f"{done.prepared} prepared, {done.found} were there already: {near(folder)}")
