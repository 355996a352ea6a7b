"""The published solver of the generalized loss: a fixed schedule of epsilon, and what it leaves.

Two ways to the same numbers. The fast one keeps the Gibbs kernel itself, with the smallest cost of each row taken out,
so that an iteration is two products of a matrix and a vector; where epsilon halves, the next kernel is the square of
the last one. Single precision cannot hold potentials that differ by more than some 50 epsilon that way, so wherever a
product comes out too small to be trusted the readable one, on logarithms, starts over.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive
from workbench.transport import TransportCost
from workbench.transport.published_kernel import Block, GibbsKernel, OutOfRange

Pair = tuple[Tensor, Tensor]  # of a row and a column
TRACE = 1e-20  # what the implementation adds to the plan in its entropy


@dataclass(frozen=True)
class PublishedSchedule:
    """The options of the published solver.

    Attributes:
        blur: epsilon is blur^p at the end, and the weight of the entropy.
        reach: rho is reach^p; infinity: balanced.
        scaling: the factor of blur from one iteration to the next.
        p: the exponent.
    """

    blur: float = 0.01
    reach: float = 0.5
    scaling: float = 0.5
    p: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self.blur, "blur")
        check_positive(self.p, "p")
        if self.reach != math.inf:
            check_positive(self.reach, "reach")
        check_positive(self.scaling, "scaling")
        if self.scaling >= 1:
            raise ValueError(f"scaling is {self.scaling!r}, expected a number below 1")

    @property
    def rho(self) -> float:
        """Weight of the marginals' divergence."""
        return self.reach**self.p

    def damping(self, epsilon: float) -> float:
        """The exponent of eq. (6)."""
        return 1.0 if self.rho == math.inf else self.rho / (self.rho + epsilon)

    def epsilons(self, diameter: float) -> list[float]:
        """One epsilon an iteration: the diameter's twice, then falling, then blur's."""
        diameter = max(diameter, self.blur)
        steps = math.ceil(math.log(self.blur / diameter) / math.log(self.scaling))
        falling = [diameter * self.scaling**step for step in range(steps)]
        return [value**self.p for value in (diameter, *falling, self.blur)]


def diameter(cells: Float[Tensor, "n 2"], points: Float[Tensor, "m 2"]) -> float:
    """The diagonal of the smallest upright box around all positions."""
    low = torch.minimum(cells.amin(0), points.amin(0))
    high = torch.maximum(cells.amax(0), points.amax(0))
    return float(torch.linalg.vector_norm(high - low))


@dataclass(frozen=True)
class Published:
    r"""The potentials that the schedule ends with and their plan :math:`P_{ij} = a_i S_{ij}`.

    Attributes:
        f: (n,), F.
        g: (m,), G.
        held: (n,), the rows of S, the plan of one person in each cell.
        columns: (m,), those of P.
        log: (n,), the sums over j of :math:`S_{ij} \log P_{ij}`.
        kernel: S but for a factor a row and a factor a column, in blocks.
        factors: (n,) and (m,), those.
    """

    f: Float[Tensor, "n"]
    g: Float[Tensor, "m"]
    held: Float[Tensor, "n"]
    columns: Float[Tensor, "m"]
    log: Float[Tensor, "n"]
    kernel: list[Block]
    factors: tuple[Float[Tensor, "n"], Float[Tensor, "m"]]

    @property
    def share(self) -> Float[Tensor, "n m"]:
        """S."""
        u, v = self.factors
        share = u.new_zeros(len(u), len(v))
        for block in self.kernel:
            share[block.rows, block.columns] = u[block.rows, None] * block.entries * v[block.columns]
        return share


def published_solution(
    density: Float[Tensor, "h w"],
    cells: Float[Tensor, "n 2"],
    points: Float[Tensor, "m 2"],
    b: Float[Tensor, "m"],
    cost: TransportCost,
    schedule: PublishedSchedule,
) -> Published:
    """Run the schedule for a map, its cells row by row, and points; no gradient flows through it."""
    a, epsilons = density.flatten(), schedule.epsilons(diameter(cells, points))
    if bool((a > 0).any()) and bool((b > 0).any()):
        try:
            return _by_kernel(density, cells, points, b, cost, schedule, epsilons)
        except OutOfRange:
            pass
    return _by_logarithm(a, cost(cells, points), b, schedule, epsilons)


