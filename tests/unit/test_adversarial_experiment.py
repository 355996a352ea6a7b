import math

import pytest
import torch

from workbench.adversarial import margins, pgd
from workbench.adversarial.experiment import (
    ARMS,
    AdversarialConfig,
    adversarial_config,
    as_inputs,
    crop_flip,
    open_arm,
    run_arm,
    whole,
)
from workbench.adversarial.robustness import robustness, with_budget
from workbench.adversarial.training import Recipe
from workbench.models.classifiers import build_classifier
from workbench.reports.published import read_published

SHORT = {"epochs": 2, "model_options": {"width": 0.25}, "attack_steps": 3, "epsilons": (0.1,), "validate_at": 0.1}


@pytest.mark.pipeline
def test_a_run_leaves_its_record_and_weights_and_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.runs.once.source_digest", lambda _: "this code")
    recipe = {"steps": 2, "warmup": 1, **ARMS["Adversarial Training + LA-Batch"]}
    config = adversarial_config("digits", recipe=recipe, **SHORT)
    told = []
    record, folder = run_arm(config, tmp_path, on_epoch=told.append)
    assert [row["epoch"] for row in told] == [1, 2]
    assert set(record.metrics) == {"clean", "fgsm@0.1", "pgd@0.1", "val_clean", "val_pgd", "epsilon"}
    assert record.metrics["epsilon"] == told[1]["epsilon"]  # of the adversarial epoch alone
    model = open_arm(folder)
    x, y = as_inputs(*whole(config, "test"))
    assert robustness(model, x, y).share == record.metrics["clean"]
    assert robustness(model, x, y, with_budget(pgd, 0.1, steps=3)).share == record.metrics["pgd@0.1"]
    assert not (folder / "checkpoint.pt").exists()
    again, same = run_arm(config, tmp_path, on_epoch=told.append)
    assert same == folder
    assert again == record
    assert len(told) == 2
    elsewhere, _ = run_arm(config, tmp_path / "other")
    assert elsewhere.metrics == record.metrics  # one seed fixes everything
    assert elsewhere.history == record.history


def test_the_papers_protocol():
    for dataset in ("cifar10", "stl10"):
        config = adversarial_config(dataset, root="there", recipe=ARMS["Adversarial Training + LADA"])
        recipe = Recipe(**config.recipe)
        assert recipe.epsilon == pytest.approx(8 / 255)
        assert recipe.step_size == pytest.approx(2 / 255)
        assert (recipe.steps, recipe.random_start, recipe.lada, recipe.ladp) == (7, True, True, False)
        assert recipe.limits == pytest.approx((16 / 765, 32 / 765))
        assert 16 / 255 in config.epsilons
        model = build_classifier(config.model, **config.model_options)
        statistics = {"cifar10": 0.4914, "stl10": 0.4467}
        assert float(model.mean[0]) == pytest.approx(statistics[dataset])
    # 80,000 steps of 128 pictures of the 45,000 that are left for training
    assert config.epochs == 205
    assert Recipe(**adversarial_config("digits", recipe=ARMS["Natural Training"]).recipe).epsilon is None


def test_cropping_keeps_every_pixel_in_its_row_order_and_flips_half():
    size = 10
    ramp = torch.arange(1, size * size + 1.0).view(1, 1, size, size) / (size * size)
    batch = ramp.expand(400, 2, size, size)
    moved = crop_flip(batch, torch.Generator().manual_seed(0))
    assert moved.shape == batch.shape
    assert float(moved.max()) <= 1
    assert torch.equal(moved[:, 0], moved[:, 1])  # channels together
    centre = moved[:, 0, 4:6, 4:6]  # inside the image wherever the window lies
    across = centre[:, :, 1] - centre[:, :, 0]
    assert torch.allclose(across.abs(), torch.tensor(1 / (size * size)), atol=1e-6)
    assert torch.allclose(centre[:, 1] - centre[:, 0], torch.tensor(1 / size), atol=1e-6)
    assert 0.4 < float((across[:, 0] < 0).float().mean()) < 0.6
    shifts = {round(float(value) * size * size) for value in moved[:, 0, 4, 4]}
    assert len(shifts) > 60  # nine by nine windows


def test_validation_and_test_parts_are_apart():
    config = AdversarialConfig()
    parts = [whole(config, split)[0] for split in ("train", "val", "test")]
    rows = [{tuple(image.flatten().tolist()) for image in part} for part in parts]
    assert not rows[0] & rows[1]
    assert not rows[1] & rows[2]
    assert not rows[0] & rows[2]
    assert len(parts[1]) == pytest.approx(0.2 * (len(parts[0]) + len(parts[1])), abs=10)


@pytest.mark.pipeline
def test_adversarial_training_enlarges_margins_on_digits(tmp_path):
    """The paper's Fig. 10, in seconds: an attack in training leaves larger margins on unseen digits."""
    options = {**SHORT, "epochs": 6, "model_options": {"width": 0.5}}
    found = {}
    for name in ("Natural Training", "Adversarial Training"):
        config = adversarial_config("digits", recipe={"steps": 3, **ARMS[name]}, **options)
        record, folder = run_arm(config, tmp_path)
        x, y = as_inputs(*whole(config, "test"))
        found[name] = (record.metrics, float(margins(open_arm(folder), x, y, resolution=1 / 256, cap=0.5).mean()))
    natural, trained = found.values()
    assert natural[0]["clean"] > 0.9
    assert trained[0]["pgd@0.1"] > natural[0]["pgd@0.1"] + 0.1
    assert trained[1] > 1.2 * natural[1]


@pytest.mark.parametrize(
    ("table", "method", "metric", "value", "spread"),
    [  # typed by hand from the paper, a second reading
        ("9", "Pixel Deflection", "PGD-16/255 accuracy", 0.052, None),
        ("9", "Adversarial Training + LADP", "FGSM-8/255 accuracy", 0.455, 0.017),
        ("9", "Adversarial Training + LA-Batch", "PGD-16/255 accuracy", 0.549, 0.001),
        ("10", "Random Padding Resizing", "clean accuracy", 0.894, None),
        ("10", "Adversarial Training + LA-Batch", "FGSM-8/255 accuracy", 0.614, 0.010),
    ],
)
def test_printed_accuracies(table, method, metric, value, spread):
    rows = read_published("locality_aware", table)
    (row,) = rows[(rows["method"] == method) & (rows["metric"] == metric)].to_dict("records")
    assert row["value"] == value
    assert math.isnan(row["spread"]) if spread is None else row["spread"] == spread


@pytest.mark.bad_input
def test_bad_options_are_named():
    for options, message in [
        ({"dataset": "mnist"}, "dataset is 'mnist', expected one of digits, cifar10, stl10"),
        ({"dataset": "digits", "recipe": {"radius": 0.1}}, "recipe has no option 'radius', expected one of epsilon"),
        ({"dataset": "digits", "recipe": {"epsilon": -1.0}}, "epsilon is -1.0"),
        ({"dataset": "digits", "epochs": 0}, "epochs is 0"),
        ({"dataset": "digits", "speed": 0}, "configuration: speed is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            adversarial_config(**options)
