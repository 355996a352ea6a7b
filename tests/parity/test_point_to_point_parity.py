import numpy as np
import pytest
import torch
from point_losses_golden import arguments, difference
from related_golden import RELATED, cases

from workbench.losses import build_loss
from workbench.losses.point_to_point import anchors, match
from workbench.models import ModelOutput

CASES = cases("p2pnet")


def golden(case, key):
    return RELATED[f"p2pnet_{case}_{key}"]


def inputs(case):
    """What was measured: moved points, and probabilities of 0.4, 0.3, 0.2 and 0.1 times the density."""
    density, points = arguments(case, weights=False)
    share = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=density.dtype)
    probability = (density[:, 0].flatten(1)[..., None] * share).flatten(1).clamp(1e-6, 1 - 1e-6)
    logits = torch.stack([torch.zeros_like(probability), torch.logit(probability)], dim=2)
    query = torch.arange(probability.shape[1], dtype=density.dtype)
    offsets = 1.5 * torch.stack([torch.sin(0.37 * query), torch.cos(0.53 * query)], dim=1)
    offsets = offsets.expand(len(density), -1, -1).clone()
    return density, points, logits.requires_grad_(True), offsets.requires_grad_(True)


@pytest.mark.parametrize("case", CASES)
def test_terms_and_gradients_are_the_published_ones(case):
    density, points, logits, offsets = inputs(case)
    result = ModelOutput(density, point_logits=logits, point_offsets=offsets)
    official = build_loss("point_to_point", convention="official")
    value = official(result, points)
    assert value.item() == pytest.approx(float(golden(case, "used_by_official_training")), rel=1e-12)
    slope, none = torch.autograd.grad(value, (logits, offsets))
    assert not none.any()
    if f"p2pnet_{case}_ce_grad_logit" in RELATED:
        assert difference(slope[..., 1].squeeze(0).numpy(), golden(case, "ce_grad_logit")) <= 1e-12
    terms = build_loss("point_to_point", convention="official", point_weight=2e-4).terms(result, points)
    assert terms["points"].item() == pytest.approx(2e-4 * float(golden(case, "point")), rel=1e-12)
    intended = torch.stack(list(terms.values())).sum()
    assert intended.item() == pytest.approx(float(golden(case, "intended")), rel=1e-12)
    slope = torch.autograd.grad(terms["points"] / 2e-4, offsets)[0]
    image, query = torch.tensor(golden(case, "point_grad_nonzero_index")).long().reshape(-1, 2).T
    np.testing.assert_allclose(slope[image, query].reshape(-1, 2), golden(case, "point_grad_nonzero").reshape(-1, 2))
    assert int(slope.any(dim=2).sum()) == len(query)
    if len(density) == 1:  # the mean over one image is the batch's
        assert build_loss("point_to_point")(result, points).item() == pytest.approx(intended.item(), rel=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if case != "c0"])
def test_the_matching_is_the_published_one(case):
    density, points, logits, offsets = inputs(case)
    predicted = anchors(tuple(density.shape[-2:]), 8, dtype=density.dtype) + offsets
    pairs = [match(logits[k], predicted[k], image) for k, image in enumerate(points)]
    assert [len(query) for query, _ in pairs] == golden(case, "match_sizes").tolist()
    for side, key in enumerate(("match_query", "match_point")):
        assert torch.cat([pair[side] for pair in pairs]).tolist() == golden(case, key).tolist()
