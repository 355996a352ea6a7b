r"""Newton's method for entropic transport, on logarithms.

The row potential is always eliminated: it is the closed-form answer to the column potential g, so that g is all there
is to solve for. A Sinkhorn sweep is :math:`g \leftarrow g - \lambda \varepsilon R(g)`, :math:`R_j` the logarithm of
(what column j receives) / (what it should receive); it is a contraction, but a slow one, by
:math:`\lambda^2 = (\tau / (\tau + \varepsilon))^2`. Newton's method on :math:`R = 0` sums the whole series of sweeps at
once; see :func:`newton_step`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

DIRECT = 128  # columns up to which a dense solve beats conjugate gradients


@dataclass(frozen=True)
class Problem:
    r"""An entropic transport problem on rows and columns of positive mass.

    The plan is :math:`P_{ij} = \exp((f_i + g_j - C_{ij}) / \varepsilon + \rho_i + \sigma_j)`; rho and sigma are zero
    for the Shannon entropy, log a and log b for the relative one.
    """

    cost: Float[Tensor, "n m"]
    log_a: Float[Tensor, "n"]
    log_b: Float[Tensor, "m"]
    epsilon: float
    tau: float | None
    relative: bool

    @property
    def damping(self) -> float:
        """The exponent lambda of eq. (6); 1 where the marginals must hold."""
        return 1.0 if self.tau is None else self.tau / (self.tau + self.epsilon)

    def target(self, log_mass: Tensor, potential: Tensor) -> Tensor:
        """The logarithm of the marginal that belongs to a potential: mass exp(-potential / tau)."""
        return log_mass if self.tau is None else log_mass - potential / self.tau

    def row_potential(self, g: Float[Tensor, "m"], cost: Tensor, log_a: Tensor) -> Float[Tensor, "n"]:
        """The row potential that answers g, eq. (6) in logarithms."""
        scores = (g - cost) / self.epsilon + (self.log_b if self.relative else 0)
        reached = torch.logsumexp(scores, dim=1)
        return self.damping * self.epsilon * ((0 if self.relative else log_a) - reached)

    def exponent(self, f: Float[Tensor, "n"], g: Float[Tensor, "m"]) -> Float[Tensor, "n m"]:
        """The logarithm of the plan."""
        rows = f / self.epsilon + (self.log_a if self.relative else 0)
        columns = g / self.epsilon + (self.log_b if self.relative else 0)
        return rows[:, None] + columns - self.cost / self.epsilon


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
    weighted by the column marginals. Its inverse is :math:`\lambda \sum_k (\lambda^2 M)^k`: the sum of all sweeps.

    Args:
        share: d -> M d.
        weight: (m,), the column marginals, in any unit.
        right: (m,), r.
        damping: lambda in (0, 1]; at 1 the matrix is singular and the mean of the solution is zero.
        tolerance: relative size at which the remainder is small enough.
        most: most products with M.
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
    # of a right-hand side that is constant but for rounding, centring leaves the rounding: nothing to solve for
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
    # columns of nearly no mass weigh nothing above; one sweep of the linear equation sets them right
    return scale * damping * (right + damping * share(step))


@dataclass(frozen=True)
class State:
    """The plan that a column potential gives, and how far it is from the fixed point."""

    f: Float[Tensor, "n"]
    g: Float[Tensor, "m"]
    log_plan: Float[Tensor, "n m"]
    log_rows: Float[Tensor, "n"]
    log_columns: Float[Tensor, "m"]
    violation: Float[Tensor, "m"]
    largest: float

    @property
    def size(self) -> float:
        """The largest relative violation."""
        return float(self.violation.abs().max())

    @property
    def span(self) -> float:
        """The largest number that an exponent is made of, in the unit of the cost."""
        return float(self.f.abs().max() + self.g.abs().max()) + self.largest

    def correction(self, damping: float) -> Float[Tensor, "m"]:
        """The step that Newton's method takes, in units of epsilon."""
        half_rows, half_columns = self.log_rows / 2, self.log_columns / 2
        normal = (self.log_plan - half_rows[:, None] - half_columns).exp()  # its singular values are at most 1
        root = (half_columns - half_columns.max()).exp().clamp(min=torch.finfo(normal.dtype).tiny)

        if len(root) <= DIRECT and damping < 1:  # balanced plans that fall apart make the matrix singular
            jacobian = torch.eye(len(root)).to(normal) / damping - damping * (normal.T @ normal)
            return torch.linalg.solve(jacobian, root * self.violation) / root

        def share(x: Tensor) -> Tensor:
            return (normal.T @ (normal @ (root * x))) / root

        return newton_step(share, root.square(), self.violation, damping, tolerance=min(0.1, self.size))


