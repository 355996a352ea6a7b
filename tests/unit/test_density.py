import math

import pytest
import torch

from workbench.density import adaptive_sigma, density_map, local_counts, resize_density


def test_one_person_is_the_normalised_gaussian():
    person = torch.tensor([[9.0, 6.0]], dtype=torch.float64)
    got = density_map(person, (4, 5), sigma=5.0, stride=4)
    want = torch.empty(4, 5, dtype=torch.float64)
    for row in range(4):
        for column in range(5):
            x, y = (column + 0.5) * 4, (row + 0.5) * 4
            want[row, column] = math.exp(-((x - 9) ** 2 + (y - 6) ** 2) / 50)
    assert torch.allclose(got, want / want.sum(), atol=1e-14)


def test_a_kernel_far_narrower_than_a_cell_stays_in_its_cell():
    got = density_map(torch.tensor([[9.0, 6.0]]), (4, 5), sigma=1e-3, stride=8)
    assert got[0, 1] == 1
    assert got.sum() == 1


def test_weights_scale_each_person():
    two = torch.tensor([[5.0, 5.0], [30.0, 20.0]], dtype=torch.float64)
    weights = torch.tensor([2.0, 0.5], dtype=torch.float64)
    sigma = torch.tensor([3.0, 7.0], dtype=torch.float64)
    got = density_map(two, (6, 8), sigma=sigma, stride=5, weights=weights)
    first = density_map(two[:1], (6, 8), sigma=3.0, stride=5)
    second = density_map(two[1:], (6, 8), sigma=7.0, stride=5)
    assert torch.allclose(got, 2 * first + 0.5 * second, atol=1e-14)


def test_adaptive_sigma_by_hand():
    square = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [3.0, 4.0]])
    assert torch.allclose(adaptive_sigma(square), torch.full((4,), 0.3 * (3 + 4 + 5) / 3))
    assert adaptive_sigma(square, neighbours=1).tolist() == pytest.approx([1.0] * 4)  # 0.3 * 3, held at least 1


@pytest.mark.parametrize("people", [0, 1, 2, 3])
def test_adaptive_sigma_with_few_people(people):
    sigma = adaptive_sigma(torch.rand(people, 2) * 100, default=12.0)
    assert sigma.shape == (people,)
    assert (sigma >= 1).all()
    if people == 1:
        assert sigma.tolist() == [12]


def test_people_on_one_spot_have_a_width():
    assert adaptive_sigma(torch.ones(50, 2)).tolist() == [1] * 50


def test_local_counts_of_a_map_that_is_no_multiple():
    density = torch.arange(15.0).reshape(3, 5)
    assert local_counts(density, 2).tolist() == [[0 + 1 + 5 + 6, 2 + 3 + 7 + 8, 4 + 9], [10 + 11, 12 + 13, 14]]
    assert torch.equal(local_counts(density[None, None], 2)[0, 0], local_counts(density, 2))


def test_resized_density_keeps_each_sum():
    density = torch.rand(3, 1, 7, 9, dtype=torch.float64)
    density[1] = 0
    resized = resize_density(density, (20, 11))
    assert torch.allclose(resized.sum((1, 2, 3)), density.sum((1, 2, 3)))
    assert torch.isfinite(resized).all()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"sigma": torch.tensor([1.0, -1.0])}, "sigma holds values down to -1"),
        ({"sigma": torch.ones(3)}, r"sigma has shape \(3,\)"),
        ({"stride": -8}, "stride is -8"),
        ({"weights": torch.tensor([1.0, -1.0])}, "weights holds values down to -1"),
        ({"stride": 2}, "2 of 2 points outside"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        density_map(torch.full((2, 2), 30.0), (6, 8), **({"stride": 8} | options))
