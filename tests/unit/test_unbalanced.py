import math

import pytest
import torch

from workbench.losses import build_loss


def scene(level=0.3):
    generator = torch.Generator().manual_seed(5)
    density = level * torch.rand(3, 1, 5, 6, generator=generator, dtype=torch.float64)
    size = torch.tensor([48.0, 40.0], dtype=torch.float64)
    return density, [torch.rand(n, 2, generator=generator, dtype=torch.float64) * size for n in (4, 0, 1)]


def test_one_cell_and_one_person_in_closed_form():
    # rho (D + b) - 2 rho sqrt(D b) exp(-(c - epsilon log b) / 2 rho)
    for people in (1.0, 0.25, 3.0):
        density = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
        density[0, 0, 1, 1] = 0.7
        points, weights = [torch.tensor([[28.0, 12.0]])], [torch.tensor([people])]
        value = build_loss("unbalanced", rho=0.8)(density, points, weights).item()
        wanted = 0.8 * (0.7 + people - 2 * math.sqrt(0.7 * people) * math.exp(-(0.5 - 0.01 * math.log(people)) / 1.6))
        assert value == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("level", [0.3, 1e-9, 50.0])
def test_every_annotation_keeps_what_it_does_not_get(level):
    density, points = scene(level)
    loss = build_loss("unbalanced")
    people = torch.tensor([[1.0, 0.5, 2.0, 1.0]], dtype=torch.float64)
    alpha, beta = loss.potentials(density[:1, 0], points[0][None], people)
    cells = torch.stack(torch.meshgrid(torch.arange(6), torch.arange(5), indexing="xy"), dim=-1).reshape(-1, 2) * 8 + 4
    cost = (cells[:, None] - points[0]).norm(dim=-1) / 48
    scores = (beta - cost) / 0.01 + people.log()
    again = -0.01 * torch.logsumexp(scores, dim=1)
    torch.testing.assert_close(alpha.flatten(), again, rtol=1e-10, atol=1e-10)
    received = (density[0].flatten() * torch.exp(-again)) @ torch.softmax(scores, dim=1)
    assert ((received - people * torch.exp(-beta)).abs() < 1e-10).all()


def test_gradient():
    density, points = scene()
    loss = build_loss("unbalanced")
    torch.autograd.gradcheck(lambda d: loss(d, points), density.requires_grad_(True))


def test_without_density_or_people_it_is_the_other_side():
    density, points = scene()
    loss = build_loss("unbalanced", rho=0.5)
    nobody = [torch.zeros(0, 2, dtype=torch.float64)] * 3
    assert loss(density, nobody).item() == pytest.approx(0.5 * density.sum().item() / 3, rel=1e-12)
    assert loss(density, points, [torch.zeros(len(p)) for p in points]) == loss(density, nobody)
    empty = torch.zeros_like(density, requires_grad=True)
    value = loss(empty, points)
    assert value.item() == pytest.approx(0.5 * 5 / 3, rel=1e-10)
    assert torch.autograd.grad(value, empty)[0].isfinite().all()


def test_two_on_one_spot_are_one_of_twice_the_weight():
    density, points = scene()
    loss = build_loss("unbalanced")
    twice = [torch.cat([points[0], points[0][:1]]), *points[1:]]
    weights = [torch.tensor([2.0, 1, 1, 1]), torch.zeros(0), torch.ones(1)]
    assert loss(density, twice).item() == pytest.approx(loss(density, points, weights).item(), rel=1e-12)


def test_a_batch_is_the_mean_of_its_images():
    density, points = scene()
    loss = build_loss("unbalanced")
    single = [loss(density[k : k + 1], points[k : k + 1]).item() for k in range(3)]
    assert loss(density, points).item() == pytest.approx(sum(single) / 3, rel=1e-12)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-4), (torch.float64, 1e-6)])
@pytest.mark.parametrize("options", [{}, {"epsilon": 0.05, "rho": 0.3}, {"epsilon": 0.2, "rho": 0.4}], ids=str)
def test_the_batched_solver_has_the_screened_gradient(dtype, close, options):
    density, points = scene()
    density, points = density.to(dtype), [p.to(dtype) for p in points]
    weights = [torch.tensor([1.0, 0.5, 0.0, 3.0], dtype=dtype), torch.zeros(0, dtype=dtype), torch.ones(1, dtype=dtype)]
    found = []
    for solver in ("screened", "batched"):
        leaf = density.clone().requires_grad_(True)
        value = build_loss("unbalanced", solver=solver, **options)(leaf, points, weights)
        found.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=close, atol=0)
    assert (found[1][1] - found[0][1]).abs().max() <= close * found[0][1].abs().max()


@pytest.mark.bad_input
def test_what_is_refused():
    with pytest.raises(ValueError, match="epsilon is 0, expected a finite number > 0"):
        build_loss("unbalanced", epsilon=0)
    with pytest.raises(ValueError, match=r"epsilon is 0\.6, expected at most half of rho, 0\.5"):
        build_loss("unbalanced", epsilon=0.6)
    with pytest.raises(ValueError, match="solver is 'dense', expected one of 'auto', 'screened', 'batched'"):
        build_loss("unbalanced", solver="dense")
