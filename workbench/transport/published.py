r"""The published solver of the generalized loss and of OT-M: a fixed schedule of epsilon, stopped before it converges.

It solves :math:`\min_P \langle C, P \rangle + \varepsilon \mathrm{KL}(P | a b^\top) + \rho \mathrm{KL}(P 1 | a) +
\rho \mathrm{KL}(P^\top 1 | b)`, so :math:`P_{ij} = a_i b_j \exp((f_i + g_j - C_{ij}) / \varepsilon)`.
:func:`workbench.transport.sinkhorn` with ``entropy="relative"`` solves the same problem until it has converged.

Reference:
    Feydy et al., "Interpolating between optimal transport and MMD using Sinkhorn divergences", AISTATS 2019.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive
from workbench.transport.plan import TransportPlan

PART = 1 << 17  # entries of a part of the kernel; half: 7 to 10 % slower, double: the same
# The least product with a kernel is this power of the smallest normal number, 1e-25 in single precision. There the plan
# is right to 2e-6 down to blur 0.003; at half the power the slow fallback begins at blur 0.005.
RANGE = 0.66

Answers = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
Costs = Callable[[slice], Float[Tensor, "rows m"]]


def row_parts(rows: int, columns: int) -> list[slice]:
    """The rows of a matrix in parts of ``PART`` entries, whose temporaries stay in the cache."""
    step = max(PART // max(columns, 1), 1)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


@dataclass(frozen=True)
class PublishedSchedule:
    """The options of the published solver.

    Attributes:
        blur: epsilon is blur^p at the end.
        reach: rho is reach^p; infinity: balanced.
        scaling: the factor of blur from one iteration to the next.
        p: the exponent.
    """

    blur: float = 0.01
    reach: float = 0.5
    scaling: float = 0.5
    p: float = 1.0

    def __post_init__(self) -> None:
        for name in ("blur", "reach", "scaling", "p"):
            if name != "reach" or self.reach != math.inf:
                check_positive(getattr(self, name), name)
        if self.scaling >= 1:
            raise ValueError(f"scaling is {self.scaling!r}, expected a number below 1")

    @property
    def rho(self) -> float:
        """Weight of the marginals' divergence."""
        return self.reach**self.p

    def step(self, epsilon: float) -> float:
        """What the logarithm of a product with the kernel is multiplied by to give a potential."""
        return -epsilon if self.rho == math.inf else -epsilon * self.rho / (self.rho + epsilon)

    def epsilons(self, diameter: float) -> list[float]:
        """One epsilon an iteration: the diameter's twice, then falling, then blur's."""
        diameter = max(diameter, self.blur)
        steps = math.ceil(math.log(self.blur / diameter) / math.log(self.scaling))
        return [value**self.p for value in (diameter, *(diameter * self.scaling**k for k in range(steps)), self.blur)]


def published_plan(
    cost: Costs, a: Float[Tensor, "n"], b: Float[Tensor, "m"], schedule: PublishedSchedule, diameter: float,
    *, floor: float = 0.0,
) -> TransportPlan:  # fmt: skip
    """The plan that the schedule ends with; no gradient flows through it.

    Args:
        cost: gives the cost of some rows to all columns.
        a: (n,), mass of each row, >= 0.
        b: (m,), mass of each column, >= 0.
        schedule: the falling epsilons.
        diameter: the blur at which the schedule starts.
        floor: rows of less mass are given this much in the matrix of the plan. The potentials do not see it.

    Returns:
        The plan. ``residual`` is the largest relative violation of the marginal of a row that has mass.
    """
    with torch.no_grad():
        epsilons = schedule.epsilons(diameter)
        try:
            f, g, matrix = _by_kernel(cost, a, b, schedule, epsilons, floor)
        except FloatingPointError:
            f, g, matrix = _by_logarithm(cost(slice(0, len(a))), a, b, schedule, epsilons, floor)
        plan = TransportPlan.of(matrix, f, g, iterations=len(epsilons) + 1)
        violation = plan.row_marginal / (a * (-f / schedule.rho).exp()) - 1
        residual = float(violation.where(a > 0, 0).abs().max())
        return replace(plan, residual=residual, converged=residual <= 1e-6)


