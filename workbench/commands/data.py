"""``workbench data list`` and ``workbench data check``."""

import inspect
from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.output import Json, near, print_json


def list_datasets(json: Json = False) -> None:
    """The data sets that can be opened by name."""
    from workbench.data import DATASETS
    from workbench.registry import look_up

    about = {name: (inspect.getdoc(look_up(DATASETS, name, "dataset")) or "").partition("\n")[0] for name in DATASETS}
    if json:
        print_json([{"name": name, "about": text} for name, text in about.items()])
        return
    width = max(map(len, about))
    for name, text in about.items():
        typer.echo(f"{name:{width}}  {text}")


def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the data set, see `workbench data list`.")],
    root: Annotated[Path, typer.Option(help="The folder that the data set lies in.")],
    overlay: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Write a sheet of images with their points drawn.")
    ] = None,
    json: Json = False,
) -> None:
    """Look through a copy of a data set: damaged or missing files, points outside, counts against the published."""
    from workbench.data.validate import save_overlay, validate

    report = validate(name, root)
    if json:
        print_json(report.to_dict())
    else:
        typer.echo(report.to_text())
    if overlay is not None:
        save_overlay(name, root, overlay)
        typer.echo(f"points drawn on {near(overlay)}", err=json)
    if not report.ok:
        raise typer.Exit(1)
