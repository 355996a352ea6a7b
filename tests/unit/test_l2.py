import pytest
import torch

from workbench.density import density_map
from workbench.losses import LOSSES, build_loss

POINTS = [
    torch.tensor([[9.0, 6.0], [30.0, 20.0]], dtype=torch.float64),
    torch.zeros(0, 2, dtype=torch.float64),
]


def test_zero_at_its_target_and_the_sum_of_squares_off_it():
    loss = build_loss("l2", sigma=6.0)
    target = density_map(POINTS[0], (4, 5), sigma=6.0, stride=8)
    maps = torch.stack([target, torch.zeros(4, 5, dtype=torch.float64)])[:, None]
    assert loss(maps, POINTS) == 0
    assert float(loss(maps + 0.1, POINTS)) == pytest.approx(20 * 0.01)


@pytest.mark.parametrize("kernel", ["fixed", "adaptive"])
def test_gradient(kernel):
    torch.manual_seed(0)
    density = torch.rand(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: build_loss("l2", kernel=kernel)(a, POINTS), density)


def test_weights_are_people_per_annotation():
    one = [torch.tensor([[20.0, 20.0]])]
    twice = [torch.tensor([[20.0, 20.0], [20.0, 20.0]])]
    density = torch.rand(1, 1, 5, 5)
    loss = build_loss("l2")
    assert torch.allclose(loss(density, one, [torch.tensor([2.0])]), loss(density, twice))


def test_terms_add_up():
    density = torch.rand(2, 1, 4, 5, dtype=torch.float64)
    loss = build_loss("l2")
    assert torch.equal(sum(loss.terms(density, POINTS).values()), loss(density, POINTS))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize(
    ("density", "points", "weights", "message"),
    [
        (torch.rand(1, 4, 5), POINTS[:1], None, r"density has shape \(1, 4, 5\)"),
        (torch.full((1, 1, 4, 5), float("nan")), POINTS[:1], None, "density holds 20 values that are NaN"),
        (torch.full((1, 1, 4, 5), -1.0), POINTS[:1], None, "density holds values down to -1"),
        (torch.rand(2, 1, 4, 5), POINTS[:1], None, "points holds 1 entries"),
        (torch.rand(1, 1, 4, 5), POINTS[0], None, "points holds one tensor"),
        (torch.rand(1, 1, 4, 5), [torch.tensor([[41.0, 1.0]])], None, r"points\[0\] has 1 of 1 points outside"),
        (torch.rand(1, 1, 4, 5), POINTS[:1], [torch.ones(3)], r"weights\[0\] has shape \(3,\)"),
        (torch.rand(1, 1, 4, 5), POINTS[:1], [torch.tensor([1.0, -1.0])], r"weights\[0\] holds values down to -1"),
    ],
)
def test_every_loss_names_bad_input(name, density, points, weights, message):
    with pytest.raises(ValueError, match=message):
        build_loss(name)(density, points, weights)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "l3"}, "unknown loss 'l3', expected one of"),
        ({"name": "l2", "blur": 3}, "loss 'l2' has no option 'blur', expected one of"),
        ({"name": "l2", "sigma": -1.0}, "sigma is -1.0"),
        ({"name": "l2", "kernel": "round"}, "kernel is 'round', expected one of 'fixed', 'adaptive'"),
        ({"name": "l2", "stride": 0}, "stride is 0"),
        ({"name": "l2", "convention": "mine"}, "convention is 'mine'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build_loss(**options)
