import pytest
import torch

from workbench.data import open_dataset
from workbench.data.noise import NoisyAnnotations
from workbench.data.patches import TrainingPatches
from workbench.data.sample import Draw


@pytest.fixture(scope="module")
def scenes():
    return open_dataset("scenes", preset="small", length=6, seed=3)


def test_points_move_and_nothing_else_does(scenes):
    noisy = NoisyAnnotations(scenes, "uniform", amount=3.0, unit="pixels")
    assert noisy.names == scenes.names
    assert noisy.counts() == scenes.counts()
    for index in range(len(scenes)):
        clean, moved = scenes[index], noisy[index]
        assert torch.equal(clean.image, moved.image)
        assert noisy.size_of(index) == clean.size
        assert torch.equal(noisy.points(index), moved.points)
        shift = (moved.points - clean.points).abs()
        assert (shift <= 3.0001).all()  # reflected at the border is nearer still
        assert clean.count == 0 or shift.max() > 0.5


def test_the_noise_is_the_images_own(scenes):
    one, again, other = (NoisyAnnotations(scenes, "gaussian", amount=4.0, seed=seed) for seed in (0, 0, 1))
    fullest = max(range(len(scenes)), key=lambda index: len(scenes.points(index)))
    first = one.points(fullest)
    one.points(0)
    assert torch.equal(one.points(fullest), first)  # whatever was asked for in between
    assert torch.equal(again[fullest].points, first)
    assert torch.equal(one[fullest - len(scenes)].points, first)  # counted from the end
    assert not torch.equal(other.points(fullest), first)


def test_no_noise_is_the_data_set_itself(scenes):
    noisy = NoisyAnnotations(scenes, "uniform", amount=0)
    assert all(torch.equal(noisy.points(index), scenes.points(index)) for index in range(len(scenes)))


def test_patches_are_cut_from_the_moved_points(scenes):
    noisy = NoisyAnnotations(scenes, "gaussian", amount=4.0)
    fullest = max(range(len(scenes)), key=lambda index: len(scenes.points(index)))
    patch = TrainingPatches(noisy, 128, flip=False)[Draw(fullest, 0)]  # the whole scene
    assert torch.equal(patch.points, noisy.points(fullest))


@pytest.mark.bad_input
def test_bad_input_is_named(scenes):
    with pytest.raises(ValueError, match="model is 'poisson'"):
        NoisyAnnotations(scenes, "poisson", amount=1.0)
    with pytest.raises(ValueError, match="amount is -1"):
        NoisyAnnotations(scenes, "uniform", amount=-1.0)
    with pytest.raises(ValueError, match="seed is -1"):
        NoisyAnnotations(scenes, "uniform", amount=1.0, seed=-1)
    with pytest.raises(ValueError, match="unit is 'miles'"):
        NoisyAnnotations(scenes, "uniform", amount=1.0, unit="miles").points(0)
