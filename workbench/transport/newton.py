r"""Newton's method for entropic transport, for a plan in any form.

The row potential is eliminated: it is the closed-form answer to the column potential g, the only unknown. An update of
Sinkhorn's is :math:`g \leftarrow g - \lambda \varepsilon R(g)`, :math:`R_j` the logarithm of (what column j receives) /
(what it should receive). It shrinks the error only by :math:`\lambda^2 = (\tau / (\tau + \varepsilon))^2`. Newton's
method on :math:`R = 0` sums the whole series of updates at once; see :func:`newton_step`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

DIRECT = 128  # columns up to which a dense solve replaces conjugate gradients; at 200 columns it is 17 % slower


def newton_step(
    share: Callable[[Tensor], Tensor],
    weight: Float[Tensor, "m"],
    right: Float[Tensor, "m"],
    damping: float,
    *,
    tolerance: float,
    most: int = 400,
) -> Float[Tensor, "m"]:
    r"""Solve :math:`(I / \lambda - \lambda M) d = r` by conjugate gradients.

    The Jacobian of R is :math:`(I / \lambda - \lambda M) / \varepsilon` with the stochastic matrix
    :math:`M = \mathrm{diag}(P^\top 1)^{-1} P^\top \mathrm{diag}(P 1)^{-1} P`, which is symmetric in the inner product
    weighted by the column marginals. Its inverse is :math:`\lambda \sum_k (\lambda^2 M)^k`, the sum of all updates.

    Args:
        share: d -> M d.
        weight: (m,), the column marginals, in any unit.
        right: (m,), r.
        damping: lambda in (0, 1]; at 1 the matrix is singular and the mean of the solution is zero.
        tolerance: relative size at which the remainder is small enough.
        most: the largest number of products with M.
    """

    def inner(x: Tensor, y: Tensor) -> float:
        return float(torch.dot(weight * x, y))

    def centred(x: Tensor) -> Tensor:
        return x - (weight * x).sum() / weight.sum() if damping == 1 else x

    tiny = torch.finfo(right.dtype).tiny
    weight, scale = weight / weight.amax(), right.abs().amax().clamp(min=tiny)  # squares stay in range
    remainder = right = centred(right / scale)
    step = torch.zeros_like(right)
    direction = remainder
    size = inner(remainder, remainder)
    # centring a right-hand side that is constant leaves only rounding: nothing to solve for
    enough = max(tolerance**2 * size, (8 * torch.finfo(right.dtype).eps) ** 2 * float(weight.sum()))
    for _ in range(most):
        if size <= enough:
            break
        image = centred(direction / damping - damping * share(direction))
        curvature = inner(direction, image)
        if curvature <= 0:
            break
        step = step + (size / curvature) * direction
        remainder = remainder - (size / curvature) * image
        size, before = inner(remainder, remainder), size
        direction = remainder + (size / before) * direction
    # columns of almost no mass have no weight above; one more product with M corrects them
    return scale * damping * (right + damping * share(step))


@runtime_checkable
class Iterate(Protocol):
    """The plan that a column potential gives, as Newton's method sees it."""

    @property
    def g(self) -> Tensor:
        """The column potential."""

    @property
    def violation(self) -> Tensor:
        """The logarithm of what each column receives over what it should."""

    @property
    def size(self) -> float:
        """The largest violation."""

    @property
    def span(self) -> float:
        """The largest number that an exponent is made of."""

    def correction(self, damping: float) -> Tensor:
        """Newton's step in units of epsilon."""


AnyIterate = TypeVar("AnyIterate", bound=Iterate)


@dataclass(frozen=True)
class NewtonResult(Generic[AnyIterate]):
    """Where :func:`newton_method` ended.

    Attributes:
        best: the iterate of the smallest residual.
        step: (m,), the step that Newton's method would still take from it.
        converged: whether the residual reached the tolerance, or rounding.
        iterations: how many steps were taken.
        residual: of the best iterate, the larger of its violation and the step in units of epsilon.
    """

    best: AnyIterate
    step: Float[Tensor, "m"]
    converged: bool
    iterations: int
    residual: float


def newton_method(
    iterate_at: Callable[[Tensor], AnyIterate],
    g: Float[Tensor, "m"],
    *,
    damping: float,
    epsilon: float,
    tolerance: float,
    max_iterations: int,
) -> NewtonResult[AnyIterate]:
    """Newton's method from g. Shorten a step that does not reduce the violation; if that fails, take Sinkhorn's."""
    now = iterate_at(g)
    best: NewtonResult[AnyIterate] | None = None
    stalled = 0
    for iteration in range(max_iterations + 1):
        step = epsilon * now.correction(damping)
        length = float(step.abs().max()) / epsilon
        if math.isfinite(length):
            residual = max(now.size, length)
        else:  # out of range: a Sinkhorn update instead, without an estimate of the distance to the solution
            residual, step = math.inf, damping * epsilon * now.violation
        stalled = 0 if best is None or residual < best.residual / 2 else stalled + 1
        if best is None or residual < best.residual:
            best = NewtonResult(now, step, residual <= tolerance, iteration, residual)
        # the violation that rounding of the exponent (f + g - C) / epsilon causes
        rounding = 4 * torch.finfo(g.dtype).eps * (1 + now.span / epsilon)
        lost = (stalled > 3 and now.size <= rounding) or not math.isfinite(now.size)
        if best.converged or iteration == max_iterations or lost:
            break
        for trial in (1.0, 0.3, 0.1, 0.03, 0.01):
            ahead = iterate_at(now.g - trial * step)
            if ahead.size < now.size:
                break
        else:
            ahead = iterate_at(now.g - damping * epsilon * now.violation)
        now = ahead
    assert best is not None
    return replace(best, converged=best.converged or best.residual <= rounding, iterations=iteration)
