"""The published solver's kernel in blocks beside the same schedule on logarithms."""

import pytest
import torch

from workbench.losses import generalized_schedule
from workbench.points import cell_centres
from workbench.transport import TransportCost
from workbench.transport.published_kernel import CHUNK, GibbsKernel, OutOfRange
from workbench.transport.published_schedule import PublishedSchedule, diameter, published_solution

COST = TransportCost("perspective", offset=1.0)
SIZE, COUNT = (64, 40), 300


def scene(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    density = torch.rand(SIZE, generator=generator, dtype=torch.float64)
    points = torch.rand(COUNT, 2, generator=generator, dtype=torch.float64)
    points = (points * torch.tensor([40 / 64, 1.0]))[points[:, 1].argsort()]
    cells = cell_centres(SIZE, 1, dtype=torch.float64) / 64
    return tuple(x.to(dtype) for x in (COUNT * density / density.sum(), cells, points, torch.ones(COUNT)))


def solve(schedule, dtype=torch.float32):
    density, cells, points, people = scene(dtype)
    return published_solution(density, cells, points, people, COST, schedule)


def close(found, exact, tolerance):
    return torch.linalg.norm(found.double() - exact) < tolerance * torch.linalg.norm(exact)


@pytest.fixture
def readable(monkeypatch):
    """The schedule on logarithms, whatever the numbers."""

    def nowhere(*arguments):
        raise OutOfRange("not in this test")

    def run(schedule, dtype=torch.float64):
        with monkeypatch.context() as patch:
            patch.setattr(generalized_schedule, "_by_kernel", nowhere)
            return solve(schedule, dtype)

    return run


@pytest.mark.parametrize("scaling", [0.5, 0.7, 0.25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kernel_gives_what_logarithms_give(dtype, scaling, readable):
    schedule = PublishedSchedule(scaling=scaling)
    found, exact = solve(schedule, dtype), readable(schedule)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-10
    for name in ("f", "g", "held", "columns", "log", "share"):
        assert close(getattr(found, name), getattr(exact, name), tolerance), name


def test_blocks_are_narrow_at_the_end_and_hold_all_that_matters():
    found = solve(PublishedSchedule())
    entries = sum(block.entries.numel() for block in found.kernel)
    assert len(found.kernel) > 64 * 40 * COUNT // CHUNK
    assert entries < 0.7 * 64 * 40 * COUNT
    assert torch.allclose(found.share.sum(1), found.held, rtol=1e-5)
    density = scene()[0].flatten()
    assert torch.allclose(density @ found.share, found.columns, rtol=1e-4)


def test_points_in_any_order():
    density, cells, points, people = scene()
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    found = published_solution(density, cells, points[order], people, COST, PublishedSchedule())
    exact = solve(PublishedSchedule())
    assert torch.allclose(found.g, exact.g[order], atol=1e-5)
    assert torch.allclose(found.share, exact.share[:, order], rtol=1e-3, atol=1e-8)


def test_powers_of_the_kernel():
    density, cells, points, people = scene(torch.float64)
    start = diameter(cells, points)
    kernel = GibbsKernel(COST, SIZE[1], cells, points, (start, start / 9), people, density.flatten() / density.max())
    matrix = COST(cells, points)
    nearest = matrix.amin(1)
    assert torch.allclose(kernel.nearest, nearest)
    for epsilon in (start, start / 2, start / 8, start / 9):
        expected = (-(matrix - nearest[:, None]) / epsilon).exp()
        rows, columns = kernel.products(epsilon, people, torch.ones_like(nearest))
        assert torch.allclose(rows, expected.sum(1))
        assert torch.allclose(columns, expected.sum(0))


def test_out_of_range_is_said_and_answered_by_logarithms(monkeypatch):
    schedule, calls = PublishedSchedule(blur=3e-4), []
    original = generalized_schedule._by_logarithm

    def counted(*arguments):
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(generalized_schedule, "_by_logarithm", counted)
    found = solve(schedule)
    assert len(calls) == 1
    exact = solve(schedule, torch.float64)
    for name in ("f", "g", "columns"):
        assert close(getattr(found, name), getattr(exact, name), 1e-4), name
    density, cells, points, people = scene()
    kernel = GibbsKernel(COST, SIZE[1], cells, points, (1.0, 1e-3), people, density.flatten() / density.max())
    with pytest.raises(OutOfRange, match="a product is 1e-30, expected more than 1e-25"):
        kernel.trusted(torch.full((1,), 1e-30), torch.ones(1))
