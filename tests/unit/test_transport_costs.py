import math

import pytest
import torch

from workbench.transport import COSTS, TransportCost, cost_matrix

POINT = torch.tensor([[20.0, 4.0]], dtype=torch.float64)


def test_values_of_one_pair():
    # cell (0, 0) has its centre at (4, 4); the image is 16 wide and 8 high, so the side is 16
    distance = 16 / 32
    point = torch.tensor([[20.0, 4.0]], dtype=torch.float64)
    size = (2, 4)  # 32 x 16 pixels, side 32
    values = {name: float(cost_matrix(name, size, point)[0, 0]) for name in COSTS}
    eta = 0.6 + 0.2 * (4 / 16)  # both heights are 4 of 16 pixels
    assert values["euclidean"] == pytest.approx(distance)
    assert values["squared"] == pytest.approx(distance**2)
    assert values["exponential"] == pytest.approx(math.exp(distance / 0.6))
    assert values["perspective"] == pytest.approx(math.exp(distance / eta))


def test_perspective_makes_the_top_dear():
    points = torch.tensor([[28.0, 4.0], [28.0, 28.0]], dtype=torch.float64)
    cost = cost_matrix("perspective", (4, 4), points).reshape(4, 4, 2)
    assert cost[0, 0, 0] > cost[3, 0, 1]  # the same distance, at the top and at the bottom


def test_offset_is_subtracted_and_small_distances_keep_their_digits():
    near = TransportCost("exponential", offset=1.0)
    gap = near(torch.tensor([[1e-6, 0.0]]), torch.zeros(1, 2))
    assert float(gap) == pytest.approx(math.expm1(1e-6 / 0.6), rel=1e-6)
    literal = cost_matrix("perspective", (3, 2), POINT / 2)
    assert torch.allclose(literal - 1, cost_matrix("perspective", (3, 2), POINT / 2, offset=1.0))


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_follow_the_map_and_the_scale_does_not_matter(name, dtype):
    points = torch.tensor([[3.0, 5.0], [11.0, 2.0]], dtype=dtype)
    cost = cost_matrix(name, (2, 3), points, stride=4)
    assert cost.shape == (6, 2)
    assert cost.dtype == dtype
    assert cost.argmin(0).tolist() == [3, 2]  # (3, 5) lies in cell (1, 0), (11, 2) in cell (0, 2)
    assert torch.allclose(cost, cost_matrix(name, (2, 3), points * 4, stride=16))


@pytest.mark.parametrize("name", COSTS)
def test_pairs_equal_the_matrix(name):
    cells, points = torch.rand(7, 2, dtype=torch.float64), torch.rand(7, 2, dtype=torch.float64)
    cost = TransportCost(name)
    assert torch.allclose(cost(cells, points).diagonal(), cost.between(cells, points))


def test_exponential_costs_end_at_the_most():
    far = torch.tensor([[0.0, 0.0], [0.3, 0.0], [1.0, 0.0]])
    point = torch.zeros(1, 2)
    free, bound = (
        TransportCost("exponential", (0.01, 0.01), most=most)(far, point)[:, 0] for most in (math.inf, 500.0)
    )
    assert free[2] == math.inf
    assert bound.tolist() == [1.0, 500.0, 500.0]


def test_nobody():
    assert cost_matrix("perspective", (2, 2), torch.zeros(0, 2)).shape == (4, 0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "manhattan"}, "'perspective', 'exponential'"),
        ({"eta": (0.0, 1.0)}, "eta is 0.0"),
        ({"side": -1.0}, "side is -1.0"),
        ({"offset": float("nan")}, "offset is nan"),
        ({"points": torch.tensor([[99.0, 0.0]])}, "outside the image"),
    ],
)
def test_bad_input(change, message):
    arguments = {"name": "perspective", "size": (2, 2), "points": torch.zeros(1, 2), **change}
    with pytest.raises(ValueError, match=message):
        cost_matrix(arguments.pop("name"), arguments.pop("size"), arguments.pop("points"), **arguments)
