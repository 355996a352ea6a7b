import json
import math

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from workbench.adversarial.card import doubts, robustness_card
from workbench.adversarial.corruptions import CORRUPTIONS, corrupt
from workbench.adversarial.counters import counted
from workbench.commands.cli import app
from workbench.commands.robustness import affordable
from workbench.data import open_dataset
from workbench.models import build_model
from workbench.training.experiment import build_config, save_weights


class Brightness(nn.Module):
    """Half the brightness of each pixel, in people."""

    def forward(self, x):
        return x.mean(dim=1, keepdim=True) / 2


class Quantised(nn.Module):
    def forward(self, x):
        return Brightness()((x * 8).round() / 8)


def crowd(*numbers):
    return [torch.full((number, 2), 2.0) for number in numbers]


def pictures(count=2, side=32):
    return 0.2 + 0.6 * torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


QUICK = {"steps": 3, "queries": 40, "tested": 1}


@pytest.fixture(scope="module")
def card():
    return robustness_card(Brightness().eval(), pictures(), crowd(250, 260), **QUICK)


def test_the_figures_of_a_linear_counter_are_those_by_hand(card):
    """512 people per unit of brightness: budgets give people."""
    model, x = Brightness().eval(), pictures()
    truth = torch.tensor([250.0, 260.0])
    assert card["people"] == 255
    assert card["clean"]["mae"] == pytest.approx(float((counted(model, x) - truth).abs().mean()))
    for row in card["linf"]:
        assert row["more"] == pytest.approx(512 * row["epsilon"], rel=1e-4)
        assert row["fewer"] == pytest.approx(512 * row["epsilon"], rel=1e-4)
    for row in card["l2"]:  # the way with the longest sum in the ball: all pixels alike
        assert row["more"] == pytest.approx(row["epsilon"] * math.sqrt(3 * 32**2) / 6, rel=1e-3)
    by_budget = {row["epsilon"]: row for row in card["linf"]}
    for row in card["search"]:
        assert 0 < row["more"] <= by_budget[row["epsilon"]]["more"] + 1e-3
    small, large = card["patch"]
    assert (small["side"], large["side"]) == (4, 8)
    assert small["more"] < large["more"] <= 64 * 0.8 / 2
    assert card["margin"]["per_person"] == pytest.approx(1 / 512, rel=1e-4)
    assert card["margin"]["pgd"] <= card["margin"]["algorithm"]
    assert card["tests"]["PGD"] == 1
    assert json.loads(json.dumps(card, allow_nan=False)) == card


def test_more_heads_that_are_missing_raise_the_measured_error():
    card = robustness_card(Brightness().eval(), torch.full((2, 3, 32, 32), 0.5), crowd(256, 256), **QUICK)
    errors = [row["mae"] for row in card["annotations"]]
    assert errors == sorted(errors)
    assert errors[1] == pytest.approx(25.6, abs=10)  # a tenth of the heads
    assert card["clean"] == {"mae": 0, "bias": 0}


def test_certified_errors_are_those_of_the_intervals(card):
    one, eight, sixteen = card["certified"]
    assert one["mae"] == eight["mae"] == sixteen["mae"]
    assert one["error"] >= one["mae"]
    # 32 px have 16 cells of which one is shown; a patch of 16 px touches 9 of them, more than half
    assert sixteen["bounded"] == 0
    assert sixteen["error"] is None


def test_a_masked_counter_is_named():
    card = robustness_card(Quantised().eval(), pictures(1), crowd(250), **QUICK)
    assert card["tests"]["PGD"] == 0
    assert any("attack 'PGD' finds 0 of the 1" in text for text in card["warnings"])


