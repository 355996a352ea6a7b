"""OT-M as the published implementation runs it.

Its transport problem is balanced, with the squared distance over 64 square pixels as cost and the relative entropy. It
runs the schedule of :mod:`workbench.transport.published`, from the largest cost (or 8) by factors of 0.75 to
0.01, and is far from converged at its end. The steps stop once the points move by less than a pixel in the mean
and by less than a cell each.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.points import cell_centres
from workbench.transport import cost_matrix
from workbench.transport.published import PublishedSchedule, published_plan

SCHEDULE = PublishedSchedule(blur=0.01, reach=math.inf, scaling=0.75)
LEAST_START = 8.0  # epsilon starts at the largest cost, or here
MOST_STEPS = 16
NOTHING = 1e-12  # less density than this counts as none


def random_start(density: Float[Tensor, "h w"], people: int, *, stride: int, seed: int) -> Float[Tensor, "n 2"]:
    """Pixels of the enlarged map, drawn without replacement with the density as odds: (x, y) of their corners.

    Raises:
        ValueError: more people than pixels with any density.
    """
    large = F.interpolate(density[None, None], scale_factor=stride, mode="bilinear", align_corners=False)[0, 0]
    odds = large.flatten().cpu() * (large.flatten().cpu() > NOTHING)
    if int((odds > 0).sum()) < people:
        raise ValueError(f"density has {int((odds > 0).sum())} pixels for {people} people, expected at least as many")
    index = torch.multinomial(odds, people, generator=torch.Generator().manual_seed(seed))
    return torch.stack([index % large.shape[1], index // large.shape[1]], dim=1).to(density)


def official_points(density: Float[Tensor, "h w"], start: Float[Tensor, "n 2"], *, stride: int) -> Float[Tensor, "n 2"]:
    """Move ``start`` as the published implementation does; the density is scaled to as many people."""
    size = (density.shape[0], density.shape[1])
    density = (density * len(start) / density.sum()).flatten()
    held = density > NOTHING
    cells = cell_centres(size, stride, dtype=density.dtype, device=density.device)[held]
    points = start
    for _ in range(MOST_STEPS):
        cost = cost_matrix("squared", size, points, stride=stride, side=8.0)[held]
        largest = max(float(cost.max()), LEAST_START)
        plan = published_plan(cost.__getitem__, density[held], torch.ones_like(cost[0]), SCHEDULE, largest)
        moved = plan.matrix.T @ cells / (plan.column_marginal[:, None] + NOTHING)
        step = torch.linalg.vector_norm(moved - points, dim=1)
        points = moved
        if float(step.mean()) < 1 and float(step.max()) < stride:
            break
    return points
