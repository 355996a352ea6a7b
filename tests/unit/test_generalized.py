import math
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.density import density_map
from workbench.losses import build_loss
from workbench.losses.base import most_people
from workbench.losses.l2 import l2_loss
from workbench.transport import cost_matrix, shannon_entropy, sinkhorn

SIZE = (6, 8)


def scene(seed=0, m=5, size=SIZE, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    density = torch.rand(1, 1, *size, generator=generator, dtype=dtype)
    points = torch.rand(m, 2, generator=generator, dtype=dtype) * torch.tensor([8 * size[1], 8 * size[0]])
    return (density * m / density.sum()).requires_grad_(), points


def value_and_gradient(loss, density, points, weights=None):
    value = loss(density, [points], weights)
    (gradient,) = torch.autograd.grad(value, density)
    return value.detach(), gradient[0, 0]


@pytest.mark.parametrize("epsilon", [0.005, 0.05])
def test_columns_with_the_squared_distance_are_l2(epsilon):
    # sec. 4.2: a Gaussian density map of variance epsilon / 2 (here in units of the longer side) and a constant
    density, points = scene()
    loss = build_loss("generalized", cost="squared", plan="columns", epsilon=epsilon, tau=1.0)
    side = 8 * max(SIZE)
    target = density_map(points, SIZE, sigma=side * math.sqrt(epsilon / 2), stride=8)
    expected = l2_loss(density[0, 0], target)
    (slope,) = torch.autograd.grad(expected, density)
    value, gradient = value_and_gradient(loss, density, points)
    assert torch.allclose(gradient, slope[0, 0], rtol=1e-10, atol=1e-12)
    constant = value - expected
    again = (2 * density.detach() + 0.1).requires_grad_()
    value, _ = value_and_gradient(loss, again, points)
    assert torch.allclose(value - l2_loss(again[0, 0], target), constant, rtol=1e-10)
    assert float(loss.terms(density, [points])["point"]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("epsilon", [0.005, 0.05])
def test_rows_with_the_squared_distance_are_the_bayesian_loss(epsilon):
    # eq. (14), written out: a background weight for each cell, and |1 - sum of posteriors|
    density, points = scene(1)
    loss = build_loss("generalized", cost="squared", plan="rows", epsilon=epsilon, tau=1.0, entropy=False)
    squared = cost_matrix("squared", SIZE, points)
    posterior = torch.exp(-squared / epsilon)
    posterior = posterior / posterior.sum(1, keepdim=True)
    background = (squared * posterior).sum(1)
    a = density.flatten()
    expected = background @ a + (1 - posterior.T @ a).abs().sum()
    (slope,) = torch.autograd.grad(expected, density)
    value, gradient = value_and_gradient(loss, density, points)
    assert torch.allclose(value, expected, rtol=1e-10)
    assert torch.allclose(gradient, slope[0, 0], rtol=1e-10)
    assert float(loss.terms(density, [points])["pixel"].detach()) == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("cost", ["perspective", "exponential", "euclidean", "squared"])
def test_terms_are_those_of_eq_1(cost):
    density, points = scene(2)
    loss = build_loss("generalized", cost=cost, epsilon=0.02, tau=0.7)
    eta = (0.6, 0.8) if cost == "perspective" else (0.8, 0.8)
    matrix = cost_matrix(cost, SIZE, points, eta=eta)
    a, b = density.detach().flatten(), torch.ones(5, dtype=torch.float64)
    plan = sinkhorn(matrix, a, b, epsilon=0.02, tau=0.7).matrix
    terms = loss.terms(density, [points])
    assert list(terms) == ["transport", "entropy", "pixel", "point"]
    assert torch.allclose(terms["transport"], (matrix * plan).sum(), rtol=1e-6)
    assert torch.allclose(terms["entropy"], -0.02 * shannon_entropy(plan), rtol=1e-6)
    assert torch.allclose(terms["pixel"], 0.7 * (plan.sum(1) - a).square().sum(), rtol=1e-6)
    assert torch.allclose(terms["point"], 0.7 * (plan.sum(0) - b).abs().sum(), rtol=1e-6)
    assert torch.allclose(sum(terms.values()), loss(density, [points]))


def literal(density, matrix, b, epsilon, tau, pixel, point, log_v):
    """Eq. (1) as a function of a with v constant and u = (a / K v)^lambda: what sec. 3.3 differentiates."""
    a = density.flatten()
    log_u = tau / (tau + epsilon) * (a.log() - torch.logsumexp(log_v - matrix / epsilon, dim=1))
    plan = torch.exp(log_u[:, None] + log_v - matrix / epsilon)

    def apart(kind, p, q):
        if kind == "kl":
            return (p * (p / q).log() - p + q).sum()
        return (p - q).abs().sum() if kind == "l1" else (p - q).square().sum()

    divergences = apart(pixel, plan.sum(1), a) + apart(point, plan.sum(0), b)
    return (matrix * plan).sum() - epsilon * shannon_entropy(plan) + tau * divergences


@pytest.mark.parametrize("pixel", ["l1", "l2", "kl"])
@pytest.mark.parametrize("point", ["l1", "l2", "kl"])
def test_gradient_rule_of_section_3_3(pixel, point):
    density, points = scene(3)
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    loss = build_loss("generalized", epsilon=0.02, tau=0.7, pixel=pixel, point=point)
    matrix = cost_matrix("perspective", SIZE, points)
    plan = sinkhorn(matrix, density.detach().flatten(), weights, epsilon=0.02, tau=0.7, tolerance=1e-12)
    log_v = plan.column_potential / 0.02
    expected = literal(density, matrix, weights, 0.02, 0.7, pixel, point, log_v)
    (slope,) = torch.autograd.grad(expected, density)
    value, gradient = value_and_gradient(loss, density, points, [weights])
    assert torch.allclose(value, expected, rtol=1e-6)
    assert torch.allclose(gradient, slope[0, 0], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("pixel", "point"), [("l2", "l2"), ("kl", "kl"), (None, "l2"), ("l2", None)])
@pytest.mark.parametrize("epsilon", [0.2, 0.02])
def test_implicit_gradient_is_the_derivative(pixel, point, epsilon):
    density, points = scene(4, m=3, size=(3, 4))
    loss = build_loss("generalized", epsilon=epsilon, tau=0.7, gradient="implicit", pixel=pixel, point=point)
    assert torch.autograd.gradcheck(lambda x: loss(x, [points]), density, eps=1e-5, atol=2e-4, rtol=2e-4)


def test_the_two_gradients_differ_and_share_the_value():
    density, points = scene(5)
    rule = value_and_gradient(build_loss("generalized"), density, points)
    true = value_and_gradient(build_loss("generalized", gradient="implicit"), density, points)
    assert torch.equal(rule[0], true[0])
    assert torch.linalg.norm(rule[1] - true[1]) > 1e-3 * torch.linalg.norm(true[1])


@pytest.mark.parametrize("plan", ["rows", "columns"])
def test_gradcheck_of_half_iterations(plan):
    density, points = scene(6, m=3, size=(3, 4))
    loss = build_loss("generalized", plan=plan, point="l2")
    assert torch.autograd.gradcheck(lambda x: loss(x, [points]), density)


def test_terms_can_be_left_out():
    density, points = scene(7)
    full = build_loss("generalized").terms(density, [points])
    for off in full:
        option = {off: None if off in ("pixel", "point") else False}
        rest = build_loss("generalized", **option).terms(density, [points])
        assert list(rest) == [name for name in full if name != off]
        assert all(torch.equal(rest[name], full[name]) for name in rest)


def test_density_on_the_points_is_better_than_beside_them():
    # with the offset, as published: eq. (4) as printed prefers the empty map
    loss = build_loss("generalized", cost_offset=1.0)
    points = torch.tensor([[12.0, 12.0], [44.0, 28.0]])
    right, wrong = torch.zeros(1, 1, *SIZE), torch.zeros(1, 1, *SIZE)
    right[0, 0, 1, 1] = right[0, 0, 3, 5] = 1
    wrong[0, 0, 1, 2] = wrong[0, 0, 3, 6] = 1
    empty = torch.zeros(1, 1, *SIZE)
    values = [float(loss(density, [points])) for density in (right, wrong, empty)]
    assert values == sorted(values)
    assert values[0] < 0.1
    printed = build_loss("generalized")
    assert printed(empty, [points]) < printed(right, [points])


@pytest.mark.parametrize("convention", ["paper", "official"])
def test_a_batch_is_the_mean_and_may_hold_nobody(convention):
    loss = build_loss("generalized", convention=convention)
    density, points = scene(8)
    other, nobody = scene(9)[0].detach(), torch.zeros(0, 2, dtype=torch.float64)
    together = loss.terms(torch.cat([density, other]), [points, nobody])
    first, second = loss.terms(density, [points]), loss.terms(other, [nobody])
    for name, value in together.items():
        share = 1 if convention == "official" and name == "entropy" else 2  # that one is not divided by the batch
        assert torch.allclose(value, (first[name] + second[name]) / share)
    expected = 1.2 * other.sum() if convention == "official" else 0.5 * other.square().sum()
    assert torch.allclose(loss(other, [nobody]), expected)


def test_a_weight_is_several_people_on_one_spot():
    density, points = scene(10, m=3)
    loss = build_loss("generalized", entropy=False)  # the entropy tells one point of weight 2 from two points
    twice = torch.cat([points, points[:1]])
    weights = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
    one, two = loss.terms(density, [points], [weights]), loss.terms(density, [twice])
    assert torch.allclose(one["point"], two["point"], rtol=0.02)
    assert torch.allclose(one["transport"], two["transport"], rtol=0.02)


def extremes(dtype):
    density, points = scene(11, m=12, size=(8, 8), dtype=dtype)
    density, points = density.detach(), points.to(dtype)
    return {
        "no density": (0 * density, points),
        "nobody": (density, points[:0]),
        "nothing at all": (0 * density, points[:0]),
        "one point": (density, points[:1]),
        "2,000 on one spot": (density, points[:1].expand(2000, 2)),
        "a thousand times": (1000 * density, points),
        "a thousandth": (density / 1000, points),
        "1e-30": (0 * density + 1e-30, points),
        "as many people as allowed": (density / density.sum() * 0.9 * most_people(dtype), points),
        "half empty": (density * (density > density.median()), points),
        "1 x 1": (density[..., :1, :1], points[:1] / 8),
        "1 x 1 and no density": (0 * density[..., :1, :1], points[:1] / 8),
        "on the centre": (density[..., :1, :1], points[:1] * 0 + 4),
    }


OPTIONS = [
    {},
    {"epsilon": 1e-4},
    {"plan": "rows"},
    {"plan": "columns"},
    {"gradient": "implicit", "pixel": "kl", "point": "kl"},
    {"cost": "squared", "tau": 0.01},
    {"convention": "official"},
    {"convention": "official", "blur": 1e-4},
    {"convention": "official", "reach": float("inf"), "p": 2},
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(extremes(torch.float64)))
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(map(str, options.values())) or "default")
def test_extremes_stay_finite(options, name, dtype):
    density, points = extremes(dtype)[name]
    density = density.clone().requires_grad_()
    value = build_loss("generalized", **options)(density, [points])
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(density.grad).all()
    assert value.dtype == dtype


@pytest.mark.parametrize("name", list(extremes(torch.float64)))
@pytest.mark.parametrize(
    "options",
    [{}, {"epsilon": 1e-4}, {"tau": 10.0}, {"tau": 1e4}, {"eta": 0.05}, {"eta": 0.03}, {"convention": "official"}],
    ids=lambda options: " ".join(map(str, options.values())) or "default",
)
def test_extremes_are_the_same_in_single_precision(options, name):
    loss, found = build_loss("generalized", **options), {}
    for dtype in (torch.float32, torch.float64):
        density, points = (tensor.to(dtype) for tensor in extremes(torch.float32)[name])
        density.requires_grad_()
        value = loss(density, [points])
        value.backward()
        found[dtype] = value.detach().double(), density.grad.double()
    (value, slope), (exact, exact_slope) = found.values()
    assert torch.allclose(value, exact, rtol=1e-3)
    assert torch.linalg.norm(slope - exact_slope) <= 1e-3 * torch.linalg.norm(exact_slope)


LAYOUTS = Path(__file__).parents[1] / "parity/data/generalized_layouts.npz"


@pytest.mark.parametrize("key", ["points_0", "points_2", "points_3"])
@pytest.mark.parametrize("convention", ["paper", "official"])
def test_real_layouts_stay_finite(key, convention):
    # three of ShanghaiTech A's test images: 66, 2,256 and 391 people, some of them left of the image
    with np.load(LAYOUTS) as arrays:
        points = torch.from_numpy(arrays[key])
    points = points - points.amin(0).clamp(max=0)
    width, height = (points.amax(0) / 8).floor().int().add(1).tolist()
    density = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    density = (density * len(points) / density.sum()).requires_grad_()
    value = build_loss("generalized", convention=convention)(density, [points])
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(density.grad).all()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost": "manhattan"}, "cost is 'manhattan', expected one of"),
        ({"pixel": "l3"}, "pixel is 'l3', expected one of 'l1', 'l2', 'kl'"),
        ({"plan": "rows", "gradient": "implicit"}, "expected plan 'converged'"),
        ({"transport": False, "entropy": False, "pixel": None, "point": None}, "at least one term"),
        ({"blur": 0.1}, "blur is given with convention 'paper'"),
        ({"convention": "official", "epsilon": 0.1}, "epsilon is given with convention 'official'"),
        ({"convention": "official", "scaling": 1.5}, "scaling is 1.5"),
        ({"epsilon": -1.0}, "epsilon is -1.0"),
        ({"tau": 0.0}, "tau is 0.0"),
        ({"tau": 1e9}, "tau is 1000000000.0, expected at most 1e\\+10 epsilon, 5e\\+07"),
        ({"eta": 0.0}, "eta is 0.0"),
        ({"sigma": 3}, "no option 'sigma'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build_loss("generalized", **options)


@pytest.mark.bad_input
def test_bad_arguments():
    loss = build_loss("generalized")
    with pytest.raises(ValueError, match=r"points\[0\] has 1 of 1 points outside the image"):
        loss(torch.zeros(1, 1, 2, 2), [torch.tensor([[20.0, 0.0]])])
    with pytest.raises(ValueError, match="density holds values down to -1"):
        loss(-torch.ones(1, 1, 2, 2), [torch.zeros(0, 2)])
