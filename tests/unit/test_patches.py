from dataclasses import replace

import pytest
import torch

from workbench.data import CrowdDataset, CrowdSample, Draw, collate
from workbench.data.patches import TrainingPatches, fitting_side
from workbench.data.transforms import crop_sample, flip_sample, grey_image, pad_sample, resize_sample


def sample(points, size=(6, 8), **known) -> CrowdSample:
    height, width = size
    generator = torch.Generator().manual_seed(0)
    return CrowdSample(
        image=torch.rand(3, height, width, generator=generator),
        points=torch.tensor(points, dtype=torch.float32).reshape(-1, 2),
        name="one",
        **known,
    )


class One(CrowdDataset):
    """A data set of the samples it is given."""

    def __init__(self, *samples):
        self.samples = samples

    @property
    def names(self):
        return [s.name for s in self.samples]

    def points(self, index):
        return self.samples[self.at(index)].points

    def __getitem__(self, index):
        return self.samples[self.at(index)]


def everything():
    """Heads painted white at known pixels; boxes, sizes and maps that say the same."""
    image = torch.zeros(3, 6, 8)
    pixels = [(1, 2), (4, 7), (0, 0)]
    for row, column in pixels:
        image[:, row, column] = 1
    points = torch.tensor([[c + 0.5, r + 0.5] for r, c in pixels])
    boxes = torch.cat([points - 0.5, points + 0.5], dim=1)
    perspective = torch.arange(6.0)[:, None].repeat(1, 8)
    return CrowdSample(
        image,
        points,
        "all",
        head_sizes=perspective[[r for r, _ in pixels], 0],
        boxes=boxes,
        roi=image[0] > 0,
        perspective=perspective,
        depth=image[0] * 2,
    )


def assert_consistent(s: CrowdSample, scale: float = 1.0):
    """Each head is where the image, the ROI, the depth and its box say, and as large as the perspective says."""
    height, width = s.size
    for point, head, box in zip(s.points, s.head_sizes, s.boxes, strict=True):
        column, row = (int(v) for v in point)
        assert s.image[:, row, column].tolist() == [1, 1, 1]
        assert bool(s.roi[row, column])
        assert s.depth[row, column] == 2
        assert head == s.perspective[row, column]
        torch.testing.assert_close((box[:2] + box[2:]) / 2, point)
        torch.testing.assert_close(box[2:] - box[:2], torch.full((2,), scale))
    for value in (s.roi, s.perspective, s.depth):
        assert value.shape == (height, width)


def test_everything_moves_with_the_image():
    s = everything()
    assert_consistent(s)
    assert_consistent(flip_sample(s))
    assert_consistent(pad_sample(s, (9, 20)))
    cut = crop_sample(s, 2, 1, 6, 5)
    assert_consistent(cut)
    assert cut.points.tolist() == [[0.5, 0.5], [5.5, 3.5]]
    assert flip_sample(cut).points.tolist() == [[5.5, 0.5], [0.5, 3.5]]


def test_twice_the_size_doubles_every_length():
    s = resize_sample(everything(), (12, 16))
    assert s.points.tolist() == [[5, 3], [15, 9], [1, 1]]
    assert s.head_sizes.tolist() == [2, 8, 0]
    torch.testing.assert_close(s.boxes[:, 2:] - s.boxes[:, :2], torch.full((3, 2), 2.0))
    assert s.perspective[:, 0].tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10]
    assert s.roi.dtype == torch.bool
    assert int(s.roi.sum()) == 4 * int(everything().roi.sum())
    assert resize_sample(s, (12, 16)) is s


def test_windows_that_cover_an_image_hold_everybody_once():
    # on the inner borders, on the outer border, in a corner
    points = [[0, 0], [4, 0], [4, 3], [8, 3], [8, 6], [0, 6], [3.999, 2.999]]
    s = sample(points)
    windows = [crop_sample(s, left, top, 4, 3) for left in (0, 4) for top in (0, 3)]
    assert [w.count for w in windows] == [2, 1, 1, 3]
    back = torch.cat(
        [
            w.points + torch.tensor([left, top])
            for w, (left, top) in zip(windows, [(left, top) for left in (0.0, 4.0) for top in (0.0, 3.0)], strict=True)
        ]
    )
    assert sorted(back.tolist()) == sorted(s.points.tolist())


def test_a_draw_decides_the_patch_and_nothing_else_does():
    data = One(sample([[1, 1], [20, 30]], (64, 64)), sample([[5, 5]], (64, 64)))
    patches = TrainingPatches(data, 24, scale=(0.5, 1.5), grey=0.5)
    torch.manual_seed(1)
    first = patches[Draw(0, 7)]
    torch.manual_seed(2)
    again = TrainingPatches(data, 24, scale=(0.5, 1.5), grey=0.5)[Draw(0, 7)]
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.points, again.points)
    others = [patches[Draw(0, seed)].image for seed in range(8)]
    assert len({tuple(image.flatten().tolist()) for image in others}) == 8
    assert torch.equal(patches[1].image, patches[Draw(1, 0)].image)
    state = torch.get_rng_state()
    patches[Draw(0, 3)]
    assert torch.equal(state, torch.get_rng_state())


