"""Gradient descent on the density map itself: what a loss asks for, without a network in between."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive, check_tensor, check_whole
from workbench.losses.base import CrowdLoss


def descend(
    loss: CrowdLoss,
    points: Float[Tensor, "n 2"],
    start: Float[Tensor, "h w"],
    *,
    steps: int = 200,
    rate: float = 0.02,
    keep: Sequence[int] = (),
) -> dict[int, Float[Tensor, "h w"]]:
    r"""Minimise a loss over the density map, with Adam.

    The map is kept non-negative by descending on its square root: :math:`a = z^2`.

    Args:
        loss: the loss.
        points: (N, 2), image pixels.
        start: (H, W), people per cell, where the descent begins; a cell of zero stays zero.
        steps: steps of Adam.
        rate: Adam's learning rate, on the square root of the density.
        keep: numbers of steps after which the map is kept, besides the last.

    Returns:
        Number of steps -> the map after them.
    """
    check_tensor(start, "start", shape=(None, None))
    check_whole(steps, "steps")
    check_positive(rate, "rate")
    root = start.detach().clamp(min=0).sqrt().requires_grad_()
    optimizer = torch.optim.Adam([root], lr=rate)
    maps = {0: start.detach().clone()} if 0 in keep else {}
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss(root.square()[None, None], [points]).backward()
        optimizer.step()
        if step in keep or step == steps:
            maps[step] = root.detach().square()
    return maps
