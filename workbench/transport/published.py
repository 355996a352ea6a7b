r"""The published solver of the generalized loss and of OT-M: a fixed schedule of epsilon, stopped before it converges.

It solves :math:`\min_P \langle C, P \rangle + \varepsilon \mathrm{KL}(P | a b^\top) + \rho \mathrm{KL}(P 1 | a) +
\rho \mathrm{KL}(P^\top 1 | b)`, so :math:`P_{ij} = a_i b_j \exp((f_i + g_j - C_{ij}) / \varepsilon)`.
:func:`workbench.transport.sinkhorn` with ``entropy="relative"`` solves the same problem until it has converged.
The schedule is that of Feydy et al., "Interpolating between optimal transport and MMD", AISTATS 2019.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive
from workbench.transport.batched import CHUNK_BYTES, COPIES
from workbench.transport.plan import TransportPlan

PART = 1 << 17  # entries of a matrix worked on at once, to stay in the cache; half: 7 to 10 % slower, double: the same
RANGE = 0.66  # least product: this power of the smallest normal number; half: logarithms begin at blur .005, not .003

Costs = Callable[[slice], Float[Tensor, "rows m"]]
Sums = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]  # logarithms of what rows and columns reach
Solver = tuple[Sums, Callable[[Tensor, Tensor, Tensor, float], Tensor]]  # and the plan


@dataclass(frozen=True)
class PublishedSchedule:
    """Epsilon is blur^p at the end, rho is reach^p (infinity: balanced); blur falls by ``scaling`` an iteration."""

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

    def epsilons(self, diameter: float) -> list[float]:
        """One epsilon an iteration: the diameter's twice, then falling, then blur's."""
        diameter = max(diameter, self.blur)
        steps = math.ceil(math.log(self.blur / diameter) / math.log(self.scaling))
        return [value**self.p for value in (diameter, *(diameter * self.scaling**k for k in range(steps)), self.blur)]


def published_plan(
    cost: Costs, a: Float[Tensor, "n"], b: Float[Tensor, "m"], schedule: PublishedSchedule, diameter: float,
    *, floor: float = 0.0,
) -> TransportPlan:  # fmt: skip
    """The schedule's last plan, without gradient; ``residual`` is the largest relative violation of a row with mass.

    Args:
        cost: gives the cost of some rows to all columns.
        a: (n,), mass of each row, >= 0.
        b: (m,), mass of each column, >= 0.
        schedule: the falling epsilons.
        diameter: the blur at which the schedule starts.
        floor: rows of less mass are given this much in the matrix of the plan. The potentials do not see it.
    """
    with torch.no_grad():
        epsilons, f, g = schedule.epsilons(diameter), torch.zeros_like(a), torch.zeros_like(b)
        left = [epsilons[0], *epsilons, epsilons[-1]]
        for solver in (_by_kernel, _by_logarithm):  # logarithms go on where the kernel has to stop
            with suppress(FloatingPointError):
                sums, planned = solver(cost, a, b, epsilons[0])
                while left:
                    epsilon, step = left[0], -left[0] * (1 - left[0] / (left[0] + schedule.rho))
                    share = 1.0 if len(left) in (1, len(epsilons) + 2) else 0.5  # the first and last are not averaged
                    f, g = (x.lerp(step * y, share) for x, y in zip((f, g), sums(f, g, epsilon), strict=True))
                    left.pop(0)
                matrix = planned(f, g, a.clamp(min=floor).log(), epsilons[-1])
                break
        plan = TransportPlan.of(matrix, f, g, iterations=len(epsilons) + 1)
        violation = plan.row_marginal / (a * (-f / schedule.rho).exp()) - 1
        residual = float(violation.where(a > 0, 0).abs().max())
        return replace(plan, residual=residual, converged=residual <= 1e-6)


@torch.no_grad()
def batched_published_plan(
    cost: Float[Tensor, "b n m"],
    a: Float[Tensor, "b n"],
    b: Float[Tensor, "b m"],
    schedule: PublishedSchedule,
    diameter: Float[Tensor, "b"],
    *,
    floor: float = 0.0,
) -> TransportPlan:
    """The plans of :func:`published_plan` for a batch that is padded by columns of no mass; on logarithms.

    The diameters are read from the device once. In an image that takes fewer iterations than others, the potentials
    wait for these.
    """
    every = [schedule.epsilons(size) for size in diameter.tolist()]
    longest = max(len(epsilons) for epsilons in every)
    table = []
    for epsilons in every:
        idle = longest - len(epsilons)
        steps = [(epsilons[0], 1.0), *((epsilon, 0.5) for epsilon in epsilons), *[(epsilons[-1], 0.0)] * idle]
        table.append([*steps, (epsilons[-1], 1.0)])
    settings = torch.tensor(table, dtype=cost.dtype).permute(1, 2, 0)[..., None].to(cost.device, non_blocking=True)
    images = max(1, CHUNK_BYTES // (COPIES * cost.element_size() * max(1, cost[0].numel())))
    given = (tensor.split(images) for tensor in (cost, a, b, a.clamp(min=floor)))
    steps = settings.split(images, dim=2)
    parts = [_scheduled(*part, schedule) for part in zip(*given, steps, strict=True)]  # type: ignore[call-arg]
    matrix, f, g = (torch.cat(fields) for fields in zip(*parts, strict=True))
    rows, none = matrix.sum(dim=2), torch.zeros_like(f[:, 0])
    return TransportPlan(matrix, matrix.mT, rows, matrix.sum(dim=1), f, g, none > 0, longest + 1, none + math.inf)


def _scheduled(
    cost: Tensor, a: Tensor, b: Tensor, floored: Tensor, settings: Tensor, schedule: PublishedSchedule
) -> tuple[Tensor, Tensor, Tensor]:
    """The plans of some images and their potentials; ``settings`` are the epsilon and the share of each step."""
    f, g, log_a, log_b = torch.zeros_like(a), torch.zeros_like(b), a.log(), b.log()

    def reached(log_mass: Tensor, potential: Tensor, epsilon: Tensor, dim: int) -> Tensor:
        scores = (potential.unsqueeze(3 - dim) - cost).div_(epsilon[..., None]).add_(log_mass.unsqueeze(3 - dim))
        total = scores.logsumexp(dim)
        return total.where(total > -math.inf, 0)

    for epsilon, share in settings:
        step = -epsilon * (1 - epsilon / (epsilon + schedule.rho))
        rows, columns = reached(log_b, g, epsilon, 2), reached(log_a, f, epsilon, 1)
        f, g = f.lerp(step * rows, share), g.lerp(step * columns, share)
    rows, columns = f / epsilon + floored.log(), g / epsilon + log_b
    matrix = (rows[..., None] + columns[:, None]).sub_(cost / epsilon[..., None]).exp_()
    return matrix, f, g


def _by_kernel(cost: Costs, a: Tensor, b: Tensor, before: float) -> Solver:
    r"""By products with :math:`K_{ij} = \exp(-(C_{ij} - c_i) / \varepsilon)`, :math:`c_i = \min_j C_{ij}`.

    An iteration is two products with K. Where epsilon halves, the next kernel is the square of the last one. Entries
    end at the smallest normal number, as smaller ones are slow. Powers of 2 are faster than those of e. A product so
    small that its rounding, or what underflowed in it, may show raises ``FloatingPointError``.
    """
    if not bool((a > 0).any() and (b > 0).any()):
        raise FloatingPointError
    tiny, rows_a_part = torch.finfo(a.dtype).tiny, max(PART // len(b), 1)
    parts = [slice(start, start + rows_a_part) for start in range(0, len(a), rows_a_part)]
    lowest, unit, faintest = math.log2(tiny), before * math.log(2), 1.0
    log_a, log_b, nearest, kernel = a.log(), b.log(), torch.empty_like(a), a.new_empty(len(a), len(b))
    for part in parts:
        costs = cost(part)
        least = torch.amin(costs, 1, out=nearest[part]) / unit
        torch.sub(least[:, None], costs, alpha=1 / unit, out=kernel[part]).clamp_(min=lowest).exp2_()
        faintest = min(faintest, float(kernel[part].amin()))

    def sums(f: Tensor, g: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        nonlocal before, faintest
        rows, columns = log_a + (f - nearest) / epsilon, log_b + g / epsilon
        top_row, top_column = rows.amax(), columns.amax()
        rows, columns = rows.sub_(top_row).exp_(), columns.sub_(top_column).exp_()
        reached_rows, reached_columns = torch.empty_like(rows), torch.zeros_like(columns)
        for part in parts:
            block = kernel[part]
            if before == 2 * epsilon:
                (block.clamp_(min=tiny**0.5) if faintest <= tiny**0.5 else block).mul_(block)
            elif before != epsilon:
                block.log2_().mul_(before / epsilon).clamp_(min=lowest).exp2_()
            torch.mv(block, columns, out=reached_rows[part])
            reached_columns.addmv_(block.T, rows[part])
        before, faintest = epsilon, faintest ** (before / epsilon)
        if not float(torch.minimum(reached_rows.amin(), reached_columns.amin())) > tiny**RANGE:
            raise FloatingPointError
        return reached_rows.log_() + top_column - nearest / epsilon, reached_columns.log_() + top_row

    def planned(f: Tensor, g: Tensor, log_mass: Tensor, epsilon: float) -> Tensor:
        columns = log_b + g / epsilon
        rows = ((f - nearest) / epsilon + log_mass + columns.amax()).exp_()
        if not bool(torch.isfinite(rows).all()):
            raise FloatingPointError
        return kernel.mul_(columns.sub_(columns.amax()).exp_()).mul_(rows[:, None])

    return sums, planned


def _by_logarithm(rows: Costs, a: Tensor, b: Tensor, _: float) -> Solver:
    """The same on logarithms, for numbers of any size; where there is no mass to reach, the potential is zero."""
    cost = rows(slice(0, len(a)))

    def reached(log_mass: Tensor, potential: Tensor, epsilon: float, dim: int) -> Tensor:
        total = (potential.unsqueeze(1 - dim) - cost).div_(epsilon).add_(log_mass.unsqueeze(1 - dim)).logsumexp(dim)
        return total.where(total > -math.inf, 0)

    def planned(f: Tensor, g: Tensor, log_mass: Tensor, epsilon: float) -> Tensor:
        return ((f / epsilon + log_mass)[:, None] + (g / epsilon + b.log())).sub_(cost, alpha=1 / epsilon).exp_()

    return lambda f, g, epsilon: (reached(b.log(), g, epsilon, 1), reached(a.log(), f, epsilon, 0)), planned
