"""What each loss would cost a GPU: few launches and waits, whatever the batch and the crowds."""

import pytest
import torch

from workbench.losses import LOSSES, build_loss
from workbench.study.launches import Launches

MOST_LAUNCHES, MOST_WAITS, SPREAD = 600, 4, 1.1


def scene(images, people, side):
    """Maps of some hundred cells, and as many people in each image."""
    draw = torch.Generator().manual_seed(people)
    density = torch.rand(images, 1, side, side, generator=draw)
    density = density * people / density.sum(dim=(2, 3), keepdim=True)
    return density.requires_grad_(), [torch.rand(people, 2, generator=draw) * 8 * side for _ in range(images)]


def counted(name, convention, images, people, side):
    """Launches and waits of a call and its backward pass."""
    options = {"solver": "batched"} if "solver" in repr(build_loss(name)) else {}
    density, points = scene(images, people, side)
    loss = build_loss(name, convention=convention, **options)
    with Launches() as count:
        loss(density, points).backward()
    return count.launches, count.waits


def check(name, convention, cases, side):
    found = [counted(name, convention, *case, side) for case in cases]
    launches = [number for number, _ in found]
    assert max(launches) <= MOST_LAUNCHES
    assert max(launches) <= SPREAD * min(launches)
    assert max(waits for _, waits in found) <= MOST_WAITS


CASES = [(name, convention) for name in sorted(LOSSES) for convention in ("paper", "official")]


@pytest.mark.parametrize(("name", "convention"), CASES)
def test_few_launches_and_waits(name, convention):
    check(name, convention, [(1, 40), (8, 40), (16, 40), (2, 200)], 20)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "convention"), CASES)
def test_few_launches_and_waits_at_full_size(name, convention):
    check(name, convention, [(8, 50), (8, 500), (8, 2000), (1, 500), (16, 500)], 64)


def test_every_way_to_wait_is_counted():
    values = torch.arange(6.0)
    waits = [
        lambda: values[3].item(),
        lambda: bool((values > 2).any()),
        lambda: (values > 2).nonzero(),
        lambda: values[values > 2],
        lambda: values.clone().index_put_((values > 2,), torch.zeros(())),
        lambda: values.masked_select(values > 2),
        lambda: values.unique(),
        lambda: values.numpy(),
        lambda: values.tolist(),
        lambda: torch.equal(values, values),
        lambda: torch.linalg.solve(torch.eye(2), torch.ones(2)),
    ]
    for wait in waits:
        with Launches() as count:
            wait()
        assert count.waits == 1
    with Launches() as count:
        values.where(values > 2, 0)[torch.tensor([1, 2])].view(2, 1).sum()
        torch.linalg.solve_ex(torch.eye(2), torch.ones(2))
    assert count.waits == 0
    assert values.numpy().tolist() == list(range(6))  # and tensors are as they were
