"""``workbench train``."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from workbench.commands.export import ExportFormat, export_weights
from workbench.commands.output import Json, LiveLine, assignments, near, parse, print_json, print_numbers, settings

if TYPE_CHECKING:
    from workbench.training.loop import Step

KEYS = (
    "A key of the configuration, over the file's; a dot leads into options: -p loss=l2 -p loss_options.sigma=4. "
    "dataset: {data.DATASETS}. model: {models.MODELS}. loss: {losses.LOSSES}. sampler: {sampling.SAMPLERS}."
)


def train(
    out: Annotated[Path, typer.Option(help="Folder of the run; a run that was stopped there goes on.")],
    config: Annotated[Path | None, typer.Option(help="Configuration, YAML or JSON.")] = None,
    parameter: Annotated[list[str] | None, settings(KEYS)] = None,
    devices: Annotated[int | None, typer.Option(help="Devices, each with its share of every batch.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="How the processes of several devices start: ddp, ddp_spawn or ddp_notebook.")
    ] = None,
    export: Annotated[
        ExportFormat | None, typer.Option(help="Write the trained model in this form, too; see `workbench export`.")
    ] = None,
    logger: Annotated[
        Literal["auto", "none", "tensorboard", "mlflow", "wandb", "trackio"],
        typer.Option(help="Where the epochs are shown while it trains; auto: TensorBoard where it is installed."),
    ] = "auto",
    json: Json = False,
) -> None:
    """Train a model, choose its weights on held-out images and score them on the test images."""
    from workbench.runs.settings import nested, read_yaml

    values = nested((read_yaml(config, "configuration") if config else {}) | assignments(parameter, parse))
    from workbench.training.experiment import configure, is_first_process, run_experiment
    from workbench.training.loggers import open_logger

    values |= {key: value for key, value in (("devices", devices), ("strategy", strategy)) if value is not None}
    chosen = configure(**values)
    progress = TrainingProgress(err=json)
    first = is_first_process()  # a launcher starts this command once for every device
    if first:
        typer.echo(f"{chosen.model} with {chosen.loss} on {chosen.dataset}: reading the data", err=True)
    log = open_logger(logger, out, chosen.model_dump(mode="json"))
    record = run_experiment(chosen, out, on_step=progress.step, on_epoch=Both(progress.epoch, log))
    if not first:
        return
    log.close(record.metrics)
    if export is not None:
        export_weights(out / "weights.pt", export)
    if json:
        print_json(record.model_dump(mode="json"))
    else:
        print_numbers(record.metrics)
        typer.echo(f"  {near(out)}")


@dataclass  # not frozen: Fabric copies what it passes to other processes field by field
class Both:
    """Two functions that are told the same; it reaches other processes, as a function within a function does not."""

    first: Callable[[dict[str, Any]], None]
    second: Callable[[dict[str, Any]], None]

    def __call__(self, row: dict[str, Any]) -> None:
        """Tell both."""
        self.first(row)
        self.second(row)


class TrainingProgress:
    """Prints how far a training is: a bar on a terminal, a line every half minute elsewhere, and each epoch's scores.

    The steps go to the standard error, and the epochs where ``err`` says so.
    """

    def __init__(self, *, err: bool) -> None:
        self.err = err
        self.line = LiveLine(err=True, every=30.0, watched=0.2)
        self.begun: tuple[float, int] | None = None  # when, and after which step

    def step(self, step: "Step") -> None:
        """Say where the run stands and how long it will take."""
        from tqdm import tqdm

        done, total = (step.epoch - 1) * step.steps + step.step, step.epochs * step.steps
        # A run that goes on has made steps before.
        begun, first = self.begun = self.begun or (time.monotonic(), done - 1)

        def bar() -> str:
            return tqdm.format_meter(
                done,
                total,
                time.monotonic() - begun,
                ncols=100 if self.line.watched else 0,
                initial=first,
                unit="step",
                prefix=f"epoch {step.epoch}/{step.epochs}",
                postfix=f"loss {step.loss:.4g}",
            )

        self.line.show(bar, last=done == total)

    def epoch(self, row: dict[str, Any]) -> None:
        """Say how an epoch ended, in one line."""
        numbers = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
        self.line.print("  ".join(numbers), err=self.err)
