import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_classifiers import images, linear, own_labels

from workbench.adversarial import margins, pgd
from workbench.adversarial.margins import first_crossing


@given(
    thresholds=st.lists(st.floats(0, 1.2), min_size=1, max_size=8),
    power=st.integers(0, 12),
    gap=st.integers(1, 700),
)
def test_monotone_cases_give_the_first_multiple_of_the_resolution(thresholds, power, gap):
    resolution = 2.0**-power
    threshold = torch.tensor(thresholds, dtype=torch.float64)

    def changed(epsilon, index):
        return epsilon >= threshold[index]

    found = first_crossing(changed, threshold <= 0, resolution=resolution, cap=1.0, bracket=gap * resolution)
    expected = [k if (k := math.ceil(t / resolution) * resolution) <= 1 else math.inf for t in thresholds]
    assert found.tolist() == expected


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 5))
def test_no_attack_within_the_margin_changes_a_linear_models_answer(seed, classes):
    model, x = linear(classes=classes, seed=seed), images(6, seed=seed)
    y = own_labels(model, x)
    if classes == 2:  # then the ray of the sign is the shortest way, so the margin bounds every attack
        bound = margins(model, x, y, no_crossing="inf").clamp(max=1) - 2**-19
        assert torch.equal(own_labels(model, pgd(model, x, y, bound.clamp(min=0), steps=5)), y)
    found = margins(model, x, y, no_crossing="inf")
    coarse = margins(model, x, y, resolution=1 / 64, no_crossing="inf")
    finite = torch.isfinite(coarse)
    assert bool((coarse[finite] >= found[finite]).all())
    assert bool((coarse[finite] - found[finite] < 1 / 64).all())
