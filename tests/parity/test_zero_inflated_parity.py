import numpy as np
import pytest
import torch
from point_losses_golden import arguments, difference
from related_golden import RELATED, cases

from workbench.losses import build_loss
from workbench.losses.zero_inflated import density_zip, guarded_log_likelihood, multi_scale_error
from workbench.models import ModelOutput
from workbench.models.readout import CENTRES
from workbench.points import dot_maps

CASES = cases("zip")


def golden(case, key):
    return RELATED[f"zip_{case}_{key}"]


def inputs(case):
    density, points = arguments(case, weights=False)
    loss = build_loss("zero_inflated", convention="official")
    counts = dot_maps(points, tuple(density.shape[-2:]), loss.stride, [density.new_ones(len(p)) for p in points])
    return loss, density, points, counts


@pytest.mark.parametrize("case", CASES)
def test_the_likelihood_is_the_published_one(case):
    _, density, _, counts = inputs(case)
    np.testing.assert_array_equal(counts.squeeze(0), golden(case, "gt_count"))
    leaves = [part.requires_grad_(True) for part in density_zip(density[:, 0])]
    value = -guarded_log_likelihood(counts, *leaves).sum() / len(counts)
    assert value.item() == pytest.approx(float(golden(case, "nll_loss")), rel=1e-12)
    for slope, key in zip(torch.autograd.grad(value, leaves), ("nll_grad_pi", "nll_grad_lambda"), strict=True):
        assert difference(slope.squeeze(0).numpy(), golden(case, key)) <= 1e-12


@pytest.mark.parametrize("case", CASES)
def test_the_multi_scale_error_is_the_published_one(case):
    _, density, _, counts = inputs(case)
    leaf = density[:, 0].clone().requires_grad_(True)
    value = multi_scale_error(leaf, counts).sum(dim=0).mean()
    assert value.item() == pytest.approx(float(golden(case, "msmae_loss")), rel=1e-12)
    slope = torch.autograd.grad(value, leaf)[0].squeeze(0).numpy()
    assert difference(slope, golden(case, "msmae_grad")) <= 1e-12


@pytest.mark.parametrize("case", CASES)
def test_the_whole_loss_is_the_published_one(case):
    loss, density, points, _ = inputs(case)
    zero = density_zip(density[:, 0])[0].requires_grad_(True)
    bins = (-(density - torch.tensor(CENTRES, dtype=density.dtype)[:, None, None]).square() / 2).requires_grad_(True)
    terms = loss.terms(ModelOutput(density, zero_logits=zero, bin_logits=bins), points)
    for mine, theirs in (("likelihood", "reg_zipnll"), ("bins", "cls_zice"), ("count", "cnt_loss")):
        assert terms[mine].item() == pytest.approx(float(golden(case, f"quad_{theirs}")), rel=1e-10, abs=1e-12)
    scales = sum(weight * float(golden(case, f"quad_aux_mae_loss_{k}")) for k, weight in ((1, 0.25), (2, 0.5), (4, 1)))
    assert terms["scales"].item() == pytest.approx(scales, rel=1e-10)
    value = torch.stack(list(terms.values())).sum()
    assert value.item() == pytest.approx(float(golden(case, "quad_loss")), rel=1e-12)
    for slope, key in zip(torch.autograd.grad(value, (zero, bins)), ("pi", "bins"), strict=True):
        assert difference(slope.squeeze(0).numpy(), golden(case, f"quad_grad_{key}")) <= 1e-11  # asked for: 1e-9
