import numpy as np
import pytest
import torch

from workbench.data import CrowdDataset, CrowdSample, Draw
from workbench.data.patches import ImagePatches, TrainingPatches
from workbench.sampling.groups import balanced_epoch, count_groups


class Numbered(CrowdDataset):
    """Images whose red and green say the column and the row of each pixel; asked sizes are counted."""

    def __init__(self, *sizes):
        self.sizes = sizes

    @property
    def names(self):
        return [f"IMG_{number}" for number in range(len(self.sizes))]

    def points(self, index):
        height, width = self.sizes[self.at(index)]
        rng = np.random.default_rng(index)
        inside = rng.random((40, 2)) * [width, height]
        return torch.tensor(np.concatenate([inside, [[width, height], [0, 0]]]), dtype=torch.float32)

    def size_of(self, index):
        return self.sizes[self.at(index)]

    def __getitem__(self, index):
        height, width = self.sizes[self.at(index)]
        across, down = torch.meshgrid(torch.arange(width) / 512, torch.arange(height) / 512, indexing="xy")
        return CrowdSample(torch.stack([across, down, down]), self.points(index), self.names[index])


DATA = Numbered((200, 320), (300, 500), (190, 300))


def test_a_patch_is_the_same_whenever_it_is_asked_for():
    patches = ImagePatches(DATA, per_image=5)
    assert len(patches) == len(patches.names) == 15
    assert patches.names[5:7] == ["IMG_1#0", "IMG_1#1"]
    for index in range(15):
        patch = patches[index]
        assert patch.size == patches.size_of(index) == (180, 296)
        left, top = round(float(patch.image[0, 0, 0]) * 512), round(float(patch.image[1, 0, 0]) * 512)
        assert patches.place(index, DATA.sizes[index // 5]) == (left, top, 296, 180)
        assert torch.equal(patches[index].image, patch.image)
        assert torch.equal(patches.points(index), patch.points)
        # every point is where the image's own was
        own = {tuple(p) for p in DATA.points(index // 5).tolist()}
        assert {tuple(p) for p in (patch.points + torch.tensor([left, top])).tolist()} <= own or patch.count == 0
    assert patches.counts() == [patches[index].count for index in range(15)]
    assert len({patches.place(index, (300, 500))[:2] for index in range(5, 10)}) == 5
    assert ImagePatches(DATA, per_image=5, seed=1).place(7, (300, 500)) != patches.place(7, (300, 500))


def test_patches_lie_everywhere():
    patches = ImagePatches(Numbered((10, 12)), (4, 4), per_image=600)
    places = [patches.place(index, (10, 12))[:2] for index in range(600)]
    assert {left for left, _ in places} == set(range(9))
    assert {top for _, top in places} == set(range(7))


def test_a_small_image_is_padded():
    patches = ImagePatches(Numbered((10, 12)), (16, 16), per_image=2)
    assert patches[0].size == (16, 16)
    assert patches[0].count == patches.counts()[0] == 42
    assert torch.count_nonzero(patches[0].image[:, 10:]) == 0


def test_patches_of_patches_are_augmented_by_their_draw():
    fixed = ImagePatches(DATA)
    training = TrainingPatches(fixed, (180, 296))
    seen = [training[Draw(3, seed)].image for seed in range(12)]
    plain, mirrored = fixed[3].image, fixed[3].image.flip(-1)
    assert {torch.equal(image, plain) + 2 * torch.equal(image, mirrored) for image in seen} == {1, 2}


def test_counts_fall_into_groups_of_equal_width():
    assert count_groups([0, 1, 9, 10, 19, 20, 59, 60], 6) == [0, 0, 0, 1, 1, 2, 5, 5]  # y_max belongs to the last
    assert count_groups([0, 0], 6) == [0, 0]
    assert count_groups([0, 1, 2], 10) == [0, 1, 2]


def test_a_balanced_epoch_shows_every_group_as_often():
    labels = [0] * 70 + [1] * 25 + [2] * 5
    order = balanced_epoch(labels, 100, seed=3)
    shown = np.bincount(np.asarray(labels)[order])
    assert sorted(shown.tolist()) == [33, 33, 34]
    times = np.bincount(order, minlength=100)
    assert times[:70].max() == 1  # none twice before each once
    assert set(times[70:95]) <= {1, 2}
    assert set(times[95:]) <= {6, 7}
    assert balanced_epoch(labels, 100, seed=3) == order
    assert balanced_epoch(labels, 100, seed=3, epoch=1) != order
    assert np.diff(np.asarray(labels)[order] != 0).any()  # mixed, not group by group


@pytest.mark.bad_input
def test_bad_options_are_named():
    for options, message in [
        ({"size": (0, 4)}, "height is 0"),
        ({"per_image": 0}, "per_image is 0"),
        ({"seed": -1}, "seed"),
    ]:
        with pytest.raises(ValueError, match=message):
            ImagePatches(DATA, **options)
    with pytest.raises(IndexError, match="index is 27"):
        ImagePatches(DATA)[27]
    with pytest.raises(ValueError, match="counts are"):
        count_groups([], 6)
    with pytest.raises(ValueError, match="labels is empty"):
        balanced_epoch([], 5, seed=0)
