"""Every loss that can be computed for a whole batch at once, against itself image by image."""

import pytest
import torch
from test_generalized_batched import batch, terms_and_gradient

from workbench.losses import LOSSES, build_loss

CASES = [
    ("l2", {}),
    ("l2", {"kernel": "adaptive"}),
    ("bayesian", {}),
    ("bayesian", {"convention": "official"}),
    ("bayesian", {"background": False, "sigma": 2.0}),
    ("dm_count", {}),
    ("dm_count", {"convention": "official"}),
    ("dm_count", {"ot_weight": 0.0}),
    ("unbalanced", {}),
    ("proximal", {"convention": "official"}),
    *[("proximal", {"form": form}) for form in ("l1", "l2", "simplex", "kl", "p2p", "gaussian")],
    ("proximal", {"tau_scale": "one", "cost": "squared"}),
    ("generalized", {}),
    ("generalized", {"convention": "official"}),
    ("generalized", {"convention": "official", "pixel": "kl", "point": "l2", "cost": "squared", "entropy": False}),
]
DTYPES = [(torch.float32, 1e-4), (torch.float64, 1e-6)]


def check_equal(found, expected, close, held):
    """Equal terms and gradients; the slope of an empty cell may be anything up to a bound."""
    assert found[0].keys() == expected[0].keys()
    scale = sum(abs(value.item()) for value in expected[0].values())
    for name, value in found[0].items():
        assert abs(value.item() - expected[0][name].item()) <= close * scale
    assert torch.isfinite(found[1]).all()
    difference = (found[1] - expected[1])[held].abs().max()
    assert difference <= close * expected[1][held].abs().max()


@pytest.mark.parametrize(("dtype", "close"), DTYPES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_all_at_once_is_image_by_image(name, options, dtype, close):
    for counts, size in (((9, 0, 30, 1), (12, 16)), ((70, 3), (20, 9))):
        density, points, weights = batch(counts, size=size, dtype=dtype)
        weights[-1][0] = 0  # somebody who counts as nobody
        found, expected = (
            terms_and_gradient(build_loss(name, solver=solver, **options), density, points, weights)
            for solver in ("batched", "screened")
        )
        check_equal(found, expected, close, density > 0)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_order_and_padding_change_nothing(name, options):
    density, points, weights = batch((9, 0, 30, 1))
    loss = build_loss(name, solver="batched", **options)
    expected = terms_and_gradient(loss, density, points, weights)
    order = torch.tensor([2, 0, 3, 1])
    turned = [torch.randperm(len(points[image])) for image in order]
    shuffled = density.detach()[order].requires_grad_()
    found = terms_and_gradient(
        loss,
        shuffled,
        [points[image][people] for image, people in zip(order, turned, strict=True)],
        [weights[image][people] for image, people in zip(order, turned, strict=True)],
    )
    check_equal(found, (expected[0], expected[1][order]), 1e-6, shuffled > 0)
    if loss.convention == "paper":  # officially some terms are sums over the batch
        _, alone = terms_and_gradient(loss, density[:1].detach().requires_grad_(), points[:1], weights[:1])
        torch.testing.assert_close(alone[0] / len(density), expected[1][0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_without_people_or_density(name, options):
    for counts, level in (((0, 0), 1.0), ((4, 2), 0.0), ((0, 3), 0.0)):
        density, points, weights = batch(counts)
        density = (density.detach() * level).requires_grad_()
        found, expected = (
            terms_and_gradient(build_loss(name, solver=solver, **options), density, points, weights)
            for solver in ("batched", "screened")
        )
        for term, value in found[0].items():
            assert value.item() == pytest.approx(expected[0][term].item(), rel=1e-6, abs=1e-6)
        assert torch.isfinite(found[1]).all()
        if not any(counts):
            torch.testing.assert_close(found[1], expected[1])


@pytest.mark.parametrize("options", [{}, {"form": "l2"}, {"form": "kl"}, {"convention": "official"}], ids=str)
def test_ties_twins_and_people_without_a_cell(options):
    density, _, _ = batch((20, 20, 20), size=(6, 6))
    corners = 8.0 * torch.cartesian_prod(torch.arange(1, 4), torch.arange(1, 4)).double()  # each in the middle of four
    crowd = 20 + torch.rand(20, 2, generator=torch.Generator().manual_seed(0)).double()  # all of them in one cell
    points = [torch.cat([corners, corners[2:6], corners[2:4]]), crowd, torch.cat([crowd, crowd[:5], corners])]
    weights = [torch.arange(1.0, len(places) + 1).double() / 10 for places in points]
    found, expected = (
        terms_and_gradient(build_loss("proximal", solver=solver, **options), density, points, weights)
        for solver in ("batched", "screened")
    )
    check_equal(found, expected, 1e-9, density > 0)


@pytest.mark.bad_input
def test_bad_solvers_are_named():
    able = {name for name in LOSSES if "solver" in repr(build_loss(name))}
    assert able == {name for name, _ in CASES}
    for name in able:
        with pytest.raises(ValueError, match="solver is 'fast', expected one of 'auto', 'screened', 'batched'"):
            build_loss(name, solver="fast")
