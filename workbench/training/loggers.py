"""The history of a training in people's own tools, while it runs: TensorBoard, MLflow, Weights & Biases, Trackio.

A logger is an ``on_epoch`` of :func:`workbench.training.experiment.run_experiment`; nothing of it changes the training
or its record::

    log = open_logger("tensorboard", folder, config.model_dump())
    record = run_experiment(config, folder, on_epoch=log)
    log.close(record.metrics)
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.checks import check_choice

PROJECT_NAME = "crowd-counting-workbench"
LOGGERS = ("auto", "none", "tensorboard", "mlflow", "wandb", "trackio")


class RunLogger:
    """Takes the rows of a history and does nothing with them; the base of those that do.

    What it writes to is opened by the first row, in the process that trains.

    Args:
        folder: of the run.
        config: what the run was given.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder = folder
        self.config = flat(config)
        self.client: Any = None

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take the row of an epoch."""
        if self.client is None:
            self.client = self._open()
        numbers = {name: float(value) for name, value in row.items() if type(value) in (int, float) and name != "epoch"}
        self._write(numbers, int(row["epoch"]))

    def close(self, metrics: Mapping[str, float]) -> None:
        """Take the scores of the trained model, if this process has trained, and end."""
        if self.client is not None:
            self._end({f"test/{name}": float(value) for name, value in metrics.items()})

    def _open(self) -> Any:
        """Whatever the methods below write to."""

    def _write(self, numbers: dict[str, float], epoch: int) -> None:
        """Write the numbers of an epoch."""

    def _end(self, scores: dict[str, float]) -> None:
        """Write the scores, and end."""


class TensorBoard(RunLogger):
    """Event files in ``tensorboard`` in the run's folder."""

    def _open(self) -> Any:
        from lightning_fabric.loggers import TensorBoardLogger

        return TensorBoardLogger(self.folder, name="", version="tensorboard")

    def _write(self, numbers: dict[str, float], epoch: int) -> None:
        self.client.log_metrics(numbers, step=epoch)
        self.client.save()

    def _end(self, scores: dict[str, float]) -> None:
        self.client.log_hyperparams(self.config, scores)
        self.client.finalize("success")


class MLflow(RunLogger):
    """A run in the experiment ``crowd-counting-workbench``, where ``MLFLOW_TRACKING_URI`` says."""

    def _open(self) -> Any:
        mlflow = import_module("mlflow")
        mlflow.set_experiment(PROJECT_NAME)
        mlflow.start_run(run_name=self.folder.name)
        mlflow.log_params(self.config)
        return mlflow

    def _write(self, numbers: dict[str, float], epoch: int) -> None:
        self.client.log_metrics(numbers, step=epoch)

    def _end(self, scores: dict[str, float]) -> None:
        self.client.log_metrics(scores)
        self.client.end_run()


class Wandb(RunLogger):
    """A run of the project ``crowd-counting-workbench`` through the interface of wandb."""

    module = "wandb"

    def _open(self) -> Any:
        client = import_module(self.module)
        client.init(project=PROJECT_NAME, name=self.folder.resolve().name, config=self.config)
        return client

    def _write(self, numbers: dict[str, float], epoch: int) -> None:
        self.client.log(numbers, step=epoch)

    def _end(self, scores: dict[str, float]) -> None:
        self.client.log(scores)
        self.client.finish()


class Trackio(Wandb):
    """The same interface, in files of this machine."""

    module = "trackio"


KINDS: dict[str, type[RunLogger]] = {
    "none": RunLogger,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": Wandb,
    "trackio": Trackio,
}


def open_logger(name: str, folder: str | Path, config: Mapping[str, Any]) -> RunLogger:
    """A logger by its name.

    Args:
        name: one of ``LOGGERS``; "auto" is TensorBoard where it is installed, else none.
        folder: of the run.
        config: what the run was given.

    Raises:
        ModuleNotFoundError: the tool is not installed.
        ValueError: an unknown name.
    """
    check_choice(name, LOGGERS, "logger")
    if name == "auto":
        name = "tensorboard" if find_spec("tensorboard") else "none"
    if name != "none" and find_spec(name) is None:
        raise ModuleNotFoundError(f"{name} not installed, expected it for logger={name}: pip install {name}", name=name)
    return KINDS[name](Path(folder), config)


def flat(config: Mapping[str, Any], before: str = "") -> dict[str, str | float]:
    """``{"loss_options": {"sigma": 4}}`` -> ``{"loss_options.sigma": 4}``; what is no number becomes text."""
    found: dict[str, str | float] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        else:
            found[before + name] = value if type(value) in (int, float) else str(value)
    return found
