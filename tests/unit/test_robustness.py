import sys

import pytest
import torch
from small_classifiers import images, linear, network, own_labels
from torch import nn

from workbench.adversarial import fgsm, margins, pgd
from workbench.adversarial.ensemble import ensemble, library_attack, square_search
from workbench.adversarial.robustness import (
    accuracy_curve,
    masking_signs,
    robustness,
    wilson,
    with_budget,
    withstands,
    worst_case,
)
from workbench.adversarial.tasks import MARGIN_LOSS, confidence_gap


def test_accuracy_under_attack_is_the_share_of_larger_margins():
    """On a linear model of two classes an attack of budget epsilon succeeds where the margin is below epsilon."""
    model, x = linear(classes=2), images(200, low=0.3, high=0.7)
    y = own_labels(model, x)
    y[:20] = 1 - y[:20]  # a tenth is answered wrongly
    found = margins(model, x, y, no_crossing="inf")
    epsilons = [0.0, 0.02, 0.05, 0.1, 0.2]
    rows = accuracy_curve(model, x, y, epsilons, fgsm)
    assert [row["epsilon"] for row in rows] == epsilons
    expected = [float((found > epsilon).double().mean()) for epsilon in epsilons]
    assert [row["share"] for row in rows] == expected
    assert expected[0] == 0.9
    assert expected[-1] < 0.2
    assert robustness(model, x, y, lambda m, a, b: pgd(m, a, b, 0.05), batch_size=7).share == expected[2]
    right = withstands(model, x, y, lambda m, a, b: pgd(m, a, b, 0.05))
    assert torch.equal(right, found > 0.05)


def test_wilsons_interval():
    # worked out by hand: p = 1/2, n = 100, z = 1.959964
    half = wilson(50, 100)
    assert half.share == 0.5
    assert half.low == pytest.approx(0.4038, abs=1e-4)
    assert half.high == pytest.approx(0.5962, abs=1e-4)
    assert wilson(0, 10).low == 0
    assert wilson(10, 10).high == 1
    assert wilson(10, 10).low == pytest.approx(10 / (10 + 1.959964**2))


@pytest.mark.parametrize("name", ensemble(0.1))
def test_own_attacks_stay_within_and_do_harm(name):
    model, x = network(), images(80)
    y = own_labels(model, x)
    epsilon = 0.15
    attack = ensemble(epsilon, steps=10, queries=100)[name]
    moved = attack(model, x, y)
    assert float((moved - x).abs().max()) <= epsilon + 1e-12
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    assert torch.equal(attack(model, x, y), moved)
    right = float((own_labels(model, moved) == y).double().mean())
    noise = x + epsilon * (torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype) * 2 - 1)
    assert right < float((own_labels(model, noise.clamp(0, 1)) == y).double().mean()) - 0.1


def test_a_linear_model_falls_to_every_attack_exactly_where_its_margin_is_passed():
    model, x = linear(classes=5), images(60, low=0.3, high=0.7)
    y = own_labels(model, x)
    logits, weight = model(x).detach(), model[1].weight.detach()
    gaps = logits.gather(1, y[:, None]) - logits
    exact = gaps / (weight[y][:, None] - weight[None]).abs().sum(dim=2)
    exact = exact.scatter(1, y[:, None], torch.inf).amin(dim=1)  # the nearest class of any
    attacks = ensemble(0.15, queries=300)
    restarted, targeted, searched = (own_labels(model, attack(model, x, y)) == y for attack in attacks.values())
    assert torch.equal(targeted, exact > 0.15)
    assert 5 < int(targeted.sum()) < 55
    for other in (restarted, searched):  # no attack does more than the margin allows
        assert not bool((targeted & ~other).any())


