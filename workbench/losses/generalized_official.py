"""The terms of the generalized loss as the published implementation computes them, for an image and for a batch."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.losses.generalized_terms import Product, density_factor, divergence
from workbench.transport import TransportPlan
from workbench.transport.published import PART, PublishedSchedule

TRACE = 1e-20  # what the published implementation adds to the plan in its entropy


def official_terms(
    plan: TransportPlan,
    density: Float[Tensor, "n"],
    people: Float[Tensor, "m"],
    *,
    schedule: PublishedSchedule,
    tau: float,
    pixel: str | None,
    point: str | None,
) -> dict[str, Float[Tensor, ""]]:
    r"""The terms as the published implementation computes them from its unconverged plan.

    - transport: :math:`(\rho + \varepsilon / 2) [\langle a, 1 - e^{-f / \rho} \rangle + \langle b, 1 - e^{-g / \rho}
      \rangle]` (balanced: :math:`\langle a, f \rangle + \langle b, g \rangle`), f and g constant;
    - entropy: blur times the mean of P log P;
    - pixel: tau times the divergence of the rows of P, here a constant, from a;
    - point: tau times the divergence of the columns of P from b.

    As f and g are constant, a row of P is proportional to its density. With nobody in the image, transport is the sum
    of the density, pixel and point are tau times that, and the entropy is zero.

    Args:
        plan: P, with rows of ``TRACE`` people where there are fewer.
        density: (n,), a; differentiable.
        people: (m,), b.
        schedule: of the solver.
        tau: weight of the two divergences.
        pixel: their kind, or None.
        point: likewise.
    """
    if not len(people):
        mass = density.sum()
        return {"transport": mass, "entropy": 0 * mass, "pixel": tau * mass, "point": tau * mass}
    fixed, factor = density.detach(), density_factor(density, 1.0, TRACE)
    rows = plan.row_marginal
    shares = plan.matrix.split(max(PART // len(people), 1))
    logs = torch.cat([((share + TRACE).log_() * share).sum(1) for share in shares])
    logs = torch.where(fixed < TRACE, rows * math.log(TRACE), logs)
    mass = factor @ rows
    terms = {
        "transport": _dual_value(density, plan.row_potential, schedule)
        + _dual_value(people, plan.column_potential, schedule),
        "entropy": schedule.blur * (factor @ logs + mass - mass.detach()) / plan.matrix.numel(),
    }
    if pixel is not None:
        terms["pixel"] = tau * divergence(pixel, factor.detach() * rows, density)
    if point is not None:
        terms["point"] = tau * divergence(point, Product.apply(factor, plan.transposed, plan.matrix), people)
    return terms


def official_batch_terms(
    plan: TransportPlan,
    density: Float[Tensor, "b n"],
    people: Float[Tensor, "b m"],
    real: Bool[Tensor, "b m"],
    *,
    schedule: PublishedSchedule,
    tau: float,
    pixel: str | None,
    point: str | None,
) -> dict[str, Float[Tensor, ""]]:
    """:func:`official_terms` of a padded batch, summed over its images. ``real`` says what is no padding."""
    some = real.any(dim=1, keepdim=True)
    nobodys = density.where(~some, 0).sum()
    density = density.where(some, 0)
    fixed, factor = density.detach(), density_factor(density, 1.0, TRACE)
    rows = plan.row_marginal
    logs = (plan.matrix + TRACE).log_().mul_(plan.matrix).sum(dim=2)
    logs = torch.where(fixed < TRACE, rows * math.log(TRACE), logs)
    entries = density.shape[1] * real.sum(dim=1, keepdim=True).clamp(min=1)
    share = factor * (rows / entries)
    terms = {
        "transport": (density * _price(plan.row_potential, schedule)).sum()
        + (people * _price(plan.column_potential, schedule)).sum()
        + nobodys,
        "entropy": schedule.blur * (factor * (logs / entries) + share - share.detach()).sum(),
    }
    if pixel is not None:
        terms["pixel"] = tau * (divergence(pixel, factor.detach() * rows, density) + nobodys)
    if point is not None:
        reached = Product.apply(factor, plan.transposed, plan.matrix)
        terms["point"] = tau * (divergence(point, reached, people) + nobodys)
    return terms


def _dual_value(mass: Tensor, potential: Tensor, schedule: PublishedSchedule) -> Tensor:
    """One side of the dual."""
    return mass @ _price(potential, schedule)


def _price(potential: Tensor, schedule: PublishedSchedule) -> Tensor:
    """What a person costs in the dual."""
    if schedule.rho == math.inf:
        return potential
    return -(schedule.rho + schedule.blur**schedule.p / 2) * torch.expm1(-potential / schedule.rho)
