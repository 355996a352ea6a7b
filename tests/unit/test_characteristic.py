import math

import pytest
import torch

from workbench.losses import build_loss
from workbench.losses.characteristic import density_transform, frequencies, point_transform

FORMS = ("l1", "dense", "l2", "robust")


def scene(height=10, width=14):
    generator = torch.Generator().manual_seed(3)
    density = 0.2 * torch.rand(2, 1, height, width, generator=generator, dtype=torch.float64)
    points = [
        torch.rand(count, 2, generator=generator, dtype=torch.float64) * torch.tensor([8.0 * width, 8.0 * height])
        for count in (5, 0)
    ]
    return density, points


def test_two_points_interfere_as_in_closed_form():
    t = frequencies(30, 0.01, dtype=torch.float64)
    points = torch.tensor([[[40.0, 20.0], [56.0, 20.0]]], dtype=torch.float64)
    both = point_transform(points, torch.ones(1, 2, dtype=torch.float64), t, 8.0)[0]
    # exp(i t.a) + exp(i t.b) = 2 cos(t.(a - b) / 2) exp(i t.(a + b) / 2), and the kernel
    size = 2 * (8 * t).cos().abs() * torch.exp(-32 * (t[:, None].square() + t.square()))
    torch.testing.assert_close(both.abs(), size, rtol=1e-12, atol=1e-14)
    angle = torch.angle(both[30, 31:40])
    torch.testing.assert_close(angle, 48 * t[31:40] - 2 * math.pi * (48 * t[31:40] / (2 * math.pi)).round())


def test_one_cell_against_one_point_at_its_centre():
    density = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    density[0, 0, 2, 4] = 1.0
    point = [torch.tensor([[36.0, 20.0]], dtype=torch.float64)]
    assert build_loss("characteristic", bandwidth=0.0)(density, point) == pytest.approx(0, abs=1e-12)
    # with the kernel |R| = 1 - exp(-32 |t|^2): the waves are the same
    t = frequencies(30, 0.01, dtype=torch.float64)
    gap = 1 - torch.exp(-32 * (t[:, None].square() + t.square()))
    assert build_loss("characteristic")(density, point).item() == pytest.approx(1e-4 * gap.sum().item())
    assert build_loss("characteristic", form="l2")(density, point).item() == pytest.approx(0.01 * gap.norm().item())


def test_the_transform_is_the_sum_over_all_cells():
    density, _ = scene()
    t = frequencies(4, 0.05, dtype=torch.float64)
    found = density_transform(density[:, 0], t, 8)
    wanted = torch.zeros_like(found)
    for row in range(10):
        for column in range(14):
            phase = t[:, None] * (8 * row + 4) + t * (8 * column + 4)
            wanted += density[:, 0, row, column, None, None] * torch.exp(1j * phase)
    torch.testing.assert_close(found, wanted)
    assert found[:, 4, 4].real.tolist() == pytest.approx(density.sum(dim=(1, 2, 3)).tolist())


@pytest.mark.parametrize("form", FORMS)
def test_gradient(form):
    density, points = scene(4, 5)
    loss = build_loss("characteristic", form=form, ticks=6, tick=0.05)
    torch.autograd.gradcheck(lambda d: loss(d, points), density.requires_grad_(True))


@pytest.mark.parametrize("form", FORMS)
def test_the_slope_is_finite_where_the_transforms_are_equal(form):
    density = torch.zeros(1, 1, 4, 5, requires_grad=True)
    value = build_loss("characteristic", form=form)(density, [torch.zeros(0, 2)])
    assert value == 0
    assert torch.equal(torch.autograd.grad(value, density)[0], torch.zeros(1, 1, 4, 5))


def test_a_shift_of_map_and_points_changes_nothing():
    density, points = scene()
    density[..., -3:] = 0
    points = [p.clamp(max=80) for p in points]
    loss = build_loss("characteristic")
    moved = [p + torch.tensor([24.0, 0.0]) for p in points]
    assert loss(density.roll(3, dims=-1), moved).item() == pytest.approx(loss(density, points).item(), rel=1e-12)


def test_weights_are_people():
    density, points = scene()
    twice = [torch.cat([points[0], points[0][:1]]), points[1]]
    weights = [torch.tensor([2.0, 1, 1, 1, 1], dtype=torch.float64), torch.zeros(0, dtype=torch.float64)]
    for form in ("l1", "dense", "l2"):
        loss = build_loss("characteristic", form=form)
        assert loss(density, twice).item() == pytest.approx(loss(density, points, weights).item(), rel=1e-12)


def test_a_batch_is_the_mean_of_its_images():
    density, points = scene()
    for form in FORMS:
        loss = build_loss("characteristic", form=form)
        single = [loss(density[k : k + 1], points[k : k + 1]).item() for k in range(2)]
        assert loss(density, points).item() == pytest.approx(sum(single) / 2, rel=1e-12)


def test_the_variance_of_a_displaced_annotation_against_monte_carlo():
    loss = build_loss("characteristic", form="robust", noise=10.0, ticks=3, tick=0.05)
    t = frequencies(3, 0.05, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    moved = 10 * torch.randn(20000, 1, 2, generator=generator, dtype=torch.float64)
    drawn = point_transform(moved, torch.ones(20000, 1, dtype=torch.float64), t, 8.0)
    squares = (drawn - drawn.mean(dim=0)).abs().square()
    error = squares.std(dim=0) / 20000**0.5
    assert ((squares.mean(dim=0) - loss.spread(t)).abs() <= 3 * error + 1e-12).all()
    given = build_loss("characteristic", form="robust", noise=10.0, ticks=3, tick=0.05, variance=loss.spread(t))
    density, points = scene()
    assert given(density, points) == loss(density, points)


@pytest.mark.bad_input
def test_what_is_refused():
    with pytest.raises(ValueError, match="form is 'l3', expected one of 'l1', 'dense', 'l2', 'robust'"):
        build_loss("characteristic", form="l3")
    with pytest.raises(ValueError, match=r"variance has shape \(2, 2\), expected \(60, 60\)"):
        build_loss("characteristic", variance=torch.ones(2, 2))
    density, points = torch.zeros(1, 1, 4, 80), [torch.zeros(0, 2)]
    with pytest.raises(ValueError, match=r"covers 640 px and tick is 0\.01, expected less than 628 px or a tick below"):
        build_loss("characteristic")(density, points)
    assert build_loss("characteristic", tick=0.009)(density, points) == 0
