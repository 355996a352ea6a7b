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

from workbench.losses.base import in_single
from workbench.losses.generalized_terms import divergence
from workbench.transport import TransportCost
from workbench.transport.published_schedule import Published, PublishedSchedule, published_solution


def official_terms(
    density: Float[Tensor, "h w"],
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
        density: (H, W), a; differentiable.
        cells: (H W, 2), normalised, row by row.
        points: (m, 2), normalised.
        people: (m,), b.
        cost: of moving density.
        schedule: of the solver.
        tau: weight of the two divergences.
        pixel: their kind, or None.
        point: likewise.
    """
    a = density.flatten()
    # the terms are sums over points, and in this order a row of the map needs few of them
    order = points[:, 1].argsort()
    points, people = points[order], people[order]
    if not len(points):
        mass = a.sum()
        return {"transport": mass, "entropy": 0 * mass, "pixel": tau * mass, "point": tau * mass}
    with torch.no_grad():
        plan = published_solution(density.detach(), cells, points, people, cost, schedule)
        fixed, entries = a.detach(), len(cells) * len(points)
        entropy = fixed @ plan.log / entries
        slope = (plan.log + plan.held) / entries
    terms = {
        "transport": _dual_value(a, plan.f, schedule) + _dual_value(people, plan.g, schedule),
        "entropy": schedule.blur * (entropy + slope @ (a - fixed)),
    }
    if pixel is not None:
        terms["pixel"] = tau * divergence(pixel, fixed * plan.held, a)
    if point is not None:
        columns = PlanColumns.apply(a, plan)
        terms["point"] = tau * divergence(point, columns, people)
    return terms


class PlanColumns(torch.autograd.Function):
    """The columns of a plan whose rows are proportional to the density.

    They are known, and the kernel is saved as autograd saves tensors: the backward pass frees it where it is used.
    """

    @staticmethod
    def forward(
        context: torch.autograd.function.FunctionCtx, density: Float[Tensor, "n"], plan: Published
    ) -> Float[Tensor, "m"]:
        """The columns, known already: a row for one person is u K v."""
        context.parts = [(block.rows, block.columns) for block in plan.kernel]  # type: ignore[attr-defined]
        context.save_for_backward(*plan.factors, *(block.entries for block in plan.kernel))
        return plan.columns.clone()

    @staticmethod
    @in_single
    def backward(  # type: ignore[override]
        context: torch.autograd.function.FunctionCtx, gradient: Float[Tensor, "m"]
    ) -> tuple[Tensor | None, ...]:
        """The gradient of the density."""
        u, v, *kernel = context.saved_tensors  # type: ignore[attr-defined]
        weighted, found = v * gradient, torch.empty_like(u)
        for (rows, columns), entries in zip(context.parts, kernel, strict=True):  # type: ignore[attr-defined]
            torch.mv(entries, weighted[columns], out=found[rows])
        return u * found, None


def _dual_value(mass: Tensor, potential: Tensor, schedule: PublishedSchedule) -> Tensor:
    """One side of the dual."""
    if schedule.rho == math.inf:
        return mass @ potential
    scale = schedule.rho + schedule.blur**schedule.p / 2
    return mass @ (-scale * torch.expm1(-potential / schedule.rho))
