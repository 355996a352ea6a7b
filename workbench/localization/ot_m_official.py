"""OT-M as the published implementation runs it.

Its transport problem is balanced, with the squared distance over 64 square pixels as cost and the relative entropy.
The schedule of epsilon starts at the largest cost (or 8) and falls by a factor of 0.75 to 0.01; both potentials are
updated from the old ones and averaged with them half and half, and one un-averaged update ends it, far from converged.
It stops once the points move by less than a pixel in the mean and by less than a cell each.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.points import cell_centres
from workbench.transport import cost_matrix

EPSILON, SCALING, LEAST_START = 0.01, 0.75, 8.0
MOST_STEPS = 16
NOTHING = 1e-12  # density that counts as none


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
        plan = published_plan(density[held], cost)
        moved = plan.T @ cells / (plan.sum(0)[:, None] + NOTHING)
        step = torch.linalg.vector_norm(moved - points, dim=1)
        points = moved
        if float(step.mean()) < 1 and float(step.max()) < stride:
            break
    return points


def published_plan(a: Float[Tensor, "n"], cost: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """The plan that the published schedule ends with; every column should receive 1."""
    largest = max(float(cost.max()), LEAST_START)
    steps = math.ceil(math.log(EPSILON / largest) / math.log(SCALING))
    epsilons = [largest, *(largest * SCALING**step for step in range(steps)), EPSILON]
    log_a, b = a.log()[:, None], torch.zeros_like(cost[0])

    def answers(f: Tensor, g: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        rows = torch.logsumexp((g - cost) / epsilon, dim=1)
        columns = torch.logsumexp((f[:, None] - cost) / epsilon + log_a, dim=0)
        return -epsilon * rows, -epsilon * columns

    f, g = answers(torch.zeros_like(a), b, epsilons[0])
    for epsilon in epsilons:
        new_f, new_g = answers(f, g, epsilon)
        f, g = (f + new_f) / 2, (g + new_g) / 2
    f, g = answers(f, g, EPSILON)
    return a[:, None] * ((f[:, None] + g - cost) / EPSILON).exp()