def test_patches_lie_everywhere_and_half_of_them_are_mirrored():
    # the red channel says the column, the green one the row that a pixel came from
    column, row = torch.meshgrid(torch.arange(32.0), torch.arange(16.0), indexing="xy")
    image = torch.stack([column / 32, row / 16, torch.zeros_like(row)])
    patches = TrainingPatches(One(replace(sample([], (16, 32)), image=image)), 8)
    found = [patches[Draw(0, seed)].image for seed in range(400)]
    mirrored = [bool(p[0, 0, 0] > p[0, 0, -1]) for p in found]
    lefts = {round(float(p[0].min() * 32)) for p in found}
    tops = {round(float(p[1].min() * 16)) for p in found}
    assert lefts == set(range(25))
    assert tops == set(range(9))
    assert 150 < sum(mirrored) < 250
    straight = TrainingPatches(patches.dataset, 8, flip=False)
    assert all(bool(torch.diff(straight[Draw(0, seed)].image[0]).gt(0).all()) for seed in range(20))


def test_a_small_image_is_padded_on_the_right_and_at_the_bottom():
    s = sample([[8, 6], [0, 0]])
    for seed in range(6):
        patch = TrainingPatches(One(s), 16)[Draw(0, seed)]
        assert patch.size == (16, 16)
        assert patch.count == 2
        assert torch.count_nonzero(patch.image[:, 6:]) == 0
        assert torch.count_nonzero(patch.image[:, :, 8:]) == 0
        inner = patch.image[:, :6, :8]
        assert torch.equal(inner, s.image) or torch.equal(inner, s.image.flip(-1))


def test_grey_patches_have_three_equal_channels_and_keep_their_light():
    patches = TrainingPatches(One(sample([], (8, 8))), 8, grey=1.0, flip=False)
    image = patches[0].image
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])
    white = torch.ones(3, 2, 2)
    torch.testing.assert_close(grey_image(white), white)
    plain = TrainingPatches(One(sample([], (8, 8))), 8, flip=False)[0].image
    assert not torch.equal(plain[0], plain[1])


def test_scale_is_drawn_between_its_limits():
    s = sample([[8, 8]], (16, 16), head_sizes=torch.tensor([4.0]))
    patches = TrainingPatches(One(s), 64, scale=(0.5, 2.0))
    heads = torch.cat([patches[Draw(0, seed)].head_sizes for seed in range(200)])
    assert 1.9 < float(heads.min()) < 2.3
    assert 7 < float(heads.max()) < 8.1
    # evenly in the logarithm: as many below the image's own size as above
    assert 60 < int((heads < 4).sum()) < 140


def test_collate_stacks_and_counts():
    batch = collate([sample([[1, 1]]), sample([])])
    assert batch.images.shape == (2, 3, 6, 8)
    assert batch.counts.tolist() == [1, 0]
    assert batch.names == ["one", "one"]
    assert len(batch) == 2
    assert batch.to("cpu").counts.tolist() == [1, 0]


def test_workers_give_what_the_main_process_gives():
    data = One(*(sample([[i + 0.5, 1]], (32, 32)) for i in range(6)))
    patches = TrainingPatches(data, 16)
    draws = [Draw(i, 100 + i) for i in range(6)]
    loader = torch.utils.data.DataLoader(
        patches, batch_sampler=[draws[:3], draws[3:]], collate_fn=collate, num_workers=2
    )
    there = torch.cat([batch.images for batch in loader])
    here = collate([patches[draw] for draw in draws]).images
    assert torch.equal(there, here)


@pytest.mark.bad_input
def test_bad_options_and_draws_are_named():
    data = One(sample([]))
    for options, message in [
        ({"size": 0}, "size is 0"),
        ({"size": 8, "scale": (2.0, 1.0)}, "scale is"),
        ({"size": 8, "scale": (0.0, 1.0)}, "scale is"),
        ({"size": 8, "grey": 1.5}, "grey is 1.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            TrainingPatches(data, **options)
    patches = TrainingPatches(data, 8)
    with pytest.raises(IndexError, match="index is 1"):
        patches[1]
    with pytest.raises(ValueError, match=r"draw\.seed is -1"):
        patches[Draw(0, -1)]
    with pytest.raises(ValueError, match="reaches outside"):
        crop_sample(sample([]), 5, 0, 4, 4)
    with pytest.raises(ValueError, match="different sizes"):
        collate([sample([]), sample([], (5, 5))])
    with pytest.raises(ValueError, match="samples is empty"):
        collate([])


def test_a_patch_is_no_larger_than_every_image():
    assert fitting_side(One(sample([], (80, 96))), 512) == 96
    assert fitting_side(One(sample([], (80, 97))), 512) == 128
    assert fitting_side(One(sample([], (600, 20))), 512) == 512
    assert fitting_side(One(sample([], (500, 20))), 500) == 500
