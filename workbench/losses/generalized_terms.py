r"""The four terms of the generalized loss as functions of vectors.

However large a plan is, the loss sees of it a few sums over its rows and columns. A small change of the plan is
:math:`P_{ij} (\sigma_i + \kappa_j)`: the row factor sigma carries how the row moves with its density, the column
factor kappa how the potentials move (for the implicit gradient only). Both have the value 1 and 0, so the terms below
are exact in value and in their first derivative, and autograd never sees an n x m array.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.losses.base import in_single
from workbench.transport.screening import ScreenedPlan

DIVERGENCES = ("l1", "l2", "kl")
Product = Callable[[Tensor], Tensor]
Sums = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PlanSums:
    """What the terms need of a plan; every field a constant.

    Each pair of sums is over the rows, (n,), and over the columns, (m,).

    Attributes:
        mass: the marginals of the plan.
        cost: the sums of cost times plan.
        negentropy: the sums of P log P.
        spread: (m,) -> (n,), the product with the plan.
        gather: (n,) -> (m,), the product with its transpose.
    """

    mass: Sums
    cost: Sums
    negentropy: Sums
    spread: Product
    gather: Product


def dense_sums(matrix: Float[Tensor, "n m"], cost: Float[Tensor, "n m"]) -> PlanSums:
    """The sums of a plan that is held as a matrix."""

    def both(values: Tensor) -> Sums:
        return values.sum(1), values.sum(0)

    return PlanSums(
        both(matrix),
        both(cost * matrix),
        both(torch.xlogy(matrix, matrix)),
        lambda x: matrix @ x,
        lambda y: y @ matrix,
    )


def support_sums(plan: ScreenedPlan) -> PlanSums:
    """The sums of a plan that is held on the pairs that matter."""
    support, values = plan.support, plan.log_values.exp()
    matrix, turned = support.matrix(values), support.transposed(values)
    ones = values.new_ones(support.shape[1]), values.new_ones(support.shape[0])

    def both(share: Tensor) -> Sums:
        weighted = share * values
        return support.matrix(weighted) @ ones[0], support.transposed(weighted) @ ones[1]

    return PlanSums(
        (matrix @ ones[0], turned @ ones[1]),
        both(support.cost),
        both(plan.log_values),
        lambda x: matrix @ x,
        lambda y: turned @ y,
    )


class Gather(torch.autograd.Function):
    """The product with the transposed plan, whose derivative is the product with the plan."""

    @staticmethod
    def forward(
        context: torch.autograd.function.FunctionCtx, factor: Float[Tensor, "n"], gather: Product, spread: Product
    ) -> Float[Tensor, "m"]:
        """The columns of diag(factor) P."""
        context.spread = spread  # type: ignore[attr-defined]
        return gather(factor)

    @staticmethod
    @in_single
    def backward(  # type: ignore[override]
        context: torch.autograd.function.FunctionCtx, gradient: Float[Tensor, "m"]
    ) -> tuple[Tensor | None, ...]:
        """The gradient of the factor."""
        return context.spread(gradient), None, None  # type: ignore[attr-defined]


def divergence(kind: str, moved: Float[Tensor, "k"], given: Float[Tensor, "k"]) -> Float[Tensor, ""]:
    r"""How far a marginal of the plan is from what is given, eq. (2), (3) and Fig. 4d.

    "l1" :math:`\|p - q\|_1`, "l2" :math:`\|p - q\|_2^2`, "kl" :math:`\sum p \log(p / q) - p + q`.
    """
    if kind == "l1":
        return (moved - given).abs().sum()
    if kind == "l2":
        return (moved - given).square().sum()
    tiny = torch.finfo(moved.dtype).tiny
    # a marginal is zero wherever q is: the guard only keeps 0 log 0 out of the gradient
    return (moved * (moved.clamp(min=tiny).log() - given.clamp(min=tiny).log()) - moved + given).sum()


def plan_terms(
    sums: PlanSums,
    density: Float[Tensor, "n"],
    people: Float[Tensor, "m"],
    row_factor: Float[Tensor, "n"],
    column_factor: Float[Tensor, "m"] | None,
    *,
    epsilon: float,
    tau: float,
    pixel: str | None,
    point: str | None,
) -> dict[str, Float[Tensor, ""]]:
    r"""The terms of eq. (1).

    .. math:: \langle C, P \rangle - \varepsilon H(P) + \tau D_1(P 1 | a) + \tau D_2(P^\top 1 | b)

    Args:
        sums: the plan's.
        density: (n,), a; differentiable.
        people: (m,), b.
        row_factor: (n,), sigma.
        column_factor: (m,), kappa; None where it is zero.
        epsilon: weight of the entropy.
        tau: weight of the two divergences.
        pixel: the divergence between rows and density, one of ``DIVERGENCES``; None: no such term.
        point: the divergence between columns and people; None: no such term.
    """
    rows, columns = sums.mass

    def linear(parts: tuple[Tensor, Tensor]) -> Tensor:
        moved = row_factor @ parts[0]
        return moved if column_factor is None else moved + column_factor @ parts[1]

    terms = {"transport": linear(sums.cost)}
    # d(x log x) = (log x + 1) dx; the mass itself has to cancel in the value
    terms["entropy"] = epsilon * (linear(sums.negentropy) + linear(sums.mass) - linear(sums.mass).detach())
    if pixel is not None:
        moved = row_factor * rows
        moved = moved if column_factor is None else moved + Gather.apply(column_factor, sums.spread, sums.gather)
        terms["pixel"] = tau * divergence(pixel, moved, density)
    if point is not None:
        moved = Gather.apply(row_factor, sums.gather, sums.spread)
        moved = moved if column_factor is None else moved + column_factor * columns
        terms["point"] = tau * divergence(point, moved, people)
    return terms
