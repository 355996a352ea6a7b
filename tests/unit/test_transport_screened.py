"""The solver on the pairs that matter beside the one on the whole matrix."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.density import density_map
from workbench.points import cell_centres
from workbench.transport import COSTS, TransportCost, sinkhorn
from workbench.transport.plan import Support
from workbench.transport.screened import SparseProblem, coarse_potential, pooled, screen, screened_plan

OPTIONS = {"epsilon": 0.005, "tau": 0.5, "floor": 1e-30}


def scene(size, count, seed=0, *, clustered=False, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    spread = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    if clustered:
        spread = 0.1 + spread**4 / 2
    points = (spread * torch.tensor([8 * width, 8 * height])).to(dtype)
    noise = torch.rand(size, generator=generator, dtype=torch.float64).to(dtype)
    density = density_map(points, size, sigma=10.0, stride=8) / 2 + count * noise / (2 * noise.sum())
    side = 8 * max(size)
    return density, cell_centres(size, 8, dtype=dtype) / side, points / side


def dense(plan):
    return plan.matrix.to_dense()


@st.composite
def cases(draw):
    """A map and points: few or many, spread or on a spot; too much mass or too little, everywhere or in places."""
    height, width = draw(st.tuples(st.integers(2, 24), st.integers(2, 24)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    cells = cell_centres((height, width), 8, dtype=torch.float64) / (8 * max(height, width))
    count = draw(st.one_of(st.integers(1, 4), st.integers(5, 60)))
    points = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    points = 0.4 + 0.02 * points if draw(st.booleans()) else points * cells.amax(0)
    density = torch.rand(height, width, generator=generator, dtype=torch.float64) + 1e-3
    if draw(st.booleans()):
        density = density * (density > 0.8 * density.max())
    people = 0.2 + torch.rand(count, generator=generator, dtype=torch.float64)
    mass, tau, epsilon = (10 ** draw(st.floats(*span)) for span in ((-3, 3), (-1.3, 0.7), (-3, -1.5)))
    return density * count * mass / density.sum(), cells, points, people, epsilon, tau


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (13, 22), (3, 2), (1, 1)])
@pytest.mark.parametrize("cost", COSTS)
def test_the_plan_of_the_whole_matrix(cost, size, clustered):
    density, cells, points = scene(size, 30, clustered=clustered)
    people = 0.5 + torch.rand(30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    function = TransportCost(cost)
    plan = screened_plan(density, cells, points, people, function, **OPTIONS)
    whole = sinkhorn(function(cells, points), density.flatten(), people, epsilon=0.005, tau=0.5, tolerance=1e-9)
    assert whole.converged
    assert torch.allclose(dense(plan), whole.matrix, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("size", [(40, 48), (64, 64)])
def test_single_precision_and_few_pairs(size):
    density, cells, points = scene(size, 200, dtype=torch.float32)
    plan = screened_plan(density, cells, points, torch.ones(200), TransportCost(), **OPTIONS)
    exact = screened_plan(
        density.double(), cells.double(), points.double(), torch.ones(200).double(), TransportCost(), **OPTIONS
    )
    assert len(plan.support.rows) < density.numel() * 200 / 10
    assert torch.linalg.norm(dense(plan) - dense(exact)) < 1e-4 * torch.linalg.norm(dense(exact))


@pytest.mark.parametrize("epsilon", [1e-4, 0.5])
def test_other_epsilons(epsilon):
    density, cells, points = scene((10, 14), 12)
    people = torch.ones(12, dtype=torch.float64)
    plan = screened_plan(density, cells, points, people, TransportCost(), epsilon=epsilon, tau=0.5, floor=1e-30)
    whole = sinkhorn(TransportCost()(cells, points), density.flatten(), people, epsilon=epsilon, tau=0.5)
    assert torch.allclose(dense(plan), whole.matrix, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("tau", [0.1, 0.5, 5.0, 100.0])
@pytest.mark.parametrize("mass", [1e-3, 1.0, 25.0, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_plan_of_one_point(dtype, mass, tau):
    # P_i = a_i^l exp((1 - l) (g - C_i) / eps), and its sum is b exp(-g / tau): a linear equation for g
    density, cells, points = scene((16, 16), 1, dtype=dtype)
    density, people, epsilon = density * mass, torch.full((1,), 2.0, dtype=dtype), 0.005
    plan = screened_plan(density, cells, points, people, TransportCost(), epsilon=epsilon, tau=tau, floor=1e-30)
    a, cost = density.flatten().double(), TransportCost()(cells.double(), points.double())[:, 0]
    weight = a ** (tau / (tau + epsilon)) * (-cost / (tau + epsilon)).exp()
    g = (math.log(2) - weight.sum().log()) / (1 / (tau + epsilon) + 1 / tau)
    expected = weight * (g / (tau + epsilon)).exp()
    assert torch.allclose(dense(plan)[:, 0].double(), expected, rtol=2e-4 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=60)
@given(case=cases())
def test_any_plan_is_that_of_the_whole_matrix(case, dtype):
    density, cells, points, people, epsilon, tau = case
    cost = TransportCost()
    given_, arguments = (x.to(dtype) for x in (density, cells, points, people)), {"epsilon": epsilon, "tau": tau}
    plan = dense(screened_plan(*given_, cost, **arguments, floor=1e-30)).double()
    whole = sinkhorn(cost(cells, points), density.flatten(), people, **arguments, tolerance=1e-10).matrix
    assert (plan - whole).abs().sum() < (1e-3 if dtype == torch.float32 else 1e-7) * whole.sum()


@pytest.mark.parametrize("part", [(48, 24), (10, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_density_far_from_most_of_the_crowd(dtype, part):
    density, cells, points = scene((48, 48), 60, dtype=dtype)
    density[part[0] :], density[:, part[1] :] = 0, 0
    plan = screened_plan(density, cells, points, torch.ones(60).to(dtype), TransportCost(), **OPTIONS)
    matrix = TransportCost()(cells.double(), points.double())
    whole = sinkhorn(matrix, density.flatten().double(), torch.ones(60).double(), epsilon=0.005, tau=0.5)
    assert len(plan.support.rows) < matrix.numel() / 5  # without the whole matrix
    moved = dense(plan).double() * (density.flatten() > 0)[:, None]
    assert (moved - whole.matrix).abs().sum() < 1e-4 * whole.matrix.sum()


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("size", [(16, 16), (13, 22), (2, 3)])
def test_screening_keeps_what_a_search_of_all_pairs_keeps(cost, size):
    _, cells, points = scene(size, 25, seed=3)
    g = torch.rand(25, generator=torch.Generator().manual_seed(4), dtype=torch.float64) / 5
    function = TransportCost(cost)
    support, least = screen(size, cells, points, function, g, 0.15)
    reduced = function(cells, points) - g
    assert torch.allclose(least, reduced.amin(1))
    expected = (reduced <= reduced.amin(1, keepdim=True) + 0.15).nonzero()
    found = torch.stack([support.rows, support.columns], dim=1).long()
    assert {tuple(pair) for pair in found.tolist()} == {tuple(pair) for pair in expected.tolist()}
    assert (support.rows.diff() >= 0).all()
    assert torch.allclose(support.cost, function(cells, points)[found[:, 0], found[:, 1]])


@pytest.mark.parametrize("cost", COSTS)
def test_bounds_hold_everywhere_near_a_centre(cost):
    generator = torch.Generator().manual_seed(5)
    centres, points = torch.rand(2, 40, 2, generator=generator, dtype=torch.float64)
    radius = 0.1 * torch.rand(40, 1, generator=generator, dtype=torch.float64)
    angle = 6.3 * torch.rand(40, generator=generator, dtype=torch.float64)
    near = centres + radius * torch.stack([angle.cos(), angle.sin()], dim=1)
    for eta in ((0.6, 0.8), (0.8, 0.6)):
        function = TransportCost(cost, eta)
        low, high = function.bounds(centres[:, None], points[None], radius)
        value = function(near, points)
        assert (low <= value + 1e-12).all()
        assert (value <= high + 1e-12).all()


def test_bounds_hold_where_the_perspective_factor_nearly_ends():
    # a disc that reaches above the image, where the factor would be negative; costs up to e^50
    function = TransportCost("perspective", (0.02, 2.0))
    centre, points = torch.tensor([[0.5, 0.06]]), torch.tensor([[0.1, 0.0], [0.9, 0.01], [0.5, 0.5]])
    near = torch.tensor([[0.5, 0.0], [0.42, 0.03], [0.5, 0.14]])
    low, high = function.bounds(centre, points, torch.tensor([0.09]))
    value = function(near, points)
    assert (low <= value * (1 + 1e-5)).all()
    assert (value <= high * (1 + 1e-5)).all()


def test_coarse_potential_is_near():
    density, cells, points = scene((64, 64), 100)
    people = torch.ones(100, dtype=torch.float64)
    mass, places = pooled(density, cells)
    guess = coarse_potential(TransportCost()(places, points), mass, people, epsilon=0.005, tau=0.5)
    exact = sinkhorn(TransportCost()(cells, points), density.flatten(), people, epsilon=0.005, tau=0.5)
    assert (guess - exact.column_potential).abs().max() < 25 * 0.005


def test_support_products():
    matrix = torch.rand(5, 4, dtype=torch.float64) * (torch.rand(5, 4) > 0.4)
    rows, columns = matrix.nonzero().unbind(1)
    support = Support(rows.int(), columns.int(), matrix[rows, columns], (5, 4))
    x, y = torch.rand(4, dtype=torch.float64), torch.rand(5, dtype=torch.float64)
    assert torch.allclose(support.matrix(support.cost) @ x, matrix @ x)
    assert torch.allclose(support.transposed(support.cost) @ y, matrix.T @ y)


def test_what_is_left_out_is_measured():
    density, cells, points = scene((16, 16), 20)
    people = torch.ones(20, dtype=torch.float64)
    g = sinkhorn(TransportCost()(cells, points), density.flatten(), people, epsilon=0.005, tau=0.5).column_potential
    for reach, verdict in ((30 * 0.005, True), (2 * 0.005, False)):
        support, least = screen((16, 16), cells, points, TransportCost(), g, reach)
        problem = SparseProblem(support, density.flatten().log(), people.log(), g, least, 0.005, 0.5, 0.5)
        assert problem.negligible(g, least + reach, 1e-7) is verdict
        moved = replace(problem, start=g - 0.2 * people.cumsum(0) / 20)
        assert not moved.negligible(g, least + reach, 1e-7)
