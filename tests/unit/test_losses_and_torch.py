"""Every loss with what torch does to a training step: recomputation, accumulated gradients, several processes."""

import pytest
import torch
import torch.multiprocessing
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from workbench.losses import LOSSES, build_loss

WAYS = [(name, {}) for name in sorted(LOSSES)]
WAYS += [(name, {"solver": "batched"}) for name in sorted(LOSSES) if "solver" in repr(build_loss(name))]


def scene():
    """A small model, four images and their points."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Softplus(), nn.Conv2d(4, 1, 1), nn.Softplus()).double()
    images = torch.rand(4, 1, 8, 12, dtype=torch.float64)
    extent = torch.tensor([96.0, 64.0], dtype=torch.float64)
    return model, images, [torch.rand(count, 2, dtype=torch.float64) * extent for count in (6, 0, 2, 9)]


def gradients(model, run):
    """Of the model's weights after ``run``."""
    model.zero_grad()
    run()
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


def whole(name, options):
    model, images, points = scene()
    loss = build_loss(name, **options)
    return gradients(model, lambda: loss(model(images), points).backward())


@pytest.mark.parametrize(("name", "options"), WAYS, ids=str)
def test_a_loss_that_is_computed_twice_has_the_same_gradient(name, options):
    model, images, points = scene()
    loss, calls = build_loss(name, **options), []

    def step(given):
        calls.append(name)
        return loss(model(given), points)

    found = gradients(model, lambda: checkpoint(step, images, use_reentrant=False).backward())
    assert len(calls) == 2
    assert torch.equal(found, whole(name, options))


@pytest.mark.parametrize(("name", "options"), WAYS, ids=str)
def test_accumulated_gradients_are_those_of_the_whole_batch(name, options):
    model, images, points = scene()
    loss = build_loss(name, **options)

    def run():
        for part in (slice(0, 1), slice(1, 2), slice(2, 4)):
            value = loss(model(images[part]), points[part])
            (value * len(points[part]) / 4).backward()

    torch.testing.assert_close(gradients(model, run), whole(name, options), rtol=1e-6, atol=1e-9)


def one_of_two(rank, address):
    """Both processes have half of the batch, and the gradient of all of it."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    for name, options in WAYS:
        model, images, points = scene()
        parallel, loss, half = (
            DistributedDataParallel(model),
            build_loss(name, **options),
            slice(2 * rank, 2 * rank + 2),
        )
        found = gradients(model, lambda: loss(parallel(images[half]), points[half]).backward())  # noqa: B023
        torch.testing.assert_close(found, whole(name, options), rtol=1e-6, atol=1e-9, msg=f"{name} {options}")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (f"file://{tmp_path / 'meeting'}",), nprocs=2)
