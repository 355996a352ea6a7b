"""A loss, a model and a data set of a user, each in a file of its own, trained in a sweep and by notebook 500."""

import os
import subprocess
import sys

import pytest

from workbench.runs.record import read_record

LOSS = """
from torch.nn.functional import huber_loss
from workbench.losses import CrowdLoss, register_loss

class Huber(CrowdLoss):
    def image_terms(self, density, points, weights):
        return {"huber": huber_loss(density.sum(), weights.sum())}

register_loss("own_huber", Huber)
"""
MODEL = """
from torch import nn
from workbench.models import CountingModel, register_model

class Tiny(CountingModel):
    def __init__(self):  # neither width nor norm
        super().__init__(stride=8, activation="abs")
        self.head = nn.Conv2d(3, 1, 8, stride=8)

    def features_to_map(self, images):
        return self.head(images)

register_model("own_tiny", Tiny)
"""
DATASET = """
import torch
from workbench.data import CrowdDataset, CrowdSample, register_dataset

class Dots(CrowdDataset):
    def __init__(self, *, split="train"):
        super().__init__()
        self.numbers = {"train": range(8), "val": range(8, 12), "test": range(12, 18)}[split]

    @property
    def names(self):
        return [str(number) for number in self.numbers]

    def points(self, index):
        number = self.numbers[index]
        return torch.rand(1 + number % 5, 2, generator=torch.Generator().manual_seed(number)) * 64

    def __getitem__(self, index):
        points = self.points(index)
        image = torch.zeros(3, 64, 64)
        image[:, points[:, 1].long(), points[:, 0].long()] = 1
        return CrowdSample(image, points, self.names[index])

register_dataset("own_dots", Dots)
"""


@pytest.fixture
def sweep(tmp_path):
    files = []
    for name, source in (("own_loss", LOSS), ("own_model", MODEL), ("own_dataset", DATASET)):
        files.append(tmp_path / f"{name}.py")
        files[-1].write_text(source)

    def run(grid):
        (tmp_path / "grid.yaml").write_text(grid)
        command = [sys.executable, "-m", "workbench.commands.cli", "sweep", "grid.yaml", "--out", "out"]
        environment = os.environ | {
            "WORKBENCH_EXTENSIONS": os.pathsep.join(map(str, files)),
            "WORKBENCH_RUNS": str(tmp_path / "runs"),
        }
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (record,) = (tmp_path / "out" / "cells").glob("*/result/record.json")
        return read_record(record)

    return run


def test_ones_own_in_a_sweep(sweep):
    record = sweep(
        "run: train\n"
        "fixed: {dataset: own_dots, crop: 64, epochs: 1, accelerator: cpu}\n"
        "grid:\n  model: [own_tiny]\n  loss: [own_huber]\n"
    )
    assert {key: record.config[key] for key in ("dataset", "model", "loss")} == {
        "dataset": "own_dots",
        "model": "own_tiny",
        "loss": "own_huber",
    }
    assert record.metrics["mae"] > 0


@pytest.mark.notebook
def test_ones_own_in_notebook_500(sweep):
    record = sweep(
        "run: 500_benchmark\npreset: smoke\nfixed: {dataset: own_dots}\n"
        "grid:\n  model: [own_tiny]\n  loss: [own_huber]\n"
    )
    assert (record.config["model"], record.config["loss"]) == ("own_tiny", "own_huber")
    assert record.metrics["mae"] > 0
