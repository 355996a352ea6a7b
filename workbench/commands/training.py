"""``workbench train``."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands.output import Json, assignments, near, parse, print_json

if TYPE_CHECKING:
    from workbench.training.loop import Step


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
    strategy: Annotated[
        str | None,
        typer.Option(help="How processes of several devices start: ddp (as fits), ddp_spawn or ddp_notebook."),
    ] = None,
    json: Json = False,
) -> None:
    """Train a model, choose its weights on held-out images and score them on the test images."""
    values = _config(config, assignments(parameter or []))
    values |= {key: value for key, value in (("devices", devices), ("strategy", strategy)) if value is not None}
    from workbench.training.config import build_config, check_config
    from workbench.training.experiment import is_first_process, run_experiment

    settings = build_config(**values)
    check_config(settings)
    progress = Progress(err=json)
    first = is_first_process()  # a launcher starts this command once for every device
    if first:
        typer.echo(f"{settings.model} with {settings.loss} on {settings.dataset}: reading the data", err=True)
    record = run_experiment(settings, out, on_step=progress.step, on_epoch=progress.epoch)
    if not first:
        return
    if json:
        print_json(record.model_dump(mode="json"))
    else:
        for name, value in record.metrics.items():
            typer.echo(f"  {name:24} {value:.6g}")
        typer.echo(f"  {near(out)}")


class Progress:
    """Prints how far a training is: a bar on a terminal, a line every half minute elsewhere, and each epoch's scores.

    Args:
        err: whether the epochs go to the standard error; the steps always do.
    """

    EVERY = 30.0  # seconds between lines where nobody watches

    def __init__(self, *, err: bool) -> None:
        self.err = err
        self.begun: float | None = None
        self.first = 0
        self.told = 0.0

    def step(self, step: "Step") -> None:
        """Say where the run stands and how long it will take."""
        from tqdm import tqdm

        now = time.monotonic()
        done, total = (step.epoch - 1) * step.steps + step.step, step.epochs * step.steps
        if self.begun is None:
            self.begun, self.first = now, done - 1  # a run that goes on has made steps before
            self.told = now - self.EVERY  # the first step is told at once
        watched = sys.stderr.isatty()
        if done < total and now - self.told < (0.2 if watched else self.EVERY):
            return
        self.told = now
        line = tqdm.format_meter(
            done,
            total,
            now - self.begun,
            ncols=100 if watched else 0,
            initial=self.first,
            unit="step",
            prefix=f"epoch {step.epoch}/{step.epochs}",
            postfix=f"loss {step.loss:.4g}",
        )
        typer.echo(f"\r{line}" if watched else line, err=True, nl=not watched)

    def epoch(self, row: dict[str, Any]) -> None:
        """Say how an epoch ended, in one line."""
        numbers = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
        if sys.stderr.isatty():
            typer.echo(f"\r{'':100}\r", err=True, nl=False)
        typer.echo("  ".join(numbers), err=self.err)


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
        except RecursionError:
            raise ValueError(f"{file} is nested too deeply, expected keys and values") from None
        if not isinstance(values, dict):
            raise ValueError(f"{file} holds a {type(values).__name__}, expected keys and values")
        for name in values:
            if not isinstance(name, str):
                raise ValueError(f"{file} holds the key {name!r}, expected text")
    for name, text in given.items():
        *path, last = name.split(".")
        options = values
        for part in path:
            options = options.setdefault(part, {})
            if not isinstance(options, dict):
                raise ValueError(f"-p {name}: {part} is {options!r}, expected options")
        options[last] = parse(text)
    return values
