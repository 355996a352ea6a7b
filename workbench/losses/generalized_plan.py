r"""How the transport plan of the generalized loss depends on the density.

Section 3.3 takes :math:`v^*` as a constant and :math:`u^*` as a function of a, so a row of the plan goes as
:math:`a_i^\lambda` with :math:`\lambda = \tau / (\tau + \varepsilon)`. A density of zero has an infinite slope under
that rule (lambda < 1); it is taken at ``FLOOR`` people instead, and its row has no mass.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.losses.base import in_single
from workbench.transport.newton import newton_step

FLOOR = 1e-30  # people in a cell below which the slope of a power of the density is no longer followed


def row_factor(density: Float[Tensor, "n"], power: float) -> Float[Tensor, "n"]:
    r"""The factor :math:`(a_i / a_i^0)^p` at :math:`a^0 = a`: 1 (0 where nothing is), with slope :math:`p / a_i`."""
    fixed = density.detach()
    return (fixed >= FLOOR).to(fixed) + power * (density - fixed) / fixed.clamp(min=FLOOR)


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
        spread: Callable[[Tensor], Tensor],
        gather: Callable[[Tensor], Tensor],
        damping: float,
    ) -> Float[Tensor, "m"]:
        """Zeros; see the class for what the arguments are of the plan."""
        context.save_for_backward(density, rows, columns)  # type: ignore[attr-defined]
        context.products = spread, gather, damping  # type: ignore[attr-defined]
        return torch.zeros_like(columns)

    @staticmethod
    @in_single
    def backward(  # type: ignore[override]
        context: torch.autograd.function.FunctionCtx, gradient: Float[Tensor, "m"]
    ) -> tuple[Tensor | None, ...]:
        """The gradient of the density, by the adjoint equation."""
        density, rows, columns = context.saved_tensors  # type: ignore[attr-defined]
        spread, gather, damping = context.products  # type: ignore[attr-defined]
        tiny = torch.finfo(density.dtype).tiny
        held, reached = rows.clamp(min=tiny), columns.clamp(min=tiny)

        def share(x: Tensor) -> Tensor:
            return gather(spread(x) / held) / reached

        tolerance = 64 * torch.finfo(density.dtype).eps
        shift = newton_step(share, reached, gradient / reached, damping, tolerance=tolerance)
        slope = -damping * spread(shift) / density.clamp(min=FLOOR)
        return slope, None, None, None, None, None
