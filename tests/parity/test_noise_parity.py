import pytest
import torch
from point_losses_golden import arguments, difference, gradient
from related_golden import RELATED, cases

from workbench.losses import build_loss
from workbench.losses.base import batched

CASES = cases("noisecc")


def golden(case, key):
    return RELATED[f"noisecc_{case}_{key}"]


def inputs(case):
    density, points, weights = arguments(case)
    return density, points, [torch.ones_like(one) for one in weights] if case == "b0" else weights


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_the_published_ones(case):
    value, slope = gradient(build_loss("noise", convention="official"), *inputs(case))
    assert value == pytest.approx(float(golden(case, "bg_f64_loss")), rel=1e-9)  # asked for: 1e-6
    assert difference(slope, golden(case, "bg_f64_grad")) <= 1e-9


@pytest.mark.parametrize("case", [case for case in CASES if case != "b0"])
def test_the_default_is_the_published_one_without_the_extra_covariance(case):
    value, slope = gradient(build_loss("noise"), *inputs(case))
    assert value == pytest.approx(float(golden(case, "bg_noextra_loss")), rel=1e-9)
    assert difference(slope, golden(case, "bg_noextra_grad")) <= 1e-9


@pytest.mark.parametrize("case", ["c1", "c3", "c10"])
def test_the_moments_are_the_published_ones(case):
    density, points, weights = inputs(case)
    known = build_loss("noise", convention="official").moments(*batched(points, weights), tuple(density.shape[-2:]))
    assert sorted(known.chosen[known.real].tolist()) == golden(case, "bg_idx").ravel().tolist()
    assert difference(known.mean[0].numpy(), golden(case, "bg_mean")) <= 1e-9
    assert difference(known.variance[0].numpy(), golden(case, "bg_var")) <= 1e-7  # their pi has eight digits
