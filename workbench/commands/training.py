"""``workbench train``."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.commands.output import Json, assignments, near, parse, print_json


def train(
    out: Annotated[Path, typer.Option(help="Folder of the run; a run that was stopped there goes on.")],
    config: Annotated[Path | None, typer.Option(help="Configuration, YAML or JSON.")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            metavar="NAME=VALUE",
            help="A key of the configuration, over the file's: -p loss=l2 -p loss_options.sigma=4",
        ),
    ] = None,
    devices: Annotated[
        int | None, typer.Option(help="Devices, each with a process and a share of every batch.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="ddp for several devices.")] = None,
    json: Json = False,
) -> None:
    """Train a model, choose its weights on held-out images and score them on the test images."""
    values = _config(config, assignments(parameter or []))
    values |= {key: value for key, value in (("devices", devices), ("strategy", strategy)) if value is not None}
    from workbench.training.experiment import build_config, run_experiment

    record = run_experiment(build_config(**values), out, on_epoch=partial(_progress, err=json))
    if json:
        print_json(record.model_dump(mode="json"))
    else:
        for name, value in record.metrics.items():
            typer.echo(f"  {name:24} {value:.6g}")
        typer.echo(f"  {near(out)}")


def _progress(row: dict[str, Any], *, err: bool) -> None:
    """An epoch on one line."""
    numbers = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
    typer.echo("  ".join(numbers), err=err)


def _config(file: Path | None, given: dict[str, str]) -> dict[str, Any]:
    """The keys of a configuration file with those ``given`` over them; a dot leads into options.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not YAML with keys and values, or a dotted name does not lead into options.
    """
    import yaml

    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is not YAML or JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{file} holds a {type(values).__name__}, expected keys and values")
    for name, text in given.items():
        *path, last = name.split(".")
        options = values
        for part in path:
            options = options.setdefault(part, {})
            if not isinstance(options, dict):
                raise ValueError(f"-p {name}: {part} is {options!r}, expected options")
        options[last] = parse(text)
    return values
