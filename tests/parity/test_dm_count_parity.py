import numpy as np
import pytest
import torch
from point_losses_golden import GOLDEN, SINGLE, arguments, difference, gradient

from workbench.losses import build_loss
from workbench.losses.dm_count import rounded_dots
from workbench.points import cell_centres
from workbench.transport import sinkhorn
from workbench.transport.dm_count import published_grid_plan, solve_grid
from workbench.transport.nearest import grid

WITH_PEOPLE = SINGLE[1:]


@pytest.mark.parametrize("case", [*SINGLE, "b0"])
def test_value_gradient_and_terms_are_the_published_ones(case):
    loss, data = build_loss("dm_count", convention="official"), arguments(case, weights=False)
    value, slope = gradient(loss, *data)
    assert value == pytest.approx(float(GOLDEN[f"{case}_dm_loss"]), rel=1e-10)
    assert difference(slope, GOLDEN[f"{case}_dm_grad"]) <= 1e-5  # asked for: 1e-4
    terms = loss.terms(*data)
    for mine, theirs in (("count", "count_loss"), ("variation", "tv_loss"), ("transport", "ot_loss")):
        assert terms[mine].item() == pytest.approx(float(GOLDEN[f"{case}_dm_{theirs}"]), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("case", WITH_PEOPLE)
def test_the_plan_is_the_published_one(case):
    density, (points,) = arguments(case, weights=False)
    people = torch.ones(len(points), dtype=torch.float64)
    plan = published_grid_plan(
        density[0, 0].numpy(), points.numpy(), people.numpy(), stride=8, epsilon=10, iterations=100
    )
    squared = ((grid(density.shape[-2:], 8) - points.numpy()[:, None]) ** 2).sum(axis=2)
    u, v = (np.exp(part.ravel() / 10) - 1e-16 for part in (plan.column_potential, plan.row_potential))
    assert u @ (squared * np.exp(-squared / 10)) @ v == pytest.approx(float(GOLDEN[f"{case}_dm_wd"]), rel=1e-5)
    assert 0.1 * plan.value == pytest.approx(float(GOLDEN[f"{case}_dm_ot_obj_value"]), rel=1e-4)
    loss = build_loss("dm_count", convention="official", tv_weight=0.0)
    _, slope = gradient(lambda *data: loss.terms(*data)["transport"], density, [points])
    assert difference(slope, GOLDEN[f"{case}_dm_grad_ot_only"]) <= 1e-5
    dots = rounded_dots(points, tuple(density.shape[-2:]), 8, people)
    np.testing.assert_array_equal(dots, GOLDEN[f"{case}_gt_discrete"])


@pytest.mark.parametrize("case", WITH_PEOPLE)
def test_the_exact_solution_is_that_of_the_dense_solver(case):
    density, (points,), (weights,) = arguments(case)
    mass = density[0, 0]
    plan = solve_grid(mass.numpy(), points.numpy(), weights.numpy(), stride=8, epsilon=10.0, tolerance=1e-9)
    assert plan.converged
    cost = (cell_centres(mass.shape, 8, dtype=torch.float64)[:, None] - points).square().sum(-1)
    a, b = mass.flatten() / mass.sum(), weights / weights.sum()
    dense = sinkhorn(cost, a, b, epsilon=10.0, entropy="relative", tolerance=1e-10)
    potential = dense.row_potential - a @ dense.row_potential
    torch.testing.assert_close(torch.tensor(plan.row_potential).flatten(), potential, rtol=1e-6, atol=1e-5)
    relative = torch.xlogy(dense.matrix, dense.matrix / (a[:, None] * b).clamp(min=1e-300)).sum()
    assert plan.value == pytest.approx(((cost * dense.matrix).sum() + 10 * relative).item(), rel=1e-9)
