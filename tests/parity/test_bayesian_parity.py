import pytest
import torch
from point_losses_golden import GOLDEN, SINGLE, arguments, difference, gradient

from workbench.losses import build_loss
from workbench.losses.bayesian import posterior


@pytest.mark.parametrize("case", SINGLE)
@pytest.mark.parametrize("background", [True, False], ids=["bg", "nobg"])
def test_value_and_gradient_are_the_published_ones(case, background):
    name = f"{case}_bl_{'bg' if background else 'nobg'}"
    loss = build_loss("bayesian", convention="official", background=background)
    value, slope = gradient(loss, *arguments(case))
    # with nobody in the image the published sum is in float32
    assert value == pytest.approx(float(GOLDEN[f"{name}_loss"]), rel=1e-6 if case == "c0" else 1e-12)
    assert difference(slope, GOLDEN[f"{name}_grad"]) <= 1e-8


@pytest.mark.parametrize("background", [True, False], ids=["bg", "nobg"])
def test_a_batch_with_an_image_of_nobody(background):
    name = f"b0_bl_{'bg' if background else 'nobg'}"
    value, slope = gradient(build_loss("bayesian", convention="official", background=background), *arguments("b0"))
    wanted = GOLDEN[f"{name}_grad"]
    assert value == pytest.approx(float(GOLDEN[f"{name}_loss"]), rel=1e-7)
    for image, tolerance in ((0, 1e-8), (1, 1e-6), (2, 1e-8)):  # the middle one has nobody: float32 there
        assert difference(slope[image], wanted[image]) <= tolerance


def test_posterior_is_the_published_one():
    density, (points,), _ = arguments("c3")
    size = tuple(density.shape[-2:])
    loss = build_loss("bayesian", convention="official")
    found = posterior(points, size, background=loss.background_map(points, size))
    torch.testing.assert_close(found.flatten(1), torch.tensor(GOLDEN["c3_bl_bg_prob"]), rtol=1e-9, atol=1e-14)
