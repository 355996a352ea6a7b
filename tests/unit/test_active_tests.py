import pytest
import torch
from small_classifiers import images, linear, network
from torch import nn

from workbench.adversarial import counting, fgsm, pgd
from workbench.adversarial.active_tests import active_test, active_tests, build_twin
from workbench.adversarial.ensemble import ensemble, square_search
from workbench.adversarial.robustness import with_budget
from workbench.models import build_model

EPSILON = 0.15


class Quantised(nn.Module):
    """A model whose input is rounded, so that its gradient is zero."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x * 16).round() / 16)


class Sure(nn.Module):
    """A model with logits so far apart that the cross-entropy's gradient underflows to zero."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x) * 1e6


def test_every_attack_finds_what_certainly_exists():
    model, x = network(dtype=torch.float32), images(12, dtype=torch.float32)
    attacks = ensemble(EPSILON, steps=10, restarts=1, queries=150) | {
        "FGSM": with_budget(fgsm, EPSILON),
        "PGD": with_budget(pgd, EPSILON),
    }
    tests, faults = active_tests({"network": model}, x, attacks, epsilon=EPSILON)
    assert faults == []
    for test in tests.values():
        assert test.passed
        assert test.twins >= 10
        assert test.random < 0.3  # the test is no gift


def test_masked_models_are_caught_by_name():
    model, x = network(dtype=torch.float32), images(12, dtype=torch.float32)
    models = {"plain": model, "quantised": Quantised(model).eval(), "tiny gradients": Sure(model).eval()}
    attacks = {"PGD": with_budget(pgd, EPSILON), "square search": with_budget(square_search, EPSILON)}
    tests, faults = active_tests(models, x, attacks, epsilon=EPSILON)
    assert {names for names, test in tests.items() if not test.passed} == {
        ("quantised", "PGD"),
        ("tiny gradients", "PGD"),
    }
    assert len(faults) == 2
    for name, fault in zip(("quantised", "tiny gradients"), faults, strict=True):
        assert f"model {name!r}" in fault
        assert "attack 'PGD'" in fault


def test_an_attack_that_does_nothing_or_too_much_shows():
    model, x = linear(), images(6)
    still = active_test(model, x, lambda m, a, b: a, epsilon=EPSILON)
    assert still.found == 0
    assert not still.passed
    with pytest.raises(ValueError, match=r"the attack goes 0\.3 far, expected at most 0\.15"):
        active_test(model, images(6, low=0.4, high=0.6), with_budget(fgsm, 0.3), epsilon=EPSILON)


def test_a_twin_holds_its_promise():
    """The image is right and as sure as the model; inner points are right; a corner of the ball is wrong."""
    model, x = network(), images(1, low=0.3, high=0.7)
    twin = build_twin(model, x, EPSILON, generator=torch.Generator().manual_seed(3))
    logits, own = twin(x), model(x).detach().sort(descending=True).values
    assert logits.argmax() == 0
    logits = logits.detach()
    assert float(logits[0, 0] - logits[0, 1]) == pytest.approx(float(own[0, 0] - own[0, 1]))
    draw = torch.empty(65, 1, 4, 4, dtype=x.dtype).uniform_(-1, 1, generator=torch.Generator().manual_seed(3))
    assert bool((twin(x + EPSILON * 0.5 * draw[1:]).argmax(dim=1) == 0).all())
    assert int(twin(x + EPSILON * draw[:1].sign()).argmax()) == 1


def test_a_constant_model_has_no_twin():
    tests, faults = active_tests(
        {"constant": linear(scale=0.0)}, images(3), {"PGD": with_budget(pgd, EPSILON)}, epsilon=EPSILON
    )
    assert tests["constant", "PGD"].twins == 0
    assert faults == ["model 'constant' has no twin at any of 3 images: attack 'PGD' is not tested"]


def test_counters_have_twins_too():
    torch.manual_seed(0)
    model, x = build_model("compact").eval(), torch.rand(4, 3, 32, 32)
    attacks = {name: with_budget(pgd, 0.03, task=counting(name)) for name in ("error", "over")}
    attacks["under"] = with_budget(pgd, 0.03, task=counting("under"))
    tests, _ = active_tests({"compact": model}, x, attacks, epsilon=0.03, counts=True)
    assert tests["compact", "error"].passed
    assert tests["compact", "over"].passed
    assert tests["compact", "under"].found == 0  # it looks on the other side


@pytest.mark.bad_input
def test_bad_input_is_named():
    model, x = linear(), images(2)
    for options, message in [
        ({"reach": 1}, "reach is 1"),
        ({"hardness": 0}, "hardness is 0"),
        ({"inner": 1}, "inner is 1"),
        ({"epsilon": 0}, "epsilon is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            active_test(model, x, with_budget(pgd, 0.1), **{"epsilon": 0.1, **options})
    with pytest.raises(ValueError, match="x has 2 images, expected one"):
        build_twin(model, x, 0.1)
