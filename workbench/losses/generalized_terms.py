r"""The terms of the generalized loss as functions of vectors, for the plan of either convention.

However large a plan is, the loss sees of it a few sums over its rows and columns. A small change of the plan is
:math:`P_{ij} (\sigma_i + \kappa_j)`: the row factor sigma carries how the row moves with its density, the column
factor kappa how the potentials move (for the implicit gradient only). Their values are 1 and 0, so the terms below are
exact in value and in their first derivative, and autograd never sees an n x m array.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.losses.base import in_single
from workbench.transport import TransportPlan
from workbench.transport.newton import newton_step

DIVERGENCES = ("l1", "l2", "kl")
FLOOR = 1e-30  # people in a cell: below it the slope of a power of the density, unbounded at zero, stays constant


def density_factor(density: Float[Tensor, "*b n"], power: float, floor: float = FLOOR) -> Float[Tensor, "*b n"]:
    r"""The factor :math:`(a_i / a_i^0)^p` at :math:`a^0 = a`: 1, with slope :math:`p / a_i`.

    Section 3.3 takes :math:`v^*` as a constant and :math:`u^*` as a function of a, so a row of the plan goes as
    :math:`a_i^\lambda` with :math:`\lambda = \tau / (\tau + \varepsilon)`. At zero that slope is infinite. A density
    below ``floor`` has the factor 0 and the slope of ``floor``, as its row in the matrix of the plan has.
    """
    fixed = density.detach()
    return (fixed >= floor).to(fixed) + power * (density - fixed) / fixed.clamp(min=floor)


class Product(torch.autograd.Function):
    """A matrix (dense, sparse or a batch) times a vector; the transposed matrix gives the derivative."""

    @staticmethod
    def forward(
        context: torch.autograd.function.FunctionCtx,
        vector: Float[Tensor, "*b m"],
        matrix: Float[Tensor, "*b n m"],
        transposed: Float[Tensor, "*b m n"],
    ) -> Float[Tensor, "*b n"]:
        """The product, of each image where there is a batch of them."""
        context.save_for_backward(transposed)
        return _times(matrix, vector)

    @staticmethod
    @in_single
    def backward(  # type: ignore[override]
        context: torch.autograd.function.FunctionCtx, gradient: Float[Tensor, "*b n"]
    ) -> tuple[Tensor | None, ...]:
        """The gradient of the vector."""
        (transposed,) = context.saved_tensors  # type: ignore[attr-defined]
        return _times(transposed, gradient), None, None


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return matrix @ vector if matrix.dim() == 2 else (matrix @ vector[..., None])[..., 0]


class ImplicitShift(torch.autograd.Function):
    r"""The change of the column potential with the density, in units of epsilon: zero, with its derivative.

    At the solution :math:`R(g, a) = 0`, so :math:`J \, dg = -\partial_a R \, da` with
    :math:`J = (I / \lambda - \lambda M) / \varepsilon` and
    :math:`\partial R_j / \partial a_i = \lambda P_{ij} / (a_i P^\top 1_j)`. J is symmetric in the inner product
    weighted by the column marginals, so the same conjugate gradients solve the adjoint equation.
    """

    @staticmethod
    def forward(
        context: torch.autograd.function.FunctionCtx,
        density: Float[Tensor, "n"],
        rows: Float[Tensor, "n"],
        columns: Float[Tensor, "m"],
        matrix: Float[Tensor, "n m"],
        transposed: Float[Tensor, "m n"],
        damping: float,
        floor: float,
    ) -> Float[Tensor, "m"]:
        """Zeros, for a plan with its marginals; a density below ``floor`` has the slope of ``floor``."""
        context.save_for_backward(density, rows, columns, matrix, transposed)
        context.options = damping, floor  # type: ignore[attr-defined]
        return torch.zeros_like(columns)

    @staticmethod
    @in_single
    def backward(  # type: ignore[override]
        context: torch.autograd.function.FunctionCtx, gradient: Float[Tensor, "m"]
    ) -> tuple[Tensor | None, ...]:
        """The gradient of the density, by the adjoint equation."""
        density, rows, columns, matrix, transposed = context.saved_tensors  # type: ignore[attr-defined]
        damping, floor = context.options  # type: ignore[attr-defined]
        tiny = torch.finfo(density.dtype).tiny
        held, reached = rows.clamp(min=tiny), columns.clamp(min=tiny)

        def share(x: Tensor) -> Tensor:
            return (transposed @ ((matrix @ x) / held)) / reached

        tolerance = 64 * torch.finfo(density.dtype).eps
        shift = newton_step(share, reached, gradient / reached, damping, tolerance=tolerance)
        slope = -damping * (matrix @ shift) / density.clamp(min=floor)
        return slope, None, None, None, None, None, None


def divergence(kind: str, moved: Float[Tensor, "*b k"], given: Float[Tensor, "*b k"]) -> Float[Tensor, ""]:
    r"""How far a marginal of the plan is from what is given [GL 2], [GL 3], and the third kind of Fig. 4d.

    "l2" :math:`\|p - q\|_2^2`, "l1" :math:`\|p - q\|_1`, "kl" :math:`\sum p \log(p / q) - p + q`.
    """
    if kind == "l1":
        return (moved - given).abs().sum()
    if kind == "l2":
        return (moved - given).square().sum()
    tiny = torch.finfo(moved.dtype).tiny
    # a marginal is zero wherever q is: the guard only keeps 0 log 0 out of the gradient
    return (moved * (moved.clamp(min=tiny).log() - given.clamp(min=tiny).log()) - moved + given).sum()


def plan_terms(
    plan: TransportPlan,
    cost: Tensor,
    density: Float[Tensor, "*b n"],
    people: Float[Tensor, "*b m"],
    row_factor: Float[Tensor, "*b n"],
    column_factor: Float[Tensor, "*b m"] | None,
    *,
    epsilon: float,
    tau: float,
    pixel: str | None,
    point: str | None,
) -> dict[str, Float[Tensor, ""]]:
    r"""The terms of the loss [GL 1].

    .. math:: \langle C, P \rangle - \varepsilon H(P) + \tau D_1(P 1 | a) + \tau D_2(P^\top 1 | b)

    A plan of a batch gives the sums over the batch; everything but the weights then has a batch axis in front.

    Args:
        plan: P, a constant.
        cost: C, one number an entry of the plan.
        density: (n,), a; differentiable.
        people: (m,), b.
        row_factor: (n,), sigma.
        column_factor: (m,), kappa; None where it is zero.
        epsilon: weight of the entropy.
        tau: weight of the two divergences.
        pixel: the divergence between rows and density, one of ``DIVERGENCES``; None: no such term.
        point: the divergence between columns and people; None: no such term.
    """

    def linear(weight: Tensor) -> Tensor:
        moved = (row_factor * plan.row_sums(weight)).sum()
        return moved if column_factor is None else moved + (column_factor * plan.column_sums(weight)).sum()

    terms = {"transport": linear(cost)}
    # d(x log x) = (log x + 1) dx; the mass itself has to cancel in the value
    mass = (row_factor * plan.row_marginal).sum()
    mass = mass if column_factor is None else mass + (column_factor * plan.column_marginal).sum()
    logs = plan.entries.clamp(min=torch.finfo(density.dtype).tiny).log()
    terms["entropy"] = epsilon * (linear(logs) + mass - mass.detach())
    if pixel is not None:
        moved = row_factor * plan.row_marginal
        moved = moved if column_factor is None else moved + Product.apply(column_factor, plan.matrix, plan.transposed)
        terms["pixel"] = tau * divergence(pixel, moved, density)
    if point is not None:
        moved = Product.apply(row_factor, plan.transposed, plan.matrix)
        moved = moved if column_factor is None else moved + column_factor * plan.column_marginal
        terms["point"] = tau * divergence(point, moved, people)
    return terms