def evaluate(problem: Problem, g: Float[Tensor, "m"]) -> State:
    """Answer g with the row potential and measure the columns: the fixed-point equation of the rows holds exactly."""
    f = problem.row_potential(g, problem.cost, problem.log_a)
    log_plan = problem.exponent(f, g)
    log_columns = torch.logsumexp(log_plan, dim=0)
    violation = log_columns - problem.target(problem.log_b, g)
    largest = float(problem.cost.abs().max())
    return State(f, g, log_plan, problem.target(problem.log_a, f), log_columns, violation, largest)


@runtime_checkable
class Step(Protocol):
    """What :func:`iterate` needs of a state."""

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


AnyState = TypeVar("AnyState", bound=Step)


@dataclass(frozen=True)
class Outcome(Generic[AnyState]):
    """Where :func:`iterate` ended: the best state, the step Newton's method would still take from it, and how good."""

    state: AnyState
    step: Float[Tensor, "m"]
    converged: bool
    iterations: int
    residual: float


def iterate(
    evaluate: Callable[[Tensor], AnyState],
    g: Float[Tensor, "m"],
    *,
    damping: float,
    epsilon: float,
    tolerance: float,
    max_iterations: int,
) -> Outcome[AnyState]:
    """Newton's method from g; where a step does not bring the violation down, part of it, at last a sweep."""
    state = evaluate(g)
    best: Outcome[AnyState] | None = None
    stalled = 0
    for iteration in range(max_iterations + 1):
        step = epsilon * state.correction(damping)
        length = float(step.abs().max()) / epsilon
        if math.isfinite(length):
            residual = max(state.size, length)
        else:  # out of range: a sweep instead, and no estimate of how far it is to the solution
            residual, step = math.inf, damping * epsilon * state.violation
        stalled = 0 if best is None or residual < best.residual / 2 else stalled + 1
        if best is None or residual < best.residual:
            best = Outcome(state, step, residual <= tolerance, iteration, residual)
        # what rounding of the exponent (f + g - C) / epsilon leaves
        rounding = 4 * torch.finfo(g.dtype).eps * (1 + state.span / epsilon)
        lost = (stalled > 3 and state.size <= rounding) or not math.isfinite(state.size)
        if best.converged or iteration == max_iterations or lost:
            break
        for trial in (1.0, 0.3, 0.1, 0.03, 0.01):
            ahead = evaluate(state.g - trial * step)
            if ahead.size < state.size:
                break
        else:
            ahead = evaluate(state.g - damping * epsilon * state.violation)
        state = ahead
    assert best is not None
    return replace(best, converged=best.converged or best.residual <= rounding, iterations=iteration)


def converge(problem: Problem, g: Float[Tensor, "m"], tolerance: float, max_iterations: int) -> Outcome[State]:
    """Newton's method on a problem that is held as a matrix."""
    return iterate(
        partial(evaluate, problem),
        g,
        damping=problem.damping,
        epsilon=problem.epsilon,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def annealed(problem: Problem, most: int = 20) -> Float[Tensor, "m"]:
    """A column potential to start from: epsilon halves from the largest cost down, each time solved roughly."""
    g = torch.zeros_like(problem.log_b)
    span = float(problem.cost.max() - problem.cost.min())
    for power in range(max(math.ceil(math.log2(max(span, problem.epsilon) / problem.epsilon)), 0), 0, -1):
        coarse = replace(problem, epsilon=problem.epsilon * 2**power)
        g = converge(coarse, g, 0.1, most).state.g
    return g