def test_doubts_by_hand():
    white = [{"epsilon": 0.1, "error": 5.0}, {"epsilon": 0.2, "error": 8.0}]
    assert doubts(white, [{"epsilon": 0.2, "error": 7.0}], people=10) == []
    assert doubts(white, [{"epsilon": 0.2, "error": 9.0}], people=10) == [
        "at 0.2 the search without gradients reaches an error of 9, PGD 8: the gradients are masked"
    ]
    falls = [white[0], {"epsilon": 0.2, "error": 4.0}]
    assert doubts(falls, [], people=10) == [
        "the error under PGD falls from 5 to 4 where the budget rises to 0.2",
    ]
    assert doubts(falls, [], people=60) == []


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corruptions_grow_with_their_severity_and_repeat_themselves(kind):
    data = open_dataset("scenes", split="test", preset="small", length=2)
    x = torch.stack([data[index].image for index in range(2)])
    changes = []
    for severity in range(1, 6):
        changed = corrupt(x, kind, severity, seed=1)
        assert changed.shape == x.shape
        assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
        assert torch.equal(changed, corrupt(x, kind, severity, seed=1))
        changes.append(float((changed - x).square().mean()))
    assert changes[0] > 1e-4
    if kind != "fog":  # a thinner fog can be brighter
        assert changes[0] < changes[2] < changes[4]


def test_less_is_seen_through_thicker_fog():
    x = torch.full((1, 3, 32, 32), 0.3)
    x[..., 0, 0] = 0.8  # the brightest pixel
    darker = x.clone()
    darker[..., 8:16, 8:16] = 0.1
    for severity, thick in zip(range(1, 6), (1.5, 2.0, 2.5, 2.5, 3.0), strict=True):
        seen = (corrupt(x, "fog", severity) - corrupt(darker, "fog", severity))[..., 8:16, 8:16]
        assert torch.allclose(seen, torch.tensor(0.2 * 0.8 / (0.8 + thick)), atol=1e-6)


def test_what_the_corruptions_do():
    grey = torch.full((1, 3, 24, 24), 0.4)
    assert torch.allclose(corrupt(grey, "brightness", 2), torch.tensor(0.6), atol=1e-6)
    assert torch.allclose(corrupt(grey, "blur", 5), grey, atol=1e-6)
    noise = corrupt(grey, "noise", 1, seed=3) - grey
    assert float(noise.std()) == pytest.approx(0.08, abs=0.005)
    spot = torch.zeros(1, 3, 25, 25)
    spot[..., 12, 12] = 1
    assert float(corrupt(spot, "blur", 1)[0, 0, 12, 12]) == pytest.approx(1 / (2 * math.pi), rel=0.01)
    assert float(corrupt(grey, "fog", 3).mean()) != pytest.approx(0.4, abs=1e-3)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    config = build_config(
        dataset="scenes",
        dataset_options={"preset": "small", "length": 8, "validation": 0.25},
        model="compact",
        model_options={"width": 0.25},
    )
    save_weights(build_model("compact", width=0.25), config, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.mark.pipeline
def test_one_command_prints_the_card(weights):
    options = ["--images", "2", "--side", "48", "--steps", "2", "--queries", "10"]
    found = CliRunner().invoke(app, ["robustness", str(weights), *options, "--json"])
    assert found.exit_code == 0, found.output
    card = json.loads(found.stdout)
    assert (card["dataset"], card["split"], card["images"], card["size"]) == ("scenes", "test", 2, [48, 48])
    page = CliRunner().invoke(app, ["robustness", str(weights), *options]).stdout.splitlines()
    assert len(page) < 60  # one page
    assert max(map(len, page[:30])) <= 120
    assert page[0].startswith("scenes test, 2 images of 48 x 48 pixels")
    for word in (
        "PGD, L-infinity",
        "search without gradients",
        "patch",
        "jpeg",
        "fog",
        "under ablation",
        "active tests",
    ):
        assert any(word in line for line in page), word
    wrong = CliRunner().invoke(app, ["robustness", str(weights), "--side", "999"])
    assert wrong.exit_code == 2
    assert "--side is 999, expected at most 128" in wrong.stderr


def test_the_number_of_images_follows_the_models_speed():
    assert affordable(build_model("compact", width=0.25), 32) == 8
    assert affordable(build_model("compact", width=0.25), 32, seconds=1e-9) == 2


@pytest.mark.bad_input
def test_bad_input_is_named():
    x = pictures(1)
    with pytest.raises(ValueError, match="kind is 'snow', expected one of 'noise'"):
        corrupt(x, "snow", 1)
    with pytest.raises(ValueError, match="severity is 6, expected 1 to 5"):
        corrupt(x, "fog", 6)
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        corrupt(x + 1, "fog", 1)
    with pytest.raises(ValueError, match="y has 2 entries, expected 1"):
        robustness_card(Brightness(), x, crowd(1, 2))