class Masked(nn.Module):
    """A model whose gradient says nothing: pixels rounded to sixteenths before it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x * 16).round() / 16)


def test_masked_gradients_show():
    model, x = network(), images(100)
    y = own_labels(model, x)
    masked = Masked(model).eval()
    y = own_labels(masked, x)
    epsilon = 0.3
    found = worst_case(
        masked, x, y, {"PGD": lambda m, a, b: pgd(m, a, b, epsilon), **ensemble(epsilon)}, epsilon=epsilon
    )
    assert found["clean"].share == 1
    assert found["PGD"].share > 0.95  # no gradient, no attack ...
    assert found["square search"].share < 0.7  # ... but the model is no more robust than before
    assert found["all"].share <= min(found[name].share for name in found)
    signs = masking_signs(
        single_step=robustness(masked, x, y, lambda m, a, b: fgsm(m, a, b, epsilon)).share,
        iterated=found["PGD"].share,
        black_box=found["square search"].share,
        unbounded=robustness(masked, x, y, lambda m, a, b: pgd(m, a, b, 1.0)).share,
    )
    assert len(signs) == 2
    assert masking_signs(single_step=0.5, iterated=0.4, black_box=0.6, unbounded=0.0) == []
    assert len(masking_signs(single_step=0.3, iterated=0.4, black_box=0.6, unbounded=0.0)) == 1


def test_the_worst_case_is_right_under_all():
    model, x = linear(classes=2), images(50, low=0.4, high=0.6)
    y = own_labels(model, x)

    def against(label):
        return lambda m, a, b: torch.where((b == label).view(-1, 1, 1, 1), pgd(m, a, b, 0.4), a)

    found = worst_case(model, x, y, {"zeros": against(0), "ones": against(1)}, epsilon=0.4)
    assert found["all"].share == 0
    assert found["zeros"].share + found["ones"].share == pytest.approx(1)


def test_a_librarys_attack_is_evaluated_beside_ours():
    model, x = network(dtype=torch.float32), images(60, dtype=torch.float32)
    y = own_labels(model, x)
    state = torch.get_rng_state()
    attacks = {"PGD": lambda m, a, b: pgd(m, a, b, 0.1), "APGD": library_attack("APGD", 0.1, steps=10)}
    found = worst_case(model, x, y, attacks | ensemble(0.1, steps=10, queries=50), epsilon=0.1)
    assert torch.equal(state, torch.get_rng_state())
    assert abs(found["APGD"].share - found["PGD"].share) <= 0.1
    assert found["all"].share <= found["APGD"].share


@pytest.mark.parametrize("classes", [2, 3])
def test_models_of_few_classes_are_attacked_without_the_targeted_loss(classes):
    model, x = linear(classes=classes), images(20, low=0.3, high=0.7)
    y = own_labels(model, x)
    attacks = ensemble(0.1, queries=10)
    assert torch.equal(attacks["APGD, every target"](model, x, y), library_attack("APGD", 0.1, steps=20)(model, x, y))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_labels_of_any_whole_numbers_attack_alike(dtype):
    model, x = network(), images(20)
    y = own_labels(model, x)
    for name, attack in (ensemble(0.1, steps=5, queries=10) | {"FGSM": with_budget(fgsm, 0.1)}).items():
        assert torch.equal(attack(model, x, y.to(dtype)), attack(model, x, y)), name
    assert torch.equal(pgd(model, x, y.to(dtype), 0.1, targeted=True), pgd(model, x, y, 0.1, targeted=True))
    assert torch.equal(margins(model, x, y.to(dtype)), margins(model, x, y))
    assert torch.equal(confidence_gap(model(x), y.to(dtype)), confidence_gap(model(x), y))
    assert torch.equal(MARGIN_LOSS.losses(model(x), y.to(dtype)), MARGIN_LOSS.losses(model(x), y))
    attacks = {"FGSM": with_budget(fgsm, 0.1)}
    assert worst_case(model, x, y.to(dtype), attacks, epsilon=0.1) == worst_case(model, x, y, attacks, epsilon=0.1)


@pytest.mark.bad_input
def test_bad_input_is_named(monkeypatch):
    model, x = linear(classes=2), images()
    y = own_labels(model, x)
    for attack, message in [
        (lambda m, a, b: a + 2, r"expected \[0, 1\]"),
        (lambda m, a, b: a[:3], r"the attack gave shape \(3, 1, 4, 4\), expected \(12, 1, 4, 4\)"),
        (lambda m, a, b: a * torch.nan, "NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            robustness(model, x, y, attack)
    far = {"far": lambda m, a, b: pgd(m, a, b, 0.5)}
    with pytest.raises(ValueError, match=r"attack 'far' goes 0\.5 far, expected at most 0\.1"):
        worst_case(model, x, y, far, epsilon=0.1)
    with pytest.raises(ValueError, match="epsilon is -1"):
        accuracy_curve(model, x, y, [-1], fgsm)
    with pytest.raises(ValueError, match="right is 3, expected 0 to 2"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="samples is 0"):
        robustness(model, x[:0], y[:0])
    with pytest.raises(ValueError, match="name is 'Boundary', expected one of 'AutoAttack'"):
        library_attack("Boundary", 0.1)
    with pytest.raises(ValueError, match="share is 0"):
        square_search(model, x, y, 0.1, share=0)
    with pytest.raises(TypeError, match="model is a function, expected a module"):
        library_attack("APGD", 0.1)(lambda images: model(images), x, y)
    with pytest.raises(ValueError, match="AutoAttack wants 4 classes or more, the model has 2"):
        library_attack("AutoAttack", 0.1)(model, x, y)
    with pytest.raises(TypeError, match=r"y is torch\.float64, expected a tensor of whole numbers"):
        library_attack("APGD", 0.1)(model, x, y.double())
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    with pytest.raises(ImportError, match="extra 'adversarial'"):
        library_attack("AutoAttack", 0.1)
