import pytest
import torch
from small_classifiers import images, linear, network, own_labels
from torch import nn

from workbench.adversarial import pgd
from workbench.adversarial.budgets import against_budgets, contradictions, full_ensemble, transfer
from workbench.adversarial.exact import linear_margins
from workbench.adversarial.robustness import with_budget


class Quantised(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x * 16).round() / 16)


def test_a_linear_model_falls_where_its_margin_is_passed():
    model, x = linear(classes=5, dtype=torch.float32), images(40, low=0.3, high=0.7, dtype=torch.float32)
    y = own_labels(model, x)
    exact = linear_margins(model[1].weight.detach(), model[1].bias.detach(), x, y)
    epsilons = [0.05, 0.1, 0.2]
    rows, signs = against_budgets(model, x, y, epsilons, steps=10, restarts=1, queries=150)
    assert signs == []
    for row, epsilon in zip(rows, epsilons, strict=True):
        assert list(row) == ["epsilon", "clean", "APGD-CE", "APGD-T", "FAB", "Square", "all"]
        assert row["clean"] == 1
        assert row["all"] == pytest.approx(float((exact > epsilon).double().mean()))


def test_a_masked_model_contradicts_itself():
    model = Quantised(network(dtype=torch.float32)).eval()
    x = images(40, dtype=torch.float32)
    y = own_labels(model, x)
    rows, signs = against_budgets(model, x, y, [0.3], steps=5, restarts=1, queries=100)
    assert rows[0]["all"] < 0.8
    assert len(signs) == 1
    assert signs[0].startswith("at 0.3 the attacks by gradients leave")


def test_contradictions_by_hand():
    fine = [{"epsilon": 0.1, "APGD-CE": 0.5, "Square": 0.6}, {"epsilon": 0.2, "APGD-CE": 0.3, "Square": 0.31}]
    assert contradictions(fine) == []
    assert contradictions([]) == []
    rises = [fine[0], fine[1] | {"APGD-CE": 0.55, "Square": 0.6}]
    assert contradictions(rises) == [
        "APGD-CE: accuracy rises from 0.500 at 0.1 to 0.550 at 0.2, expected it to fall with the budget"
    ]
    assert contradictions(rises, tolerance=0.1) == []
    masked = [{"epsilon": 0.1, "APGD-CE": 0.9, "FAB": 0.8, "Square": 0.7}]
    assert contradictions(masked) == [
        "at 0.1 the attacks by gradients leave 0.800 right and the search without them 0.700: the gradients are masked"
    ]


def test_few_classes_have_no_targeted_attack():
    assert "APGD-T" not in full_ensemble(0.1, classes=3)
    assert "APGD-T" in full_ensemble(0.1, classes=4)


def test_transfer_between_models():
    one, two = linear(seed=0), linear(seed=1)
    x = images(60, low=0.3, high=0.7)
    y = own_labels(one, x)
    both = own_labels(two, x) == y
    x, y = x[both], y[both]
    names, shares = transfer({"one": one, "two": two}, x, y, with_budget(pgd, 0.2))
    assert names == ["one", "two"]
    for model, own in ((one, 0), (two, 1)):
        moved = pgd(model, x, y, 0.2)
        assert float(shares[own, 1]) == pytest.approx(float((own_labels(two, moved) == y).double().mean()))
        assert float(shares[own, own]) <= float(shares[1 - own, own])  # an attack on the model itself does most harm


@pytest.mark.bad_input
def test_bad_input_is_named():
    model, x = linear(), images(4)
    with pytest.raises(ValueError, match=r"epsilons is \[0\.2, 0\.1\], expected budgets that rise"):
        against_budgets(model, x, own_labels(model, x), [0.2, 0.1])
    with pytest.raises(ValueError, match="epsilon is 0"):
        against_budgets(model, x, own_labels(model, x), [0, 0.1])
