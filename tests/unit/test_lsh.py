import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from workbench.sampling.lsh import (
    collision_bound,
    collision_probability,
    draw_projection,
    hash_codes,
    hash_stream,
)


def by_hand(images, projection):
    """Eq. (1) as it is written, in float64."""
    x, w = np.asarray(images, dtype=np.float64), np.asarray(projection, dtype=np.float64)
    return [sum(w[c].ravel() @ image[c].ravel() for c in range(len(w))) / len(w) for image in x]


@pytest.mark.parametrize("channels", [3, 1])
def test_codes_are_equation_1(channels):
    images = torch.rand(7, channels, 18, 30, generator=torch.Generator().manual_seed(1))
    projection = draw_projection((18, 30), channels=channels, seed=2)
    assert hash_codes(images.double(), projection) == pytest.approx(by_hand(images, projection), abs=1e-12)
    assert hash_codes(images, projection) == pytest.approx(by_hand(images, projection), abs=1e-4)


def test_a_code_by_hand():
    image = torch.tensor([[[1.0, 2.0]], [[0.0, 1.0]], [[3.0, 0.0]]])
    projection = torch.tensor([[[1.0, -1.0]], [[5.0, 2.0]], [[0.5, 9.0]]])
    assert hash_codes(image[None], projection).tolist() == pytest.approx([(-1 + 2 + 1.5) / 3])


def test_streaming_gives_the_same_codes_and_takes_eight_bits():
    images = (torch.rand(23, 3, 9, 14, generator=torch.Generator().manual_seed(1)) * 255).to(torch.uint8)
    projection = draw_projection((9, 14), seed=0).double()
    whole = hash_codes(images.double() / 255, projection)
    assert torch.allclose(hash_stream(iter(images), projection), whole, atol=1e-12)
    assert torch.allclose(hash_stream((image / 255 for image in images), projection), whole, atol=1e-6)


def test_a_projection_follows_from_its_seed_and_is_standard_normal():
    drawn = draw_projection((100, 100), seed=3)
    assert torch.equal(drawn, draw_projection((100, 100), seed=3))
    assert not torch.equal(drawn, draw_projection((100, 100), seed=4))
    assert float(drawn.mean()) == pytest.approx(0, abs=4 / math.sqrt(30_000))
    assert float(drawn.std()) == pytest.approx(1, abs=4 / math.sqrt(60_000))


@pytest.mark.parametrize("distance", [0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0])
def test_collisions_happen_as_often_as_lemma_1_says(distance):
    draws, width = 40_000, 1.0
    rng = torch.Generator().manual_seed(int(100 * distance))
    one, step = torch.rand(12, dtype=torch.float64), torch.randn(12, dtype=torch.float64, generator=rng)
    other = one + distance * step / step.norm()
    vectors = torch.randn(draws, 12, dtype=torch.float64, generator=rng)
    offset = torch.rand(draws, dtype=torch.float64, generator=rng) * width
    met = torch.floor((vectors @ one + offset) / width) == torch.floor((vectors @ other + offset) / width)
    probability = collision_probability(distance, width)
    error = math.sqrt(probability * (1 - probability) / draws)
    assert float(met.double().mean()) == pytest.approx(probability, abs=3 * error)


def test_the_closed_form_is_the_integral_of_equation_2():
    from scipy.integrate import quad

    for distance, width in ((0.3, 1.0), (1.0, 1.0), (5.0, 1.3), (400.0, 0.2)):

        def integrand(t, c=distance, r=width):
            return 2 / (c * math.sqrt(2 * math.pi)) * math.exp(-((t / c) ** 2) / 2) * (1 - t / r)

        assert collision_probability(distance, width) == pytest.approx(quad(integrand, 0, width)[0], rel=1e-9)


def test_limits_and_the_bound_of_lemma_2():
    assert collision_probability(0, 1) == collision_bound(0, 1) == 1
    distances = np.logspace(-3, 6, 200)
    values = [collision_probability(float(c), 1) for c in distances]
    assert all(0 < value <= 1 for value in values)
    assert all(one > other for one, other in pairwise(values))
    bounds = [collision_bound(float(c), 1) for c in distances]
    assert all(value <= bound for value, bound in zip(values, bounds, strict=True))
    assert bounds[-1] / values[-1] == pytest.approx(2, rel=1e-6)


def test_the_channels_divide_the_distance():
    # two images of C channels are as far apart under eq. (1) as vectors at their distance over C
    rng = torch.Generator().manual_seed(0)
    one, other = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=rng)
    differences = [
        float(torch.diff(hash_codes(torch.stack([one, other]), draw_projection((4, 5), seed=seed).double())))
        for seed in range(4000)
    ]
    assert np.std(differences) == pytest.approx(float((one - other).norm()) / 3, rel=0.04)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: hash_codes(torch.rand(2, 3, 4, 6), p), "images has shape"),
        (lambda p: hash_codes(torch.full((1, 3, 4, 5), float("nan")), p), "images holds 60 values that are NaN"),
        (lambda p: hash_stream([torch.rand(3, 4, 5), torch.rand(3, 5, 5)], p), r"image 1 has shape \(3, 5, 5\)"),
        (lambda p: hash_stream([], p), "images is empty"),
        (lambda p: hash_stream([torch.full((3, 4, 5), float("inf"))], p), "image 0 holds values that are NaN"),
        (lambda p: draw_projection((0, 5)), "height is 0"),
        (lambda p: collision_probability(-1.0, 1.0), "distance is -1.0"),
        (lambda p: collision_bound(1.0, float("nan")), "width is nan"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(draw_projection((4, 5)))
