import dataclasses
import math

import pytest
import torch

from workbench.points import cell_centres
from workbench.transport import TransportCost, sinkhorn


def random_problem(seed, n=24, m=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    cost = TransportCost("perspective", offset=1.0)(
        torch.rand(n, 2, generator=generator, dtype=dtype), torch.rand(m, 2, generator=generator, dtype=dtype)
    )
    a = torch.rand(n, generator=generator, dtype=dtype) + 0.05
    return cost, a * m / a.sum(), torch.rand(m, generator=generator, dtype=dtype) + 0.5


def check_fixed_point(plan, cost, a, b, epsilon, tau, entropy, tolerance=1e-6):
    """Eq. (5) and (6), written with u, v and K (log domain only where exp overflows)."""
    rows, columns = a > 0, b > 0
    log_plan = (plan.row_potential[:, None] + plan.column_potential - cost) / epsilon
    if entropy == "relative":
        log_plan = log_plan + a.log()[:, None] + b.log()
    inside = rows[:, None] & columns
    assert torch.allclose(plan.matrix[inside], log_plan[inside].exp(), rtol=1e-9, atol=0)
    assert not plan.matrix[~inside].any()
    shrink_rows = torch.ones_like(a) if tau is None else torch.exp(-plan.row_potential / tau)
    shrink_columns = torch.ones_like(b) if tau is None else torch.exp(-plan.column_potential / tau)
    assert torch.allclose(plan.matrix.sum(1), a * shrink_rows, rtol=tolerance, atol=0)
    assert torch.allclose(plan.matrix.sum(0), b * shrink_columns, rtol=tolerance, atol=0)


@pytest.mark.parametrize("entropy", ["shannon", "relative"])
@pytest.mark.parametrize("tau", [None, 0.02, 0.5, 20.0])
@pytest.mark.parametrize("epsilon", [0.5, 0.005, 5e-4])
def test_fixed_point_equations(entropy, tau, epsilon):
    cost, a, b = random_problem(0)
    if tau is None:
        b = b * a.sum() / b.sum()
    plan = sinkhorn(cost, a, b, epsilon=epsilon, tau=tau, entropy=entropy)
    assert plan.converged
    assert plan.residual <= 1e-6
    check_fixed_point(plan, cost, a, b, epsilon, tau, entropy)


def test_a_plan_of_one_row_and_one_column_in_closed_form():
    # P^(1 + 2 tau / epsilon) = (a b)^(tau / epsilon) exp(-C / epsilon): eq. (1) has one unknown
    epsilon, tau, a, b, cost = 0.05, 0.4, 2.0, 0.7, 0.3
    plan = sinkhorn(*(torch.tensor(x, dtype=torch.float64) for x in ([[cost]], [a], [b])), epsilon=epsilon, tau=tau)
    expected = (math.log(a * b) * tau / epsilon - cost / epsilon) / (1 + 2 * tau / epsilon)
    assert float(plan.matrix) == pytest.approx(math.exp(expected), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_permutation_is_recovered(dtype):
    order = torch.tensor([3, 0, 4, 1, 2])
    grid = torch.arange(5, dtype=dtype)
    cost = (grid[:, None] - grid[order]).square()
    plan = sinkhorn(cost, torch.ones(5, dtype=dtype), torch.ones(5, dtype=dtype), epsilon=0.01)
    assert plan.converged
    assert torch.allclose(plan.matrix, (cost == 0).to(dtype), atol=1e-4)


def test_one_dirac_takes_everything():
    cost, a, _ = random_problem(1)
    plan = sinkhorn(cost[:, :1], a, a.sum()[None], epsilon=0.01)
    assert torch.allclose(plan.matrix[:, 0], a, rtol=1e-9)


def test_monotone_plan_on_a_line():
    # on a line the best plan for a convex cost matches quantiles, whatever the weights
    x = torch.linspace(0, 1, 6, dtype=torch.float64)
    y = torch.linspace(0.05, 1.1, 4, dtype=torch.float64)
    a = torch.tensor([0.1, 0.2, 0.1, 0.25, 0.15, 0.2], dtype=torch.float64)
    b = torch.tensor([0.15, 0.3, 0.35, 0.2], dtype=torch.float64)
    ends_a, ends_b = a.cumsum(0), b.cumsum(0)
    overlap = torch.minimum(ends_a[:, None], ends_b) - torch.maximum((ends_a - a)[:, None], ends_b - b)
    # (the plan nearly falls apart, so rounding leaves the potentials loose)
    plan = sinkhorn((x[:, None] - y).square(), a, b, epsilon=1e-3, tolerance=1e-4)
    assert plan.converged
    assert torch.allclose(plan.matrix, overlap.clamp(min=0), atol=1e-6)


def test_zero_masses_have_empty_rows_and_finite_potentials():
    cost, a, b = random_problem(2)
    a[3], b[2] = 0, 0
    for entropy in ("shannon", "relative"):
        plan = sinkhorn(cost, a, b, epsilon=0.01, tau=0.5, entropy=entropy, tolerance=1e-9)
        kept = sinkhorn(
            cost[a > 0][:, b > 0], a[a > 0], b[b > 0], epsilon=0.01, tau=0.5, entropy=entropy, tolerance=1e-9
        )
        assert not plan.matrix[3].any()
        assert not plan.matrix[:, 2].any()
        assert torch.allclose(plan.matrix[a > 0][:, b > 0], kept.matrix, rtol=1e-7, atol=0)
        assert torch.isfinite(plan.row_potential).all()
        assert torch.isfinite(plan.column_potential).all()


def test_the_potential_of_an_empty_row_is_the_last_evaluation():
    cost, a, b = random_problem(3)
    a[5] = 0
    plan = sinkhorn(cost, a, b, epsilon=0.01, tau=0.5, entropy="relative")
    reached = torch.logsumexp((plan.column_potential - cost[5]) / 0.01 + b.log(), dim=0)
    assert float(plan.row_potential[5]) == pytest.approx(float(-0.5 / 0.51 * 0.01 * reached))


def test_start_and_iteration_limit_are_honest():
    cost, a, b = random_problem(4)
    plan = sinkhorn(cost, a, b, epsilon=0.005, tau=0.5, tolerance=1e-9)
    again = sinkhorn(cost, a, b, epsilon=0.005, tau=0.5, tolerance=1e-9, column_potential=plan.column_potential)
    assert again.iterations <= 1
    cold = sinkhorn(
        cost, a, b, epsilon=0.005, tau=0.5, max_iterations=1, column_potential=torch.zeros(len(b), dtype=b.dtype)
    )
    assert not cold.converged
    assert cold.residual > 1e-6
    distance = (cold.column_potential - plan.column_potential).abs().max() / 0.005
    assert float(distance) <= 100 * cold.residual


def layouts(dtype):
    cells = cell_centres((8, 8), 8, dtype=dtype) / 64
    generator = torch.Generator().manual_seed(7)
    points = torch.rand(12, 2, generator=generator, dtype=dtype)
    density = torch.rand(64, generator=generator, dtype=dtype)
    density = density * 12 / density.sum()
    cost = TransportCost()
    top = torch.where(torch.arange(64) < 8, density, 0)
    ones = torch.ones(12, dtype=dtype)
    spot = cost(cells, torch.full((2000, 2), 0.3, dtype=dtype))
    return {
        "plain": (cost(cells, points), density, ones),
        "no density": (cost(cells, points), 0 * density, ones),
        "no weight": (cost(cells, points), density, 0 * ones),
        "1e-30": (cost(cells, points), 0 * density + 1e-30, ones),
        "a thousand times": (cost(cells, points), 1000 * density, ones),
        "a thousandth": (cost(cells, points), density / 1000, ones),
        "all at the top": (cost(cells, points), top, ones),
        "2,000 on one spot": (spot, density, torch.ones(2000, dtype=dtype)),
        "one cell, one point": (cost(cells[:1], points[:1]), density[:1], ones[:1]),
        "nobody": (cost(cells, points[:0]), density, ones[:0]),
        "far": (50 + cost(cells, points), density, ones),
    }


@pytest.mark.parametrize("epsilon", [0.005, 1e-4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(layouts(torch.float64)))
def test_extremes_stay_finite(name, dtype, epsilon):
    cost, a, b = layouts(dtype)[name]
    for tau in (0.5, 0.01):
        plan = sinkhorn(cost, a, b, epsilon=epsilon, tau=tau)
        for field in ("matrix", "row_marginal", "column_marginal", "row_potential", "column_potential"):
            assert torch.isfinite(getattr(plan, field)).all(), field
        assert math.isfinite(plan.residual)
        if dtype == torch.float64:
            assert plan.converged


def test_single_precision_agrees_with_double():
    cost, a, b = random_problem(5)
    double = sinkhorn(cost, a, b, epsilon=0.005, tau=0.5)
    single = sinkhorn(cost.float(), a.float(), b.float(), epsilon=0.005, tau=0.5)
    assert single.matrix.dtype == torch.float32
    assert single.converged
    assert torch.allclose(single.matrix.double(), double.matrix, atol=1e-4)
    assert torch.allclose(single.column_potential.double(), double.column_potential, atol=1e-5)


def test_result_is_a_constant():
    cost, a, b = random_problem(6)
    plan = sinkhorn(cost.requires_grad_(), a.requires_grad_(), b, epsilon=0.1, tau=0.5)
    assert not any(
        getattr(plan, f.name).requires_grad for f in dataclasses.fields(plan) if torch.is_tensor(getattr(plan, f.name))
    )


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"b": torch.tensor([1.0, 3.0])}, ValueError, "a holds a mass of 3 and b of 4, expected the same mass"),
        ({"a": torch.tensor([1.0, -1.0, 3.0])}, ValueError, "a holds values down to -1"),
        ({"a": torch.ones(2)}, ValueError, r"a has shape \(2,\), expected \(3\)"),
        ({"cost": torch.full((3, 2), float("nan"))}, ValueError, "cost holds 6 values that are NaN"),
        ({"cost": [[0.0]]}, TypeError, "cost is a list"),
        ({"epsilon": -0.1}, ValueError, "epsilon is -0.1"),
        ({"tau": 0.0}, ValueError, "tau is 0.0"),
        ({"entropy": "tsallis"}, ValueError, "expected one of 'shannon', 'relative'"),
        ({"max_iterations": 0}, ValueError, "max_iterations is 0"),
        ({"column_potential": torch.zeros(3)}, ValueError, "column_potential has shape"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {
        "cost": torch.zeros(3, 2), "a": torch.ones(3), "b": torch.tensor([1.0, 2.0]), "epsilon": 0.1, **change
    }  # fmt: skip
    cost, a, b = (arguments.pop(name) for name in ("cost", "a", "b"))
    with pytest.raises(error, match=message):
        sinkhorn(cost, a, b, **arguments)


def test_one_row_shares_itself_out():
    """The violation after a sweep is rounding alone: it must not be taken for a step to make."""
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        cost = 2 * torch.rand(1, 2, generator=generator, dtype=torch.float64)
        b = torch.rand(2, generator=generator, dtype=torch.float64) + 0.01
        plan = sinkhorn(cost, b.sum()[None], b, epsilon=0.3)
        assert plan.converged
        assert torch.allclose(plan.matrix[0], b, rtol=1e-9)
