"""Random points in the right number: where they lie, and what they score."""

import math

import pytest
import torch

from workbench.localization.chance import random_points
from workbench.localization.scores import radius_scores

SIZES = [(60, 200), (400, 300)]
TRUTH = [torch.rand(500, 2) * torch.tensor([200.0, 60.0]), torch.zeros(0, 2)]


def test_as_many_as_people_inside_the_image_and_below_the_top():
    first, second = random_points(TRUTH, SIZES, seed=1, top=0.5)
    assert (len(first), len(second)) == (500, 0)
    assert first.dtype == torch.float32
    assert 30 <= float(first[:, 1].min()) < 33
    assert 57 < float(first[:, 1].max()) <= 60
    assert 195 < float(first[:, 0].max()) <= 200


def test_the_seed_draws_the_points():
    one, same, other = (random_points(TRUTH, SIZES, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_one_point_is_found_as_often_as_its_disc_covers_the_image():
    images, radius = 4000, 10.0
    truth = [torch.tensor([[50.0, 50.0]])] * images
    found = radius_scores(random_points(truth, [(100, 100)] * images), truth, radius)
    share = math.pi * radius**2 / 100**2
    assert found.detection.recall == pytest.approx(share, abs=4 * math.sqrt(share / images))


@pytest.mark.bad_input
def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="truth holds 2 images and sizes 1"):
        random_points(TRUTH, SIZES[:1])
    with pytest.raises(ValueError, match="top is 1"):
        random_points(TRUTH, SIZES, top=1.0)
