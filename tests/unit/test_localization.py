import pytest
import torch

from workbench.density import density_map
from workbench.localization import local_maxima


def test_people_far_apart_are_found_at_their_places():
    people = torch.tensor([[20.0, 20.0], [60.0, 44.0], [100.0, 12.0]])
    density = density_map(people, (8, 16), sigma=6.0, stride=8)
    points, height = local_maxima(density, size=(64, 128))
    order = points[:, 0].argsort()
    assert torch.allclose(points[order], people, atol=4)
    assert (height > 0.05).all()


def test_a_plateau_is_one_person_in_its_middle():
    density = torch.zeros(5, 5)
    density[2, 2] = 1
    points, _ = local_maxima(density, size=(40, 40))
    assert points.tolist() == [[20, 20]]


def test_the_flat_border_of_the_enlarged_map_is_nobody():
    density = torch.tensor([[0.1, 0.2, 0.1], [0.2, 0.4, 0.2], [0.1, 0.2, 0.1]])
    points, _ = local_maxima(density, size=(24, 24))
    assert points.tolist() == [[12, 12]]


def test_a_map_of_one_cell_is_one_person():
    assert local_maxima(torch.ones(1, 1), size=(8, 8))[0].tolist() == [[4, 4]]


def test_two_equal_people_are_two():
    density = torch.zeros(3, 8)
    density[1, 1] = density[1, 6] = 1
    points, _ = local_maxima(density, size=(24, 64))
    assert sorted(points[:, 0].tolist()) == [12, 52]


def test_the_threshold_is_exclusive_and_an_empty_map_has_nobody():
    density = torch.zeros(3, 3)
    density[1, 1] = 0.25
    assert len(local_maxima(density, size=(3, 3), threshold=0.25)[0]) == 0
    assert len(local_maxima(density, size=(3, 3), threshold=0.24)[0]) == 1
    assert local_maxima(torch.zeros(3, 3), size=(24, 24), threshold=0.0)[0].shape == (0, 2)


@pytest.mark.bad_input
def test_bad_input_is_named():
    with pytest.raises(ValueError, match="density has shape"):
        local_maxima(torch.zeros(1, 3, 3), size=(24, 24))
    with pytest.raises(ValueError, match="density holds values down to -1"):
        local_maxima(torch.full((3, 3), -1.0), size=(24, 24))


def test_the_threshold_is_one_of_people_per_pixel():
    def found(stride, people, **options):
        cells = 64 // stride
        density = torch.zeros(cells, cells)
        density[cells // 2, cells // 2] = people
        return len(local_maxima(density, size=(64, 64), **options)[0])

    # a cell's centre lies between pixels: the enlarged peak is (1 - 1/16)^2 and (1 - 1/8)^2 of the cell
    assert (found(8, 0.051 / 0.879), found(8, 0.049 / 0.879)) == (1, 0)  # the paper's 0.05 at its stride
    assert (found(4, 0.0127 / 0.766), found(4, 0.0123 / 0.766)) == (1, 0)
    assert (found(4, 0.0127 / 0.766, threshold=0.05), found(4, 0.051 / 0.766, threshold=0.05)) == (0, 1)
