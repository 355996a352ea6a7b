"""What a run that learns nothing is warned of."""

import pytest

from workbench.models import CountingModel
from workbench.training.experiment import build_config, run_experiment
from workbench.training.health import PATIENCE, Trivial, complaints

TRIVIAL = Trivial(mae=10.0, people=20.0)


def history(*rows):
    return [{"epoch": k + 1, "val_mae": mae, "val_bias": bias} for k, (mae, bias) in enumerate(rows)]


def test_a_run_that_learns_is_left_alone():
    assert complaints(history((15.0, 5.0), (12.0, 4.0)), TRIVIAL) == []
    assert complaints(history((15.0, 5.0), (12.0, 4.0), (9.9, 3.0)), TRIVIAL) == []
    assert complaints(history((9.0, 5.0), (12.0, 4.0), (12.0, 3.0)), TRIVIAL) == []


def test_a_run_that_is_no_better_than_the_mean_at_its_third_epoch():
    (found,) = complaints(history((15.0, 5.0), (12.0, 4.0), (10.0, 3.0)), TRIVIAL)
    assert found.startswith(f"epoch {PATIENCE}: no epoch has beaten predicting the mean count (best val_mae 10")


def test_a_map_that_is_zero_nearly_everywhere():
    (found,) = complaints(history((9.0, -19.5)), TRIVIAL)
    assert "zero nearly everywhere (0.5 people counted in an image, 20.0 annotated)" in found
    assert complaints(history((9.0, -18.9)), TRIVIAL) == []
    assert complaints(history((0.0, 0.0)), Trivial(0.0, 0.0)) == []  # nobody anywhere: an empty map is right


@pytest.mark.pipeline
def test_a_dead_network_is_said_to_be_dead(tmp_path, monkeypatch):
    """A ReLU head that is below zero everywhere has no gradient; history and record say so."""
    monkeypatch.setattr(CountingModel, "calibrate", lambda model, mean: model.head.bias.data.fill_(-1e6))
    config = build_config(
        dataset_options={"preset": "small", "length": 8, "validation": 0.25},
        model="compact",
        model_options={"width": 0.25, "activation": "relu"},
        crop=64,
        epochs=3,
        accelerator="cpu",
    )
    rows = []
    record = run_experiment(config, tmp_path, on_epoch=rows.append)
    assert ["warning" in row for row in rows] == [True, True, True]
    assert "zero nearly everywhere" in rows[0]["warning"]
    assert "no epoch has beaten" in rows[-1]["warning"]
    assert record.warnings == [row["warning"] for row in record.history]
