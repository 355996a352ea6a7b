import pytest
import torch

from workbench import points as P


def test_cell_centres_follow_the_convention():
    centres = P.cell_centres((2, 3), 8)
    assert centres.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]


def test_cell_of_borders():
    corners = torch.tensor([[0.0, 0.0], [8.0, 7.999], [24.0, 16.0]])
    assert P.cell_of(corners, (2, 3), 8).tolist() == [[0, 0], [0, 1], [1, 2]]


def test_dot_map_counts_people_and_weights():
    two = torch.tensor([[1.0, 1.0], [1.5, 1.5], [9.0, 1.0]])
    assert P.dot_map(two, (1, 2), 8).tolist() == [[2, 1]]
    assert P.dot_map(two, (1, 2), 8, weights=torch.tensor([0.5, 2.0, 3.0])).tolist() == [[2.5, 3]]
    assert P.dot_map(torch.zeros(0, 2), (2, 2)).sum() == 0


def test_neighbouring_crops_share_no_point():
    line = torch.tensor([[0.0, 1.0], [4.0, 1.0], [7.99, 1.0]])
    left, right = P.crop(line, 0, 0, 4, 4), P.crop(line, 4, 0, 4, 4)
    assert left.tolist() == [[0, 1]]
    assert right[:, 0].tolist() == pytest.approx([0, 3.99])


def test_flip_twice_and_the_middle():
    some = torch.tensor([[0.5, 3.0], [5.0, 1.0]])
    assert torch.equal(P.flip(P.flip(some, 10), 10), some)
    assert P.flip(some, 10)[1, 0] == 5


def test_resize_moves_x_by_width_and_y_by_height():
    assert P.resize(torch.tensor([[10.0, 10.0]]), (100, 200), (50, 400)).tolist() == [[20, 5]]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: P.cell_of(torch.tensor([[25.0, 1.0]]), (2, 3), 8), "1 of 1 points outside the image"),
        (lambda: P.cell_of(torch.tensor([[float("nan"), 1.0]]), (2, 3), 8), "points holds 1 values that are NaN"),
        (lambda: P.flip(torch.zeros(2, 3), 4), r"points has shape \(2, 3\)"),
        (lambda: P.crop(torch.zeros(1, 2), 0, 0, -1, 4), "width is -1"),
        (lambda: P.resize(torch.zeros(1, 2), (0, 4), (4, 4)), "height is 0"),
        (lambda: P.cell_axis(0, 8), "cells is 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
