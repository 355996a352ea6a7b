"""The generalized loss of a whole batch at once, against the one that is solved image by image."""

import pytest
import torch
from test_generalized import OPTIONS, extremes

from workbench.losses import build_loss

KINDS = [
    {},
    {"cost": "exponential", "cost_offset": 1.0, "eta": 0.15, "tau": 0.8},
    {"cost": "squared", "epsilon": 0.02, "pixel": "l1", "point": "l2"},
    {"cost": "euclidean", "epsilon": 0.05, "tau": 0.1, "pixel": "kl", "point": "kl"},
    {"entropy": False, "pixel": None},
]


def batch(counts, size=(12, 16), seed=0, dtype=torch.float64, empty=True):
    """Maps with and without cells of no density, crowds of some numbers of people, and their weights."""
    draw = torch.Generator().manual_seed(seed)
    density = torch.rand(len(counts), 1, *size, generator=draw, dtype=torch.float64)
    if empty:
        density = torch.where(density < 0.4, 0, density)
    people = torch.tensor([max(count, 1) for count in counts], dtype=torch.float64)[:, None, None, None]
    density = density * people / density.sum(dim=(1, 2, 3), keepdim=True)
    extent = torch.tensor([8.0 * size[1], 8.0 * size[0]], dtype=torch.float64)
    points = [(torch.rand(count, 2, generator=draw, dtype=torch.float64) * extent).to(dtype) for count in counts]
    weights = [torch.rand(count, generator=draw, dtype=torch.float64).to(dtype) + 0.5 for count in counts]
    return density.to(dtype).requires_grad_(), points, weights


def terms_and_gradient(loss, density, points, weights):
    terms = loss.terms(density, points, weights)
    (gradient,) = torch.autograd.grad(sum(terms.values()), density)
    return terms, gradient


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_the_batched_loss_is_the_screened_one(options, dtype):
    density, points, weights = batch((9, 0, 30, 1), dtype=dtype)
    close = 1e-4 if dtype == torch.float32 else 1e-6
    found = terms_and_gradient(build_loss("generalized", solver="batched", **options), density, points, weights)
    expected = terms_and_gradient(build_loss("generalized", solver="screened", **options), density, points, weights)
    assert found[0].keys() == expected[0].keys()
    for name, value in found[0].items():
        assert value.item() == pytest.approx(expected[0][name].item(), rel=10 * close, abs=close)
    held = density > 0  # the slope of an empty cell may be anything up to a bound
    difference = (found[1] - expected[1])[held].abs().max()
    assert float(difference) <= close * float(expected[1][held].abs().max())
    assert torch.isfinite(found[1]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_extremes_stay_finite(options, dtype):
    if options.get("plan") or options.get("gradient"):
        pytest.skip("solved by another solver")
    loss = build_loss("generalized", solver="batched", **options)
    for density, points in extremes(dtype).values():
        density.requires_grad_()
        value = loss(density, [points])
        (gradient,) = torch.autograd.grad(value, density)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


def test_auto_is_screened_on_a_cpu():
    density, points, weights = batch((9, 4))
    one, other = (build_loss("generalized", solver=solver)(density, points, weights) for solver in ("auto", "screened"))
    assert torch.equal(one, other)