def _potentials(answers: Answers, a: Tensor, b: Tensor, epsilons: list[float]) -> tuple[Tensor, Tensor]:
    """The first potentials answer zero, the next ones are averaged with their answers, the last ones are answers."""
    f, g = answers(torch.zeros_like(a), torch.zeros_like(b), epsilons[0])
    for epsilon in epsilons:
        new_f, new_g = answers(f, g, epsilon)
        f, g = (f + new_f) / 2, (g + new_g) / 2
    return answers(f, g, epsilons[-1])


def _by_kernel(
    cost: Costs, a: Tensor, b: Tensor, schedule: PublishedSchedule, epsilons: list[float], floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Potentials and plan, by :math:`K_{ij} = \exp(-(C_{ij} - c_i) / \varepsilon)`, :math:`c_i = \min_j C_{ij}`.

    An iteration is two products with K, and where epsilon halves, the next kernel is the square of the last one.
    Entries end at the smallest normal number, as smaller ones are slow. Powers of 2 are faster than those of e.

    Raises:
        FloatingPointError: a product is so small that its rounding, or what underflowed in it, may show.
    """
    tiny, before, parts = torch.finfo(a.dtype).tiny, epsilons[0], row_parts(len(a), len(b))
    lowest, unit = math.log2(tiny), before * math.log(2)
    log_a, log_b, nearest, kernel = a.log(), b.log(), torch.empty_like(a), a.new_empty(len(a), len(b))
    if not bool((a > 0).any() and (b > 0).any()):
        raise FloatingPointError
    for part in parts:
        costs = cost(part)
        least = torch.amin(costs, 1, out=nearest[part]) / unit
        torch.sub(least[:, None], costs, alpha=1 / unit, out=kernel[part]).clamp_(min=lowest).exp2_()

    def answers(f: Tensor, g: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        nonlocal before
        rows, columns = log_a + (f - nearest) / epsilon, log_b + g / epsilon
        top_row, top_column = rows.amax(), columns.amax()
        rows, columns = rows.sub_(top_row).exp_(), columns.sub_(top_column).exp_()
        reached_rows, reached_columns = torch.empty_like(rows), torch.zeros_like(columns)
        for part in parts:
            block = kernel[part]
            if before == 2 * epsilon:
                block.clamp_(min=tiny**0.5).mul_(block)
            elif before != epsilon:
                block.log2_().mul_(before / epsilon).clamp_(min=lowest).exp2_()
            torch.mv(block, columns, out=reached_rows[part])
            reached_columns.addmv_(block.T, rows[part])
        before = epsilon
        if not float(torch.minimum(reached_rows.amin(), reached_columns.amin())) > tiny**RANGE:
            raise FloatingPointError
        new_f = schedule.step(epsilon) * (reached_rows.log_() + top_column - nearest / epsilon)
        return new_f, schedule.step(epsilon) * (reached_columns.log_() + top_row)

    f, g = _potentials(answers, a, b, epsilons)
    columns = log_b + g / before
    rows = ((f - nearest) / before + a.clamp(min=floor).log() + columns.amax()).exp_()
    if not bool(torch.isfinite(rows).all()):
        raise FloatingPointError
    columns.sub_(columns.amax()).exp_()
    for part in parts:
        kernel[part].mul_(columns).mul_(rows[part, None])
    return f, g, kernel


def _by_logarithm(
    cost: Tensor, a: Tensor, b: Tensor, schedule: PublishedSchedule, epsilons: list[float], floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same on logarithms, for numbers of any size; where there is no mass to answer, the potential is zero."""

    def answer(matrix: Tensor, mass: Tensor, potential: Tensor, epsilon: float) -> Tensor:
        reached = torch.logsumexp((potential - matrix) / epsilon + mass.log(), dim=1)
        return (schedule.step(epsilon) * reached).where(reached > -math.inf, 0)

    f, g = _potentials(lambda f, g, e: (answer(cost, b, g, e), answer(cost.T, a, f, e)), a, b, epsilons)
    rows, columns = f / epsilons[-1] + a.clamp(min=floor).log(), g / epsilons[-1] + b.log()
    return f, g, (rows[:, None] + columns).sub_(cost, alpha=1 / epsilons[-1]).exp_()
