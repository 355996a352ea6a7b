import math

import pytest
import torch

from workbench import metrics as M
from workbench.density import density_map

TRUTH, PREDICTED = [0, 10, 60, 600], [1, 8, 60, 640]


def test_counts_by_hand():
    assert M.mae(TRUTH, PREDICTED) == (1 + 2 + 0 + 40) / 4
    assert M.rmse(TRUTH, PREDICTED) == math.sqrt((1 + 4 + 1600) / 4)
    assert M.nae(TRUTH, PREDICTED) == pytest.approx((2 / 10 + 0 + 40 / 600) / 3)
    assert M.bias(TRUTH, PREDICTED) == (1 - 2 + 40) / 4


def test_nae_without_anybody_is_undefined():
    assert math.isnan(M.nae([0, 0], [1, 2]))


def test_levels_of_jhu():
    rows = M.per_level(TRUTH, PREDICTED)
    assert {name: row["images"] for name, row in rows.items()} == {"low": 2, "medium": 1, "high": 1}
    assert rows["low"]["mae"] == 1.5
    assert rows["high"]["bias"] == 40


def test_group_means_weigh_each_group_once():
    assert M.group_means([1, 1, 1, 9], [0, 0, 0, 5]) == {0: 1, 5: 9}


def test_sparsity():
    assert M.sparsity(torch.tensor([[0.0, 0.0009], [0.001, 2.0]])) == 0.5


def test_game_level_zero_is_the_absolute_error():
    points = torch.tensor([[3.0, 3.0], [30.0, 20.0]])
    assert M.game(torch.full((4, 5), 0.25), points, 0, stride=8) == pytest.approx(3)


def test_game_sees_a_person_in_the_wrong_quarter():
    density = torch.zeros(4, 4)
    density[0, 0] = 1
    points = torch.tensor([[31.0, 31.0]])
    assert [M.game(density, points, level, stride=8) for level in (0, 1, 2)] == [0, 2, 2]


def test_game_shares_a_cell_between_the_regions_it_lies_in():
    one_cell = torch.tensor([[4.0]])
    assert M.game(one_cell, torch.tensor([[1.0, 1.0]]), 1, stride=8) == 3  # four quarters of 1, one of them right
    # the image is smaller than its cells: the rest belongs to the last region
    assert M.game(one_cell, torch.tensor([[5.0, 5.0]]), 0, stride=8, size=(6, 6)) == 3


def test_mean_game_of_two_images():
    wrong, right = torch.zeros(4, 4), torch.zeros(4, 4)
    wrong[0, 0] = right[3, 3] = 1
    people = [torch.tensor([[31.0, 31.0]])] * 2
    assert M.mean_game([wrong, right], people, stride=8) == {0: 0, 1: 1, 2: 1, 3: 1.75}
    assert M.mean_game([right], people[:1], stride=8, levels=(2,), sizes=[(32, 32)]) == {2: 0}


def test_levels_of_nwpu():
    levels = {"S0": (0, 0), "S1": (1, 100), "S2": (101, 500), "S3": (501, 5000), "S4": (5001, float("inf"))}
    rows = M.per_level([0, 1, 100, 500, 5001], [0, 2, 100, 500, 5000], levels)
    assert {name: row["images"] for name, row in rows.items()} == {"S0": 1, "S1": 2, "S2": 1, "S4": 1}


def test_game_never_falls_with_the_level():
    torch.manual_seed(0)
    points = torch.rand(40, 2) * 80
    density = density_map(torch.rand(35, 2) * 80, (10, 10), sigma=6.0, stride=8)
    errors = [M.game(density, points, level, stride=8) for level in range(4)]
    assert errors == sorted(errors)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: M.mae([1, 2], [1]), r"shapes \(2,\) and \(1,\)"),
        (lambda: M.mae([], []), "above zero"),
        (lambda: M.rmse([1.0], [float("nan")]), "NaN"),
        (lambda: M.per_level([7], [7], {"none": (0, 5)}), "7 people belongs to none"),
        (lambda: M.game(torch.zeros(2, 2), torch.tensor([[99.0, 0.0]]), 0, stride=8), "outside the image"),
        (lambda: M.game(torch.zeros(2, 2), torch.zeros(0, 2), -1, stride=8), "level is -1"),
        (lambda: M.mean_game([], [], stride=8), "at least one"),
        (lambda: M.mean_game([torch.zeros(2, 2)], [], stride=8), "1 images, points 0"),
        (lambda: M.group_means([1, 2], [0]), "expected the same"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
