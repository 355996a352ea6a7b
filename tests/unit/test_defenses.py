import pytest
import torch
from small_classifiers import images, linear
from torch import nn

from workbench.adversarial import pgd
from workbench.adversarial.defenses import (
    PixelDeflection,
    RandomPaddingResizing,
    deflect_pixels,
    haar,
    inverse_haar,
    soften,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Pooled(nn.Module):
    """A model for images of any size: sums by quarter."""

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def test_deflection_takes_pixels_from_nearby_all_channels_together():
    row = torch.arange(20.0).view(1, 1, 20, 1).expand(1, 1, 20, 30)
    column = torch.arange(30.0).view(1, 1, 1, 30).expand(1, 1, 20, 30)
    x = torch.cat([row, column], dim=1).repeat(3, 1, 1, 1)  # every pixel says where it came from
    moved = deflect_pixels(x, deflections=200, window=4, generator=seeded())
    distance = (moved - x).abs()
    assert float(distance.max()) == 4
    changed = (distance.sum(dim=1) > 0).sum(dim=(1, 2))
    # 200 places of 600 are 170 distinct ones on average, of which 1 in 81 stays
    assert bool(((changed > 140) & (changed < 195)).all())
    assert not torch.equal(moved[0], moved[1])
    assert torch.equal(deflect_pixels(x, deflections=0, window=4), x)
    # window 100 reaches everywhere, within the image
    far = deflect_pixels(x, deflections=500, window=100, generator=seeded())
    assert float(far[:, 0].max()) <= 19
    assert float(far[:, 1].max()) <= 29


def test_haar_is_orthonormal_and_inverted():
    x = torch.rand(2, 3, 8, 6, generator=seeded(), dtype=torch.float64)
    bands = haar(x)
    torch.testing.assert_close(inverse_haar(bands), x)
    torch.testing.assert_close(bands.square().sum(), x.square().sum())
    flat = haar(torch.full((1, 1, 2, 2), 0.5))
    assert flat.flatten().tolist() == [1, 0, 0, 0]
    steps = haar(torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]]))
    assert steps.flatten().tolist() == [1, 1, 0, 0]


def test_softening_removes_noise_and_leaves_what_is_smooth():
    ramp = torch.linspace(0.2, 0.8, 64, dtype=torch.float64)
    smooth = torch.stack([ramp, ramp], dim=1).flatten()[None, None, :, None].expand(1, 1, 128, 128)
    noise = 0.05 * torch.randn(1, 1, 128, 128, generator=seeded(), dtype=torch.float64)
    error = (soften(smooth + noise, 0.05) - smooth).square().mean()
    # one level leaves the noise of the mean band, a quarter of all
    assert float(error) < 0.35 * float(noise.square().mean())
    assert torch.equal(soften(smooth, 0.0), smooth)
    assert soften(torch.rand(1, 1, 7, 5), 0.1).shape == (1, 1, 7, 5)
    assert bool(torch.isfinite(soften(torch.zeros(1, 1, 4, 4), 0.1)).all())
    # the threshold by hand: a band of +-d has sigma_x = sqrt(d^2 - s^2)
    d, s = 0.5, 0.3
    checks = inverse_haar(torch.tensor([1.0, d, 0, 0], dtype=torch.float64).view(1, 1, 4, 1, 1).expand(1, 1, 4, 3, 3))
    band = haar(soften(checks, s))[:, :, 1]
    torch.testing.assert_close(band, torch.full_like(band, d - s**2 / (d**2 - s**2) ** 0.5))


def test_padding_and_resizing_keeps_the_picture_inside_the_larger_square():
    class Recorder(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.flatten(1)

    seen = []
    defended = RandomPaddingResizing(Recorder(), size=12, generator=seeded()).eval()
    for _ in range(60):
        defended(torch.ones(1, 1, 8, 8))
    sides = {int(x.sum() ** 0.5) for x in seen}
    assert sides == {8, 9, 10, 11}  # drawn from [8, 12), and every picture whole
    assert all(x.shape == (1, 1, 12, 12) and float(x.sum() ** 0.5) in sides for x in seen)
    corners = {tuple(x[0, 0].nonzero()[0].tolist()) for x in seen if int(x.sum()) == 64}
    assert len(corners) > 5
    seen.clear()
    RandomPaddingResizing(Recorder(), size=12, restore=True, generator=seeded())(torch.ones(1, 1, 8, 8))
    assert seen[0].shape == (1, 1, 8, 8)
    assert 0 < float(seen[0].sum()) < 64  # a smaller picture within the old frame
    seen.clear()
    RandomPaddingResizing(Recorder(), generator=seeded())(torch.ones(1, 3, 299, 299))
    assert seen[0].shape[-1] == 299 + 38


@pytest.mark.parametrize("defence", [PixelDeflection, RandomPaddingResizing])
def test_defences_draw_anew_repeat_by_seed_and_pass_gradients(defence):
    x = images(4, low=0.3, high=0.7)
    options = {"share": 0.2, "window": 2} if defence is PixelDeflection else {"size": 7}
    one, other = (defence(Pooled(), generator=seeded(), **options).eval() for _ in range(2))
    first = one(x)
    assert torch.equal(first, other(x))
    assert not torch.equal(first, one(x))
    moved = pgd(one, x, torch.zeros(4, dtype=torch.long), 0.1, steps=3, average=4)
    assert float((moved - x).abs().amax()) == pytest.approx(0.1)


def test_nothing_to_do_is_nothing_done():
    model, x = linear(), images()
    assert torch.equal(PixelDeflection(model, share=0.0, sigma=0.0)(x), model(x))
    assert torch.equal(RandomPaddingResizing(model, size=4)(x), model(x))


@pytest.mark.bad_input
def test_bad_options_are_named():
    for make, message in [
        (lambda: PixelDeflection(linear(), share=-1.0), "share is -1.0"),
        (lambda: PixelDeflection(linear(), window=0), "window is 0"),
        (lambda: PixelDeflection(linear(), sigma=-0.1), "sigma is -0.1"),
        (lambda: RandomPaddingResizing(linear(), mode="cubic"), "mode is 'cubic'"),
        (lambda: RandomPaddingResizing(linear(), size=3)(images()), "size is 3, expected at least 4"),
        (lambda: deflect_pixels(torch.zeros(3, 4), deflections=1, window=1), "images has shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
