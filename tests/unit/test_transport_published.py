"""The published solver's kernel beside the same schedule on logarithms."""

import pytest
import torch

from workbench.points import cell_centres
from workbench.transport import TransportCost, published
from workbench.transport.published import PublishedSchedule, published_plan

COST = TransportCost("perspective", offset=1.0)
SIZE, COUNT, DIAMETER = (32, 20), 80, 1.2


def scene(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    density = torch.rand(SIZE[0] * SIZE[1], generator=generator, dtype=torch.float64)
    points = torch.rand(COUNT, 2, generator=generator, dtype=torch.float64) * torch.tensor([20 / 32, 1.0])
    cells = cell_centres(SIZE, 1, dtype=torch.float64) / 32
    return tuple(x.to(dtype) for x in (COST(cells, points), COUNT * density / density.sum(), torch.ones(COUNT)))


def solve(schedule, dtype=torch.float32, **options):
    cost, a, b = scene(dtype)
    return published_plan(cost.__getitem__, a, b, schedule, DIAMETER, **options)


def close(found, exact, tolerance):
    return torch.linalg.norm(found.double() - exact) < tolerance * torch.linalg.norm(exact)


@pytest.fixture
def calls(monkeypatch):
    """The calls of the solver on logarithms."""
    calls, original = [], published._by_logarithm
    monkeypatch.setattr(published, "_by_logarithm", lambda *given: (calls.append(given), original(*given))[1])
    return calls


@pytest.fixture
def on_logarithms(monkeypatch):
    """The schedule on logarithms in double precision, whatever the numbers."""

    def run(schedule):
        def nowhere(*given):
            raise FloatingPointError

        with monkeypatch.context() as patch:
            patch.setattr(published, "_by_kernel", nowhere)
            return solve(schedule, torch.float64)

    return run


@pytest.mark.parametrize("options", [{}, {"scaling": 0.7}, {"scaling": 0.25}, {"p": 2.0, "blur": 0.05}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kernel_gives_what_logarithms_give(dtype, options, calls, on_logarithms):
    schedule = PublishedSchedule(**options)
    found = solve(schedule, dtype)
    assert not calls
    exact = on_logarithms(schedule)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-10
    for name in ("row_potential", "column_potential", "row_marginal", "column_marginal", "matrix"):
        assert close(getattr(found, name), getattr(exact, name), tolerance), name


def test_the_plan_is_that_of_its_potentials_and_says_how_far_it_is_from_converged():
    cost, a, b = scene(torch.float64)
    plan = solve(PublishedSchedule(), torch.float64)
    potentials = plan.row_potential[:, None] + plan.column_potential
    assert torch.allclose(plan.matrix, a[:, None] * b * ((potentials - cost) / 0.01).exp(), rtol=1e-9, atol=1e-300)
    due = a * (-plan.row_potential / 0.5).exp()
    assert plan.residual == pytest.approx(float((plan.matrix.sum(1) / due - 1).abs().max()))
    assert not plan.converged
    assert solve(PublishedSchedule(scaling=0.9), torch.float64).residual < plan.residual / 2


def test_rows_below_the_floor_are_shown_as_the_floor():
    cost, a, b = scene(torch.float64)
    a[7] = 0
    plan = published_plan(cost.__getitem__, a, b, PublishedSchedule(), DIAMETER, floor=1e-20)
    without = published_plan(cost.__getitem__, a, b, PublishedSchedule(), DIAMETER)
    assert not without.matrix[7].any()
    assert torch.equal(plan.row_potential, without.row_potential)
    share = b * ((plan.row_potential[7] + plan.column_potential - cost[7]) / 0.01).exp()
    assert torch.allclose(plan.matrix[7], 1e-20 * share, rtol=1e-9)


@pytest.mark.parametrize("case", ["epsilon", "mass"])
def test_numbers_far_apart_in_single_precision(case, calls):
    schedule = PublishedSchedule(blur=3e-4 if case == "epsilon" else 0.01)
    cost, a, b = scene()
    if case == "mass":
        a = a * torch.tensor([1.0, 1e-30]).repeat(len(a) // 2) * 1e25
    found = published_plan(cost.__getitem__, a, b, schedule, DIAMETER)
    exact = published_plan(cost.double().__getitem__, a.double(), b.double(), schedule, DIAMETER)
    assert calls or case == "mass"
    for name in ("row_potential", "column_potential", "column_marginal"):
        assert torch.isfinite(getattr(found, name)).all()
        assert close(getattr(found, name), getattr(exact, name), 1e-4), name


@pytest.mark.parametrize("empty", ["rows", "columns", "both"])
def test_nothing_to_move(empty):
    cost, a, b = scene(torch.float64)
    a, b = (0 * a if empty != "columns" else a), (0 * b if empty != "rows" else b)
    plan = published_plan(cost.__getitem__, a, b, PublishedSchedule(), DIAMETER)
    assert not plan.matrix.any()
    for name in ("row_potential", "column_potential"):
        assert torch.isfinite(getattr(plan, name)).all(), name
