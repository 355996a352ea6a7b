"""The history of a training in other tools: it arrives whole, and the training is what it was."""

import sys
import types

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from workbench.commands.cli import app
from workbench.runs.record import read_record
from workbench.training.loggers import flat, open_logger

GIVEN = {
    "model": "compact",
    "epochs": 2,
    "crop": 32,
    "dataset_options.length": 8,
    "dataset_options.preset": "small",
    "accelerator": "cpu",
}


def train(folder, *options):
    given = [text for name, value in GIVEN.items() for text in ("-p", f"{name}={value}")]
    result = CliRunner().invoke(app, ["train", "--out", str(folder), *given, *options])
    assert result.exit_code == 0, result.output
    return read_record(folder / "record.json")


@pytest.mark.pipeline
def test_tensorboard_reads_the_history_and_the_training_is_the_same(tmp_path):
    logged, bare = train(tmp_path / "logged"), train(tmp_path / "bare", "--logger", "none")
    assert not (tmp_path / "bare" / "tensorboard").exists()
    assert (logged.config, logged.metrics, logged.history) == (bare.config, bare.metrics, bare.history)
    events = EventAccumulator(str(tmp_path / "logged" / "tensorboard")).Reload()
    for name in ("loss", "val_mae", "learning_rate"):
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert shown == [(row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in logged.history]
    (score,) = events.Scalars("test/mae")
    assert score.value == pytest.approx(logged.metrics["mae"], rel=1e-6)


class Tool(types.ModuleType):
    """A module whose every function writes down how it was called."""

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = types.SimpleNamespace(name=name)
        self.calls = []

    def __getattr__(self, name):
        return lambda *args, **options: self.calls.append((name, args, options))


@pytest.mark.parametrize("name", ["wandb", "trackio", "mlflow"])
def test_other_tools_are_called_as_they_want(monkeypatch, tmp_path, name):
    tool = Tool(name)
    monkeypatch.setitem(sys.modules, name, tool)
    log = open_logger(name, tmp_path / "mine", {"loss": "l2", "loss_options": {"sigma": 4}})
    assert tool.calls == []
    log({"epoch": 1, "loss": 0.5, "warning": "slow"})
    log.close({"mae": 3})
    config = {"loss": "l2", "loss_options.sigma": 4}
    project = "crowd-counting-workbench"
    if name == "mlflow":
        expected = [
            ("set_experiment", (project,), {}),
            ("start_run", (), {"run_name": "mine"}),
            ("log_params", (config,), {}),
            ("log_metrics", ({"loss": 0.5},), {"step": 1}),
            ("log_metrics", ({"test/mae": 3.0},), {}),
            ("end_run", (), {}),
        ]
    else:
        expected = [
            ("init", (), {"project": project, "name": "mine", "config": config}),
            ("log", ({"loss": 0.5},), {"step": 1}),
            ("log", ({"test/mae": 3.0},), {}),
            ("finish", (), {}),
        ]
    assert tool.calls == expected


def test_what_is_not_installed_or_not_known_is_named(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="logger is 'neptune', expected one of"):
        open_logger("neptune", tmp_path, {})
    monkeypatch.setattr("workbench.training.loggers.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="trackio not installed, expected it for logger=trackio"):
        open_logger("trackio", tmp_path, {})
    log = open_logger("auto", tmp_path, {})
    log({"epoch": 1, "loss": 0.5})
    log.close({})
    assert list(tmp_path.iterdir()) == []


def test_options_are_written_flat():
    assert flat({"a": {"b": {"c": 1.5}}, "d": None, "e": [1, 2], "f": True}) == {
        "a.b.c": 1.5,
        "d": "None",
        "e": "[1, 2]",
        "f": "True",
    }
