import numpy as np
import pytest
import torch
from point_losses_golden import arguments, difference
from related_golden import RELATED, cases

from workbench.losses import build_loss
from workbench.losses.point_to_region import density_logits, point_to_region, region_targets, regions
from workbench.models import ModelOutput
from workbench.points import cell_centres

CASES = cases("p2r")


def inputs(case):
    density, points = arguments(case, weights=False)
    return density, density_logits(density).requires_grad_(True), points


@pytest.mark.parametrize("case", CASES)
def test_the_labelled_form_is_the_published_one(case):
    density, logits, points = inputs(case)
    loss = build_loss("point_to_region", convention="official")
    value = loss(ModelOutput(density, logits=logits), points)
    assert value.item() == pytest.approx(float(RELATED[f"p2r_{case}_sup_f64_loss"]), rel=1e-12)
    slope = torch.autograd.grad(value, logits)[0][:, 0].squeeze(0).numpy()
    assert difference(slope, RELATED[f"p2r_{case}_sup_f64_grad"]) <= 1e-12
    assert loss(density, points).item() == pytest.approx(value.item(), rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_form_with_confidence_and_mask_is_the_published_one(case):
    _, logits, points = inputs(case)
    trust = torch.tensor(RELATED[f"p2r_{case}_semi_conf"]).double().split([len(p) for p in points])
    keep = torch.tensor(RELATED[f"p2r_{case}_semi_keep"]).reshape(logits[:, 0].shape).double()
    value = point_to_region(logits[:, 0], points, trust, stride=8, keep=keep, offset=0.5 - 0.5 / 8).mean()
    assert value.item() == pytest.approx(float(RELATED[f"p2r_{case}_semi_f64_loss"]), rel=1e-12)
    slope = torch.autograd.grad(value, logits)[0][:, 0].squeeze(0).numpy()
    assert difference(slope, RELATED[f"p2r_{case}_semi_f64_grad"]) <= 1e-12


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("c0", "b0")])
def test_regions_and_targets_are_the_published_ones(case):
    _, logits, (points,) = inputs(case)
    size = tuple(logits.shape[-2:])
    owned = regions(
        cell_centres(size, 8, dtype=torch.float64) - 0.5, points[None], torch.ones(1, len(points), dtype=torch.bool)
    )
    owner = owned.owner[0].where(owned.owner[0] < len(points), -1).reshape(size)
    np.testing.assert_array_equal(owner, RELATED[f"p2r_{case}_region"])
    np.testing.assert_allclose(owned.radius[0], RELATED[f"p2r_{case}_radius"], rtol=1e-12)
    target = region_targets(logits.flatten(1), owned)[0]
    np.testing.assert_array_equal(target.reshape(size), RELATED[f"p2r_{case}_target"])
