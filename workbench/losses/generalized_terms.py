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

DIVERGENCES = ("l1", "l2", "kl")


@dataclass(frozen=True)
class PlanSums:
    """What the terms need of a plan; every field a constant.

    Attributes:
        mass: (n,) and (m,), the marginals of the plan.
        cost: (n,) and (m,), the row and column sums of cost times plan.
        negentropy: (n,) and (m,), the row and column sums of P log P.
        spread: (m,) -> (n,), the product with the plan.
        gather: (n,) -> (m,), the product with its transpose.
    """

    mass: tuple[Float[Tensor, "n"], Float[Tensor, "m"]]
    cost: tuple[Float[Tensor, "n"], Float[Tensor, "m"]]
    negentropy: tuple[Float[Tensor, "n"], Float[Tensor, "m"]]
    spread: Callable[[Float[Tensor, "m"]], Float[Tensor, "n"]]
    gather: Callable[[Float[Tensor, "n"]], Float[Tensor, "m"]]


def dense_sums(matrix: Float[Tensor, "n m"], cost: Float[Tensor, "n m"]) -> PlanSums:
    """The sums of a plan that is held as a matrix."""
    moved, log = cost * matrix, torch.xlogy(matrix, matrix)
    return PlanSums(
        (matrix.sum(1), matrix.sum(0)),
        (moved.sum(1), moved.sum(0)),
        (log.sum(1), log.sum(0)),
        lambda x: matrix @ x,
        lambda y: y @ matrix,
    )


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
        moved = moved if column_factor is None else moved + sums.spread(column_factor)
        terms["pixel"] = tau * divergence(pixel, moved, density)
    if point is not None:
        moved = sums.gather(row_factor)
        moved = moved if column_factor is None else moved + column_factor * columns
        terms["point"] = tau * divergence(point, moved, people)
    return terms
