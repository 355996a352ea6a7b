import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from workbench.adversarial import counting, margins
from workbench.adversarial.counters import counted, people_against_epsilon
from workbench.losses import build_loss
from workbench.plots.adversarial import (
    show_accuracy,
    show_attacked,
    show_epsilons,
    show_margins,
    show_people,
)
from workbench.plots.locality import show_occupancy

matplotlib.use("Agg")


class Brightness(nn.Module):
    """Half the brightness of each pixel, in people."""

    def forward(self, x):
        return x.mean(dim=1, keepdim=True) / 2


def crowd(*numbers):
    return [torch.full((number, 2), 2.0) for number in numbers]


def test_people_by_hand(monkeypatch):
    model, x = Brightness().eval(), torch.full((2, 3, 8, 8), 0.5)
    assert counted(model, x).tolist() == [16, 16]
    zero, row, wide = people_against_epsilon(model, x, crowd(16, 10), [0.0, 0.1, 0.9], steps=3)
    assert zero == pytest.approx({"epsilon": 0, "more": 0, "fewer": 0, "error": 3, "per_epsilon": 0})
    # 64 pixels, each half a person's worth: 32 people for a change of 1
    assert row == pytest.approx(
        {"epsilon": 0.1, "more": 3.2, "fewer": 3.2, "error": (3.2 + 9.2) / 2, "per_epsilon": 32}, abs=1e-4
    )
    assert wide["more"] == pytest.approx(16)  # no pixel goes beyond 1
    monkeypatch.setattr("workbench.adversarial.counters.BATCH", 1)
    assert people_against_epsilon(model, x, crowd(16, 10), [0.1], steps=3)[0] == pytest.approx(row)


def test_a_margin_of_a_counter_is_where_the_error_passes_the_tolerance():
    model, x = Brightness().eval(), torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64)
    # 16 counted, 14 there: wrong by 1/7, and by a half at 21, five people and 5/32 further
    found = margins(model, x, crowd(14), task=counting("error", tolerance=0.5))
    assert float(found) == pytest.approx(5 / 32, abs=2e-6)


def test_an_attack_through_a_loss_of_the_workbench_raises_it():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(4, 1, 1), nn.Softplus()).eval()
    x, points = torch.rand(2, 3, 16, 16), crowd(3, 0)
    loss = build_loss("l2", stride=2)
    from workbench.adversarial import pgd

    moved = pgd(model, x, points, 0.05, task=counting(loss))
    with torch.no_grad():
        assert float(loss(model(moved), points)) > 1.03 * float(loss(model(x), points))
    assert counting(loss).losses(model(x), points).mean().item() == pytest.approx(loss(model(x), points).item())


@pytest.mark.bad_input
def test_bad_input_is_named():
    model, x = Brightness().eval(), torch.full((2, 3, 8, 8), 0.5)
    with pytest.raises(ValueError, match="y has 1 entries, expected 2"):
        people_against_epsilon(model, x, crowd(1), [0.1])
    with pytest.raises(ValueError, match=r"epsilon is -0\.1"):
        people_against_epsilon(model, x, crowd(1, 2), [-0.1])
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        people_against_epsilon(model, x * 3, crowd(1, 2), [0.1])


def test_figures_are_labelled():
    figure = Figure()
    axes = figure.subplots(2, 4).flat
    rows = [{"epsilon": e, "share": 0.9 - e, "low": 0.8 - e, "high": 1 - e} for e in (0.0, 0.1)]
    assert show_accuracy(axes[0], {"one": rows}).get_ylabel() == "accuracy"
    ax = show_margins(axes[1], {"before": np.array([0.1, 0.7]), "after": torch.tensor([0.2, 0.3])}, epsilon=0.15)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "before (median 0.300)",
        "after (median 0.250)",
    ]
    assert ax.get_xlabel() == "margin (largest change of a pixel)"
    drawn = show_occupancy(axes[2], np.array([[3, 0], [1, 2]]), ylabel="group (by margin)")
    assert drawn.get_array().mask.tolist() == [[False, True], [False, False]]
    history = [
        {"epoch": 1, "epsilon": 0.0, "epsilon_spread": 0.0},
        {"epoch": 2, "epsilon": 0.1, "epsilon_spread": 0.01},
    ]
    assert list(show_epsilons(axes[3], {"LADA": history}).lines[0].get_xdata()) == [2]
    people = [{"epsilon": 0.0, "more": 0.0, "fewer": 0.0}, {"epsilon": 0.1, "more": 2.0, "fewer": 3.0}]
    assert list(show_people(axes[4], {"counter": people}).lines[1].get_ydata()) == [0, -3]
    digits = torch.rand(2, 1, 8, 8)
    show_attacked(axes[5:7], digits, torch.tensor([1, 2]), torch.tensor([1, 5]))
    assert [axes[5].get_title(), axes[6].get_title()] == ["1 → 1", "2 → 5 ✗"]