def _by_kernel(
    density: Tensor,
    cells: Tensor,
    points: Tensor,
    b: Tensor,
    cost: TransportCost,
    schedule: PublishedSchedule,
    epsilons: list[float],
) -> Published:
    """The schedule with the kernel itself."""
    a, ends = density.flatten(), (epsilons[0], epsilons[-1])
    kernel = GibbsKernel(cost, density.shape[1], cells, points, ends, b / b.amax(), a / a.amax())
    log_a, log_b = a.log(), b.log()  # -inf where nothing is: no weight below

    def answers(products: Pair, top_rows: Tensor, top_columns: Tensor, epsilon: float) -> Pair:
        """Both softmins, of products that are e^top too small."""
        damping = schedule.damping(epsilon)
        rows, columns = products[0].log_().add_(top_columns), products[1].log_().add_(top_rows)
        return torch.add(kernel.nearest, rows, alpha=-epsilon).mul_(damping), columns.mul_(-epsilon * damping)

    def update(f: Tensor, g: Tensor, epsilon: float) -> Pair:
        """Both potentials, each the answer to the other's old one."""
        rows, columns = torch.add(log_a, f - kernel.nearest, alpha=1 / epsilon), torch.add(log_b, g, alpha=1 / epsilon)
        top_rows, top_columns = rows.amax(), columns.amax()
        products = kernel.products(epsilon, columns.sub_(top_columns).exp_(), rows.sub_(top_rows).exp_())
        return answers(products, top_rows, top_columns, epsilon)

    # the first potentials answer zero, the second ones them, and so on; only the last answer is not averaged
    f, g = answers(kernel.first, log_a.amax(), log_b.amax(), epsilons[0])
    for epsilon in epsilons:
        new_f, new_g = update(f, g, epsilon)
        f, g = f.lerp_(new_f, 0.5), g.lerp_(new_g, 0.5)
    f, g = update(f, g, epsilons[-1])
    columns = log_b + g / epsilons[-1]
    rows = (f - kernel.nearest) / epsilons[-1]
    logarithms = kernel.logarithms()
    return _published(f, g, logarithms, log_a, rows + columns.amax(), columns - columns.amax(), kernel.trusted)


def _by_logarithm(a: Tensor, cost: Tensor, b: Tensor, schedule: PublishedSchedule, epsilons: list[float]) -> Published:
    """The schedule on logarithms."""

    def answer(matrix: Tensor, mass: Tensor, potential: Tensor, epsilon: float) -> Tensor:
        kept = mass > 0
        scores = (potential[kept] - matrix[:, kept]) / epsilon + mass[kept].log()
        reached = torch.logsumexp(scores, dim=1) if kept.any() else matrix.new_zeros(len(matrix))
        return -epsilon * schedule.damping(epsilon) * reached

    f, g = torch.zeros_like(a), torch.zeros_like(b)
    f, g = answer(cost, b, g, epsilons[0]), answer(cost.T, a, f, epsilons[0])
    for epsilon in epsilons:
        new_f, new_g = answer(cost, b, g, epsilon), answer(cost.T, a, f, epsilon)
        f, g = (f + new_f) / 2, (g + new_g) / 2
    f, g = answer(cost, b, g, epsilons[-1]), answer(cost.T, a, f, epsilons[-1])
    kernel = (f[:, None] + g - cost).mul_(math.log2(math.e) / epsilons[-1])
    whole = Block(slice(0, len(f)), slice(0, len(g)), kernel)
    return _published(f, g, [whole], a.log(), torch.zeros_like(f), b.log())


def _published(
    f: Tensor,
    g: Tensor,
    blocks: list[Block],
    log_a: Tensor,
    rows: Tensor,
    columns: Tensor,
    check: Callable[[Tensor, Tensor], object] = lambda rows, columns: None,
) -> Published:
    """Of the plan of one person a row, e^rows 2^block e^columns, what is asked for; the blocks become the kernel."""
    u, v = rows.exp(), columns.exp()
    weighted = v * columns.where(v > 0, 0)
    moved = (rows + log_a).exp()  # a and u may be out of range, their product is not
    held, log, of_columns = (torch.empty_like(f) for _ in range(3))
    reached = torch.zeros_like(g)
    for block in blocks:
        part, kept, logarithms = block.rows, block.columns, block.entries
        kernel = logarithms.exp2()
        torch.mv(kernel, v[kept], out=held[part])
        torch.mv(kernel, weighted[kept], out=of_columns[part])
        reached[kept].addmv_(kernel.T, moved[part])
        torch.mv(logarithms.mul_(kernel), v[kept], out=log[part])
        logarithms.copy_(kernel)
    check(held, reached / moved.amax())
    held, lowest = held * u, math.log(TRACE)
    log = log.mul_(math.log(2)).add_(of_columns).mul_(u).add_(held * (rows + log_a.clamp(min=lowest)))
    return Published(f, g, held, reached * v, torch.where(log_a > lowest, log, held * lowest), blocks, (u, v))
