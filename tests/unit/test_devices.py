"""Two processes train the model that one trains, each with half of every batch, by the command line."""

import json
import os
import subprocess
import sys

import pytest

from workbench.runs.record import read_record
from workbench.training.experiment import build_config, build_fabric, open_model

pytestmark = pytest.mark.pipeline

SETTINGS = [
    *("accelerator=cpu", "precision=64-true", "model=mcnn", "model_options.width=0.125"),
    *("dataset_options.preset=small", "dataset_options.length=12", "epochs=2", "batch_size=4"),
    *("optimizer=sgd", "learning_rate=1e-4"),
]


def train(out, devices):
    options = [argument for setting in SETTINGS for argument in ("-p", setting)]
    command = [sys.executable, "-m", "workbench.commands.cli", "train", "--out", out, "--devices", devices, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command), "--strategy", "ddp"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return read_record(out / "record.json"), done.stdout


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path):
    one, _ = train(tmp_path / "one", 1)
    two, printed = train(tmp_path / "two", 2)
    assert printed.count("epoch 2") == 1  # by the first process alone
    assert two.config["devices"] == 2
    assert two.metrics == pytest.approx(one.metrics, rel=1e-6)
    for row, other in zip(two.history, one.history, strict=True):
        assert row == pytest.approx(other, rel=1e-6)
    weights = [open_model(tmp_path / name / "weights.pt").state_dict() for name in ("one", "two")]
    for name, value in weights[0].items():
        assert (weights[1][name] - value).abs().max() < 1e-6, name


@pytest.mark.slow
def test_of_several_processes_one_speaks(tmp_path):
    """As torchrun starts them: the command once a device."""
    options = [argument for setting in SETTINGS for argument in ("-p", setting)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "workbench.commands.cli", "train", "--out", tmp_path / "run", "--devices", "2", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, *launcher, *command, *options]
    done = subprocess.run([*map(str, arguments)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["config"]["devices"] == 2
    assert done.stderr.count("epoch 2  ") == 1
    assert "reading the data" in done.stderr
    assert "epoch 1/2: " in done.stderr


def test_how_several_devices_are_started(monkeypatch):
    config = build_config(devices=2, accelerator="cpu")
    names = []
    monkeypatch.setattr("workbench.training.experiment.Fabric", lambda **options: names.append(options["strategy"]))
    build_fabric(config)
    monkeypatch.setenv("SLURM_NTASKS", "2")
    build_fabric(config)
    monkeypatch.delenv("SLURM_NTASKS")
    monkeypatch.setattr("workbench.training.experiment.in_notebook", lambda: True)
    build_fabric(config)
    build_fabric(build_config())
    build_fabric(build_config(devices=2, accelerator="cpu", strategy="ddp_spawn"))
    assert names == ["ddp_spawn", "ddp", "ddp_notebook", "auto", "ddp_spawn"]
