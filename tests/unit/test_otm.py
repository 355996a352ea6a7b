import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from workbench.data import open_dataset
from workbench.density import density_map
from workbench.localization import bisection_start, find_points, ot_m
from workbench.localization.ot_m import barycentres
from workbench.localization.start import separated
from workbench.points import cell_centres
from workbench.transport import TransportCost, sinkhorn


def mean_distance(found, people):
    """Of the cheapest one-to-one assignment, in pixels."""
    cost = torch.cdist(found.double(), people.double()).numpy()
    return cost[linear_sum_assignment(cost)].mean()


def scene_maps(number, sigma):
    scenes = open_dataset("scenes", preset="small", length=number, seed=5)
    for index in range(number):
        people = scenes.points(index).double()
        if len(people):
            yield density_map(people, (16, 16), sigma=sigma, stride=8), people


def test_people_far_apart_are_found_at_their_places():
    people = torch.tensor([[20.0, 20.0], [60.0, 44.0], [100.0, 12.0]])
    for stride, size in ((8, (8, 16)), (4, (16, 32)), (3, (22, 44))):
        found = ot_m(density_map(people, size, sigma=5.0, stride=stride), stride=stride)
        assert mean_distance(found, people) < 0.5


@pytest.mark.parametrize(("total", "people"), [(0.0, 0), (0.49, 0), (0.5, 1), (1.4, 1), (2.5, 3), (7.2, 7)])
def test_as_many_points_as_people_rounded_half_up(total, people):
    density = torch.full((4, 4), total / 16, dtype=torch.float64)
    assert len(ot_m(density)) == people


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "density",
    [
        torch.full((1, 1), 7.0),
        torch.full((2, 2), 3.3),
        torch.eye(3) * 4,
        torch.full((3, 3), 25.0),
        torch.full((1, 12), 0.5),
        torch.full((7, 9), 1e-9).index_put((torch.tensor([2]), torch.tensor([3])), torch.tensor(2.6)),
    ],
    ids=["one cell", "four cells", "diagonal", "25 a cell", "a row", "one full cell"],
)
def test_no_point_comes_twice_though_cells_hold_several_people(density, dtype):
    found = ot_m(density.to(dtype), stride=8)
    assert found.dtype == dtype
    assert len(torch.unique(found, dim=0)) == len(found) == int(density.sum() + 0.5)
    assert (found >= 0).all()
    assert (found <= 8 * torch.tensor([density.shape[1], density.shape[0]])).all()
    assert torch.equal(found, ot_m(density.to(dtype), stride=8))


def test_people_of_one_cell_stay_in_it():
    density = torch.zeros(6, 6)
    density[1, 4] = 5
    found = ot_m(density, stride=10) / 10
    assert torch.equal(found.floor().long(), torch.tensor([[4, 1]]).expand(5, 2))


def test_bisection_cuts_an_even_map_into_even_pieces():
    points = bisection_start(torch.full((2, 4), 1.0, dtype=torch.float64), 8)
    assert {tuple(point) for point in points.tolist()} == {(x + 0.5, y + 0.5) for x in range(4) for y in range(2)}
    # two people of two: the cut goes through the first cell, whose other third joins the second cell
    halves = bisection_start(torch.tensor([[3.0, 1.0]], dtype=torch.float64), 2)
    assert torch.allclose(halves, torch.tensor([[1 / 3, 0.5], [(1 * 5 / 6 + 1 * 1.5) / 2, 0.5]]).double())


def test_separated_points_differ_and_keep_their_middle():
    points = torch.tensor([[2.5, 2.5]] * 4 + [[9.0, 9.0]], dtype=torch.float64)
    apart = separated(points)
    assert torch.allclose(apart[:4].mean(0), points[0])
    assert torch.cdist(apart[:4], apart[:4]).fill_diagonal_(9).min() >= 0.5
    assert torch.equal(apart[4], points[4])


def test_a_step_is_that_of_the_dense_plan():
    density, people = next(scene_maps(3, sigma=8.0))
    points = bisection_start(density, len(people))
    cells = cell_centres((16, 16), 1, dtype=torch.float64)
    plan = sinkhorn(
        TransportCost("squared")(cells, points),
        density.flatten(),
        torch.ones(len(points)).double(),
        epsilon=0.25,
        tau=10.0,
    )
    expected = plan.matrix.T @ cells / plan.column_marginal[:, None]
    found = barycentres(density, cells, points, epsilon=0.25, tau=10.0)
    assert torch.allclose(found, expected, atol=1e-4)


def test_nearer_to_the_people_than_the_published_code():
    ours, published = [], []
    for density, people in scene_maps(14, sigma=6.0):
        ours.append(mean_distance(ot_m(density), people))
        published.append(np.mean([mean_distance(ot_m(density, convention="official", seed=s), people) for s in (0, 1)]))
    assert np.mean(ours) < 0.8 * np.mean(published)


def test_the_official_start_is_drawn_from_the_seed():
    density, _ = next(scene_maps(3, sigma=6.0))
    first, again, other = (ot_m(density, convention="official", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_batches_and_images_that_end_within_a_cell():
    people = torch.tensor([[20.0, 20.0], [60.0, 44.0]])
    maps = torch.stack([density_map(people, (8, 9), sigma=5.0, stride=8), torch.zeros(8, 9)])[:, None]
    for method in ("local_maxima", "ot_m"):
        found = find_points(maps, method, sizes=[(60, 66)] * 2)
        assert mean_distance(found[0].points, people) < 3
        assert len(found[0].scores) == 2
        assert len(found[1].points) == len(found[1].scores) == 0
    last = torch.zeros(1, 1, 4, 4)
    last[..., 3, 3] = 3
    (corner,) = find_points(last, "ot_m", sizes=[(25, 25)])
    assert (corner.points <= 25).all()
    assert len(torch.unique(corner.points, dim=0)) == 3


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ot_m(torch.zeros(1, 3, 3)), "density has shape"),
        (lambda: ot_m(torch.full((3, 3), torch.nan)), "density holds 9 values"),
        (lambda: ot_m(-torch.ones(3, 3)), "density holds values down to -1"),
        (lambda: ot_m(torch.ones(3, 3), stride=0), "stride is 0"),
        (lambda: ot_m(torch.ones(3, 3), convention="mine"), "convention is 'mine'"),
        (lambda: ot_m(torch.ones(3, 3), epsilons=(1.0, -1.0)), "epsilons is -1"),
        (lambda: ot_m(torch.ones(3, 3), tau_ratio=0.0), "tau_ratio is 0"),
        (lambda: ot_m(torch.ones(3, 3), start=torch.tensor([[99.0, 0.0]])), "outside the image"),
        (lambda: ot_m(torch.zeros(3, 3), start=torch.ones(1, 2)), "density is zero everywhere"),
        (lambda: ot_m(torch.full((1, 1), 90.0), convention="official"), "64 pixels for 90 people"),
        (lambda: bisection_start(torch.zeros(3, 3), 2), "density is zero everywhere"),
        (lambda: find_points(torch.zeros(1, 1, 3, 3), "peaks"), "method is 'peaks'"),
        (lambda: find_points(torch.zeros(1, 1, 3, 3), sizes=[]), "sizes holds 0 images"),
        (lambda: find_points(torch.zeros(1, 1, 3, 3), sizes=[(24, 16)]), "sizes holds"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
