import pytest
import torch

from workbench.losses import build_loss
from workbench.losses.base import batched
from workbench.losses.noise import covariance, gaussian, kernel_sums
from workbench.points import cell_centres


def scene():
    generator = torch.Generator().manual_seed(7)
    density = 0.2 * torch.rand(3, 1, 5, 6, generator=generator, dtype=torch.float64)
    size = torch.tensor([48.0, 40.0], dtype=torch.float64)
    return density, [torch.rand(n, 2, generator=generator, dtype=torch.float64) * size for n in (4, 0, 1)]


def test_the_moments_against_monte_carlo():
    points = torch.tensor([[12.0, 20.0], [30.0, 16.0]], dtype=torch.float64)
    cells = cell_centres((4, 5), 8, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    draws = 20000
    moved = points + 6 * torch.randn(draws, 2, 2, generator=generator, dtype=torch.float64)
    density = gaussian((cells[:, None] - moved[:, None]).square().sum(dim=-1), 8.0**2).sum(dim=2)
    people = torch.ones(1, 2, dtype=torch.float64)
    mean = kernel_sums(points[None], people, (4, 5), 8, 36.0 + 64.0).flatten()
    error = density.std(dim=0) / draws**0.5
    assert ((density.mean(dim=0) - mean).abs() <= 3 * error).all()
    wanted = covariance(cells[None], points[None], people, displacement=6.0, bandwidth=8.0)[0]
    rest = density - mean
    products = rest[:, :, None] * rest[:, None]
    error = products.std(dim=0) / draws**0.5
    away = (products.mean(dim=0) - wanted).abs() / error
    # 210 different pairs of cells, and pairs share their draws: 3 standard errors at all but one in a hundred
    assert (away <= 3).double().mean() >= 0.99
    assert (away <= 4).all()
    torch.testing.assert_close(products.mean(dim=0), wanted, rtol=0, atol=float(0.02 * wanted.abs().max()))


def test_with_all_cells_chosen_it_is_the_dense_gaussian():
    density, points = scene()
    loss = build_loss("noise", share=1.0, background=False, weight=2.0, floor=1e-12)
    people = torch.ones(1, 4, dtype=torch.float64)
    cells = cell_centres((5, 6), 8, dtype=torch.float64)
    mean = kernel_sums(points[0][None], people, (5, 6), 8, 128.0)
    factor = 4 / mean.sum()
    dense = covariance(cells[None], points[0][None], people, displacement=8.0, bandwidth=8.0)[0]
    dense = factor**2 * (dense + 2e-10 * torch.eye(30, dtype=torch.float64))
    rest = (density[0, 0] - factor * mean[0]).flatten()
    value = loss(density[:1], points[:1]).item()
    assert value == pytest.approx((rest @ torch.linalg.solve(dense, rest)).item(), rel=0.05)
    alone = (rest.square() / dense.diagonal()).sum().item()
    assert value > 2 * alone  # neighbours move together: their residuals do not


def test_the_covariance_is_positive_definite_but_not_the_published_one():
    _, points = scene()
    people = [torch.ones(len(p), dtype=torch.float64) for p in points]
    least = [
        torch.linalg.eigvalsh(
            build_loss("noise", convention=convention).moments(*batched(points, people), (5, 6)).matrix
        )[0].min()
        for convention in ("paper", "official")
    ]
    assert least[0] > 0
    assert least[1] < 0


def test_the_extra_covariance_takes_the_penalty_from_the_heads():
    # the share of the penalty that an error at the head itself keeps
    points = [torch.tensor([[60.0, 60.0]], dtype=torch.float64)]
    known = build_loss("noise").moments(*batched(points, [torch.ones(1).double()]), (16, 16))
    rest = torch.where(known.real, 1.0, 0.0).double()
    variance = known.variance.flatten(1).gather(1, known.chosen)
    kept = []
    for convention in ("paper", "official"):
        matrix = (
            build_loss("noise", convention=convention).moments(*batched(points, [torch.ones(1).double()]), (16, 16))
        ).matrix
        joint = (rest * torch.linalg.solve(matrix, rest)).sum()
        kept.append(abs(joint / (rest / variance).sum()).item())
    assert kept[0] > 0.1
    assert kept[1] < 0.02


@pytest.mark.parametrize("options", [{}, {"convention": "official"}, {"background": False}])
def test_gradient(options):
    density, points = scene()
    loss = build_loss("noise", **options)
    torch.autograd.gradcheck(lambda d: loss(d, points), density.requires_grad_(True))


def test_the_mean_has_no_loss_and_nobody_costs_the_sum():
    density, points = scene()
    loss = build_loss("noise")
    known = loss.moments(*batched(points, [torch.ones(len(p)).double() for p in points]), (5, 6))
    assert known.mean.sum(dim=(1, 2)).tolist() == pytest.approx([4, 0, 1])
    assert loss(known.mean[:1, None], points[:1]).item() == pytest.approx(0, abs=1e-15)
    assert loss(density[1:2], points[1:2]).item() == pytest.approx(density[1].sum().item())


def test_a_batch_is_the_mean_of_its_images_but_not_officially():
    density, points = scene()
    for convention in ("paper", "official"):
        loss = build_loss("noise", convention=convention)
        single = sum(loss(density[k : k + 1], points[k : k + 1]).item() for k in range(3)) / 3
        same = loss(density, points).item() == pytest.approx(single, rel=1e-9)
        assert same == (convention == "paper")


def test_a_weight_of_two_is_two_people():
    density, points = scene()
    loss = build_loss("noise")
    twice = [torch.cat([points[0], points[0][:1]]), *points[1:]]
    weights = [torch.tensor([2.0, 1, 1, 1]), torch.zeros(0), torch.ones(1)]
    assert loss(density, twice).item() == pytest.approx(loss(density, points, weights).item(), rel=1e-9)
    weights[0][0] = 0
    without = [points[0][1:], *points[1:]]
    assert loss(density, without).item() == pytest.approx(loss(density, points, weights).item(), rel=1e-9)


def test_without_background_a_floor_keeps_the_loss_in_range():
    density = torch.full((1, 1, 32, 32), 0.01, dtype=torch.float64)
    points = [torch.tensor([[100.0, 100.0]], dtype=torch.float64)]
    values = [
        build_loss("noise", background=False, convention=convention)(density, points).item()
        for convention in ("paper", "official")
    ]
    assert values[0] < 10
    assert values[1] > 1e3


@pytest.mark.bad_input
def test_what_is_refused():
    with pytest.raises(ValueError, match=r"share is 1\.5, expected a number from 0 to 1"):
        build_loss("noise", share=1.5)
    with pytest.raises(ValueError, match="displacement is 0, expected a finite number > 0"):
        build_loss("noise", displacement=0)
