import numpy as np
import pytest
import torch

from workbench.data import CrowdDataset, CrowdSample, Draw, open_dataset
from workbench.data.patches import ImagePatches, TrainingPatches, zoom_window
from workbench.sampling.zoom import next_zooms, scale_factors, zoom_rates


def test_the_zoom_function_has_its_values_and_limits():
    # Fig. 3: lambda = 2/3, gamma = 10
    assert zoom_rates([0.0]).tolist() == [1.0]
    assert zoom_rates([-1e9, 1e9]) == pytest.approx([4 / 3, 2 / 3])
    assert zoom_rates([0.1]) == pytest.approx([1 + 2 / 3 * (1 / (1 + np.e) - 0.5)])
    assert zoom_rates([-0.1]) == pytest.approx([2 - zoom_rates([0.1])[0]])  # odd about (0, 1)
    rates = zoom_rates(np.linspace(-0.5, 0.5, 101))
    assert (np.diff(rates) < 0).all()
    slope = (zoom_rates([1e-6]) - zoom_rates([-1e-6])) / 2e-6
    assert slope == pytest.approx([-2 / 3 * 10 / 4], rel=1e-6)
    assert zoom_rates([-1e9], strength=1.9, steepness=1) == pytest.approx([1.95])


def test_the_scale_factor():
    assert scale_factors([10, 10, 4], [15, 5, 4]).tolist() == [0.5, -0.5, 0.0]
    assert scale_factors([0, 0], [3, 0]).tolist() == [3.0, 0.0]  # nobody: divided by 1


def test_next_zooms():
    zooms = next_zooms([10, 10, 10, 0], [100, 0, 10, 50])
    # under-estimated wholly, alpha = -1: close to the limit; nobody there: left as it is
    assert zooms == pytest.approx([2 / 3, 4 / 3, 1, 1], abs=1e-4)
    # x^{t+1} = f(x^t, r^t), held within what one zoom can reach
    cumulative = next_zooms([10, 10], [11, 0], current=[0.9, 1.2])
    assert cumulative == pytest.approx([0.9 * zoom_rates([0.1])[0], 4 / 3])


def test_windows_by_hand():
    assert zoom_window((20, 30, 40, 40), (100, 200), 1.0) == (20, 30, 40, 40)
    assert zoom_window((20, 30, 40, 40), (100, 200), 0.5) == (30, 40, 20, 20)
    assert zoom_window((20, 30, 40, 40), (100, 200), 1.5) == (10, 20, 60, 60)
    assert zoom_window((0, 60, 40, 40), (100, 200), 1.5) == (0, 40, 60, 60)  # moved inside
    assert zoom_window((20, 30, 40, 20), (100, 200), 99.0) == (0, 0, 200, 100)  # the shape is kept
    assert zoom_window((5, 5, 1, 1), (10, 10), 0.01) == (5, 5, 1, 1)


class Numbered(CrowdDataset):
    """One image whose red says the column and whose green says the row, people on a grid of 4 px."""

    names = ("one",)

    def points(self, index):
        grid = torch.arange(2, 96, 4, dtype=torch.float32)
        return torch.cartesian_prod(grid, grid)

    def size_of(self, index):
        return 96, 96

    def __getitem__(self, index):
        across, down = torch.meshgrid(torch.arange(96) / 128, torch.arange(96) / 128, indexing="xy")
        return CrowdSample(torch.stack([across, down, down]), self.points(index), "one")


@pytest.mark.parametrize("zoom", [0.5, 2 / 3, 1.0, 1.21, 4 / 3, 2.0, 50.0])
def test_a_zoomed_patch_is_right_to_the_head(zoom):
    patches = ImagePatches(Numbered(), (32, 32), per_image=6, seed=3)
    for index in range(6):
        left, top, width, height = window = patches.place(index, (96, 96), zoom)
        assert 0 <= left <= 96 - width
        assert 0 <= top <= 96 - height
        patch = patches[Draw(index, 5, zoom)]
        assert patch.size == (32, 32)
        # who stands in the window of the source, and where
        expected = Numbered().points(0)
        reach = torch.tensor([left + width + (left + width == 96), top + height + (top + height == 96)])
        inside = ((expected >= torch.tensor([left, top])) & (expected < reach)).all(dim=1)
        assert patch.count == int(inside.sum()) == patches.counts(zoom)[index]
        moved = (expected[inside] - torch.tensor(window[:2])) * 32 / width
        assert torch.allclose(patch.points, moved, atol=1e-4)
        # the pixels are the source's: a pixel's red and green say where in the source its centre lies
        columns = (torch.arange(32) + 0.5) * width / 32 + left - 0.5
        inner = slice(4, -4)  # the border of a resized image leans inwards, and antialiasing by a tenth of a pixel
        assert torch.allclose(patch.image[0, 16, inner] * 128, columns[inner], atol=0.2)


def test_more_people_when_zoomed_out():
    patches = ImagePatches(Numbered(), (32, 32), per_image=6)
    small, same, large = (sum(patches.counts(zoom)) for zoom in (2 / 3, 1.0, 4 / 3))
    assert small < same < large


def test_a_draw_is_the_patch_itself_and_mirrored_by_its_seed():
    patches = ImagePatches(Numbered(), (32, 32), per_image=2, flip=True)
    plain = patches[1]
    kinds = set()
    for seed in range(12):
        drawn = patches[Draw(1, seed)]
        mirrored = not torch.equal(drawn.image, plain.image)
        if mirrored:
            assert torch.equal(drawn.image, plain.image.flip(-1))
            assert drawn.count == plain.count
        kinds.add(mirrored)
        assert torch.equal(drawn.image, patches[Draw(1, seed)].image)
    assert kinds == {True, False}
    assert torch.equal(ImagePatches(Numbered(), (32, 32), per_image=2)[Draw(1, 3)].image, plain.image)


def test_an_image_smaller_than_the_patch_is_padded_after_the_zoom():
    patches = ImagePatches(Numbered(), (64, 120), per_image=2)
    for zoom in (0.5, 1.0, 3.0):
        patch = patches[Draw(1, 0, zoom)]
        assert patch.size == (64, 120)
        assert (patch.image[:, :, 96:] == 0).all()
        assert patch.count == patches.counts(zoom)[1]


@pytest.mark.bad_input
def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"strength is 2\.0, expected lambda in \(0, 2\)"):
        zoom_rates([0.0], strength=2.0)
    with pytest.raises(ValueError, match="steepness is 0"):
        zoom_rates([0.0], steepness=0)
    with pytest.raises(ValueError, match="factors hold NaN"):
        zoom_rates([float("nan")])
    with pytest.raises(ValueError, match="truth holds values down to -1"):
        scale_factors([-1], [2])
    with pytest.raises(ValueError, match="zoom is 0"):
        zoom_window((0, 0, 4, 4), (8, 8), 0.0)
    patches = TrainingPatches(open_dataset("scenes", preset="small", length=2), 32)
    with pytest.raises(ValueError, match=r"draw\.zoom is 1\.5, expected 1"):
        patches[Draw(0, 0, 1.5)]
