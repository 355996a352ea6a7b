r"""What the published implementation of the generalized loss computes.

Its transport problem is :math:`\min_P \langle C, P \rangle + \varepsilon KL(P | a b^\top) + \rho KL(P 1 | a) +
\rho KL(P^\top 1 | b)` with epsilon = blur^p and rho = reach^p, so :math:`P = a b \exp((F + G - C) / \varepsilon)`. It
runs a fixed schedule: epsilon starts at the diameter of the coordinates and falls by scaling^p at each iteration, both
potentials are updated from the old ones and averaged with them half and half, and one un-averaged update ends it. At
that point the potentials are far from converged; :func:`workbench.transport.sinkhorn` with ``entropy="relative"``
converges them.

Reference:
    Feydy et al., "Interpolating between optimal transport and MMD using Sinkhorn divergences", AISTATS 2019 (the
    schedule and the value of the dual); Wan, Liu and Chan, CVPR 2021.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.losses.generalized_schedule import PublishedSchedule, published_solution
from workbench.losses.generalized_terms import divergence
from workbench.transport import TransportCost


def official_terms(
    density: Float[Tensor, "n"],
    cells: Float[Tensor, "n 2"],
    points: Float[Tensor, "m 2"],
    people: Float[Tensor, "m"],
    *,
    cost: TransportCost,
    schedule: PublishedSchedule,
    tau: float,
    pixel: str | None,
    point: str | None,
) -> dict[str, Float[Tensor, ""]]:
    r"""The terms of one image, weighted as they enter the loss.

    - transport: :math:`(\rho + \varepsilon / 2) [\langle a, 1 - e^{-F / \rho} \rangle + \langle b, 1 - e^{-G / \rho}
      \rangle]` (balanced: :math:`\langle a, F \rangle + \langle b, G \rangle`), F and G constant;
    - entropy: blur times the mean of P log P;
    - pixel: tau times the divergence of the rows of P, here a constant, from a;
    - point: tau times the divergence of the columns of P from b.

    F and G being constant, a row of P is proportional to its density. With nobody in the image, transport is the sum
    of the density, pixel and point are tau times that, and the entropy is zero.

    Args:
        density: (n,), a; differentiable.
        cells: (n, 2), normalised.
        points: (m, 2), normalised.
        people: (m,), b.
        cost: of moving density.
        schedule: of the solver.
        tau: weight of the two divergences.
        pixel: their kind, or None.
        point: likewise.
    """
    if not len(points):
        mass = density.sum()
        return {"transport": mass, "entropy": 0 * mass, "pixel": tau * mass, "point": tau * mass}
    with torch.no_grad():
        plan = published_solution(density.detach(), cells, points, people, cost, schedule)
        held = plan.share.sum(1)
        moved = density.detach() * held
        entropy = density.detach() @ plan.log / plan.share.numel()
        slope = (plan.log + held) / plan.share.numel()
    terms = {
        "transport": _dual_value(density, plan.f, schedule) + _dual_value(people, plan.g, schedule),
        "entropy": schedule.blur * (entropy + slope @ (density - density.detach())),
    }
    if pixel is not None:
        terms["pixel"] = tau * divergence(pixel, moved, density)
    if point is not None:
        terms["point"] = tau * divergence(point, density @ plan.share, people)
    return terms


def _dual_value(mass: Tensor, potential: Tensor, schedule: PublishedSchedule) -> Tensor:
    """One side of the dual."""
    if schedule.rho == math.inf:
        return mass @ potential
    scale = schedule.rho + schedule.blur**schedule.p / 2
    return mass @ (-scale * torch.expm1(-potential / schedule.rho))
