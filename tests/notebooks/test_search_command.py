"""``workbench sweep --search optuna``, with trainings in processes of their own."""

import json

import pytest
from sweeping import Place

pytestmark = pytest.mark.pipeline

GRID = """\
run: train
fixed: {model: compact, epochs: 2, crop: 32, accelerator: cpu, dataset_options: {preset: small, length: 8}}
search: {learning_rate: {low: 1.0e-5, high: 1.0e-1, log: true}}
grid: {loss: [l2, bayesian]}
"""


def test_trainings_are_searched(tmp_path):
    place = Place(tmp_path)
    (tmp_path / "grid.yaml").write_text(GRID)
    options = ("--search", "optuna", "--workers", 1, "--json")
    code, stdout, stderr = place.sweep(tmp_path / "grid.yaml", "--trials", 2, *options)
    assert code == 0, stderr
    found = json.loads(stdout)
    assert found["trials"] == 2
    assert found["parameters"].keys() == {"learning_rate", "loss"}
    (best,) = place.out.glob(f"cells/{found['cell']}/result")
    assert json.loads((best / "record.json").read_text())["metrics"]["val_mae"] == found["value"]
    assert len((best / "history.jsonl").read_text().splitlines()) == 2
    assert list((best / "tensorboard").iterdir())
