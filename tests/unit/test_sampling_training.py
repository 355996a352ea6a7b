"""Samplers within training: what they learn from it, exact resumption, two processes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.sampling import SAMPLERS
from workbench.training.experiment import build_config, run_experiment

pytestmark = pytest.mark.pipeline

CONFIG = {
    "dataset_options": {"preset": "imbalanced", "length": 8, "validation": 0.25},
    "model": "mcnn",
    "model_options": {"width": 0.125, "norm": "group"},
    "crop": 32,
    "per_image": 4,
    "batch_size": 12,
    "epochs": 3,
    "accelerator": "cpu",
    "checkpoint_steps": 1,
}


class Stop(Exception):
    """Somebody pulls the plug."""


def train(folder, *, stop_at=None, **changes):
    made = 0

    def on_step(step):
        nonlocal made
        made += 1
        if made == stop_at:
            raise Stop

    record = run_experiment(build_config(**(CONFIG | changes)), folder, on_step=on_step)
    return record, torch.load(folder / "weights.pt", weights_only=True)["model"]


@pytest.mark.parametrize("name", ["adaptive", "la_batch"])
def test_a_stopped_run_ends_as_one_that_was_not(tmp_path, name):
    record, weights = train(tmp_path / "whole", sampler=name)
    for stop_at, workers in ((2, 0), (5, 2)):
        folder = tmp_path / f"stopped{stop_at}"
        with pytest.raises(Stop):
            train(folder, sampler=name, workers=workers, stop_at=stop_at)
        again, resumed = train(folder, sampler=name, workers=workers)
        assert again.history == record.history
        assert all(torch.equal(resumed[key], weights[key]) for key in weights)


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"la_batch", "adaptive"}))
def test_every_strategy_trains(tmp_path, name):
    record, _ = train(tmp_path, sampler=name, epochs=1)
    assert np.isfinite(record.history[0]["loss"])
    assert ("bins_filled" in record.metrics) == (name == "ladp")


def test_the_sampler_learns_what_the_model_counts(tmp_path, monkeypatch):
    """Each observation is the batch's own people and the model's own sums."""
    from workbench.sampling.zoom import LADABatches

    heard = []

    def observe(self, step, truth, predicted):
        heard.append((step, len(self.batches[step]), truth, predicted))

    monkeypatch.setattr(LADABatches, "observe", observe)
    train(tmp_path, sampler="lada", epochs=1)
    assert [step for step, *_ in heard] == [0, 1, 2]
    assert [len(truth) for _, _, truth, _ in heard] == [size for _, size, *_ in heard] == [12, 12, 8]
    assert sum(truth.sum() for _, _, truth, _ in heard) == sum(truth.round().sum() for _, _, truth, _ in heard) > 0
    assert all(np.isfinite(predicted).all() and (predicted >= 0).all() for *_, predicted in heard)


@pytest.mark.bad_input
def test_samplers_that_need_fixed_patches_say_so(tmp_path):
    with pytest.raises(
        ValueError, match=r"'lada' needs the same patches in every epoch, found TrainingPatches.*per_im"
    ):
        train(tmp_path, sampler="lada", per_image=None)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """The same weights and the same zooms in both processes, and those of one process that sees whole batches."""
    script = Path(__file__).parents[1] / "two_processes.py"
    results = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        subprocess.run([sys.executable, str(script), str(processes), str(folder)], check=True, timeout=300)
        results.append([torch.load(path, weights_only=True) for path in sorted(folder.glob("rank*.pt"))])
    (alone,), (first, second) = results
    assert torch.equal(first["zooms"], second["zooms"])
    assert all(torch.equal(first["model"][key], second["model"][key]) for key in first["model"])
    assert first["shown"] + second["shown"] == alone["shown"]
    # shares of one size: the mean of the shares' gradients is the batch's
    assert torch.allclose(first["zooms"], alone["zooms"], atol=1e-3)
    assert (alone["zooms"] != 1).sum() > 3
    for key, value in alone["model"].items():
        assert torch.allclose(first["model"][key], value, atol=1e-3)
