"""Gradient descent on the density map itself: what a loss asks for, without a network in between."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive, check_whole
from workbench.losses.base import CrowdLoss
from workbench.tensor_checks import check_not_negative, check_tensor


def descend(
    loss: CrowdLoss,
    points: Float[Tensor, "n 2"],
    start: Float[Tensor, "h w"],
    *,
    steps: int = 200,
    rate: float = 0.05,
    keep: Sequence[int] = (),
) -> dict[int, Float[Tensor, "h w"]]:
    r"""Minimise a loss over the density map with Adam, its rate falling to zero along a cosine.

    The descent is on the square root, :math:`a = z^2`: the map stays non-negative, and a loss with an infinite slope
    at zero density, such as one with an entropy, does not throw empty cells about.

    Args:
        loss: the loss.
        points: (N, 2), image pixels.
        start: (H, W), people per cell, where the descent begins; a cell of zero stays zero.
        steps: how many.
        rate: Adam's learning rate at the start, on the square root.
        keep: numbers of steps after which the map is kept, besides the last.

    Returns:
        Number of steps -> the map after them.
    """
    maps = {0: start.detach().clone()} if 0 in keep else {}
    for step, reached in enumerate(descent(loss, points, start, steps=steps, rate=rate), 1):
        if step in keep or step == steps:
            maps[step] = reached
    return maps


def descent(
    loss: CrowdLoss,
    points: Float[Tensor, "n 2"],
    start: Float[Tensor, "h w"],
    *,
    steps: int = 200,
    rate: float = 0.05,
) -> Iterator[Float[Tensor, "h w"]]:
    """The maps of :func:`descend` one by one, one for each step; arguments and errors as there."""
    check_tensor(start, "start", shape=(None, None))
    check_not_negative(start, "start")
    check_whole(steps, "steps")
    check_positive(rate, "rate")
    return _descent(loss, points, start, steps, rate)


def _descent(loss: CrowdLoss, points: Tensor, start: Tensor, steps: int, rate: float) -> Iterator[Tensor]:
    root = start.detach().sqrt().requires_grad_()
    # a short memory of squared gradients: near zero they are far smaller than at the start
    optimizer = torch.optim.Adam([root], lr=rate, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(root.square()[None, None], [points]).backward()
        optimizer.step()
        schedule.step()
        yield root.detach().square()
