"""The published solver of the generalized loss: a fixed schedule of epsilon, and what it leaves.

Two ways to the same numbers. The fast one keeps the Gibbs kernel itself, with the smallest cost of each row taken out,
so that an iteration is two products of a matrix and a vector; where epsilon halves, the next kernel is the square of
the last one. Single precision cannot hold potentials that differ by more than some 50 epsilon that way, so wherever a
product comes out too small to be trusted the readable one, on logarithms, starts over.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive
from workbench.transport import TransportCost

CHUNK = 1 << 17  # entries that are computed at a time: temporaries stay in the cache
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


class GibbsKernel:
    r"""The kernel :math:`K_{ij} = \exp(-(C_{ij} - c_i) / \varepsilon)` with :math:`c_i = \min_j C_{ij}`.

    Powers are those of 2, which are about three times faster than those of e.

    Attributes:
        matrix: (n, m), the kernel; once epsilon has fallen by anything but a power of 2, its binary logarithm.
        nearest: (n,), c.
        epsilon: at which the matrix stands.
        logarithmic: whether the matrix holds logarithms.
        lowest: binary logarithms end here.
    """

    def __init__(
        self, cost: TransportCost, width: int, cells: Float[Tensor, "n 2"], points: Float[Tensor, "m 2"], epsilon: float
    ) -> None:
        self.matrix = cells.new_empty(len(cells), len(points))
        self.nearest = cells.new_empty(len(cells), 1)
        self.epsilon = epsilon
        self.logarithmic = False
        # -116 in single precision: what is no longer a normal number is slow to compute and to compute with
        self.lowest = 0.92 * math.log2(torch.finfo(cells.dtype).tiny)
        # the nearest cost is taken out, and a constant with it
        offset, cost = (cost.offset, replace(cost, offset=0.0)) if cells.dtype == torch.float32 else (0.0, cost)
        points = points.T.contiguous().T  # x and y each in one piece
        across, y = (cells[:width, :1] - points[:, 0]).square_(), cells[::width, 1]
        height, scale = max(CHUNK // across.numel(), 1), math.log2(math.e) / epsilon
        for top in range(0, len(y), height):
            entries = cost.on_rows(across, y[top : top + height], points).flatten(0, 1)
            part = slice(top * width, top * width + len(entries))
            torch.amin(entries, 1, keepdim=True, out=self.nearest[part])
            torch.sub(self.nearest[part] * scale, entries, alpha=scale, out=entries).clamp_(min=self.lowest)
            torch.exp2(entries, out=self.matrix[part])
        self.nearest = self.nearest[:, 0] - offset

    def products(
        self, epsilon: float, columns: Float[Tensor, "m"], rows: Float[Tensor, "n"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "m"]]:
        """Bring the kernel to ``epsilon``, in place, and multiply it with one vector from each side.

        The kernel becomes its own power epsilon_before / epsilon. All of it in one pass, while a part is in the cache.
        """
        ratio, self.epsilon = self.epsilon / epsilon, epsilon
        squarings = round(math.log2(ratio))
        whole = not self.logarithmic and math.isclose(ratio, 2**squarings, rel_tol=1e-12)
        reached_rows, reached_columns = torch.empty_like(rows), torch.zeros_like(columns)
        for part, kernel in self._squares(squarings) if whole else self._powers(ratio):
            torch.mv(kernel, columns, out=reached_rows[part])
            reached_columns.addmv_(kernel.T, rows[part])
        return reached_rows, reached_columns

    def _squares(self, squarings: int) -> Iterator[tuple[slice, Tensor]]:
        """The kernel in parts, squared in place."""
        least = 2 ** (self.lowest / 2)  # its square is a normal number, and next to nothing
        for part in chunks(self.matrix, 2 * CHUNK):
            kernel = self.matrix[part]
            for _ in range(squarings):
                kernel.clamp_(min=least)
                kernel.mul_(kernel)
            yield part, kernel

    def _powers(self, ratio: float) -> Iterator[tuple[slice, Tensor]]:
        """The kernel in parts; the matrix is its logarithm from now on."""
        for part in chunks(self.matrix, CHUNK):
            logarithms = self.matrix[part]
            if not self.logarithmic:
                logarithms.log2_()
            if ratio != 1:
                logarithms.mul_(ratio).clamp_(min=self.lowest)
            yield part, logarithms.exp2()
        self.logarithmic = True


def chunks(matrix: Float[Tensor, "n m"], entries: int) -> Iterator[slice]:
    """Rows that hold about so many entries."""
    height = max(entries // matrix.shape[1], 1)
    return (slice(start, start + height) for start in range(0, len(matrix), height))


@dataclass(frozen=True)
class Published:
    r"""The potentials that the schedule ends with and their plan :math:`P_{ij} = a_i S_{ij}`.

    Attributes:
        f: (n,), F.
        g: (m,), G.
        held: (n,), the rows of S, the plan of one person in each cell.
        columns: (m,), those of P.
        log: (n,), the sums over j of :math:`S_{ij} \log P_{ij}`.
        kernel: (n, m), S but for a factor a row and a factor a column.
        factors: (n,) and (m,), those.
    """

    f: Float[Tensor, "n"]
    g: Float[Tensor, "m"]
    held: Float[Tensor, "n"]
    columns: Float[Tensor, "m"]
    log: Float[Tensor, "n"]
    kernel: Float[Tensor, "n m"]
    factors: tuple[Float[Tensor, "n"], Float[Tensor, "m"]]

    @property
    def share(self) -> Float[Tensor, "n m"]:
        """S."""
        rows, columns = self.factors
        return rows[:, None] * self.kernel * columns


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
        kernel = GibbsKernel(cost, density.shape[1], cells, points, epsilons[0])
        fast = _by_kernel(a, b, kernel, schedule, epsilons)
        if fast is not None:
            return fast
    return _by_logarithm(a, cost(cells, points), b, schedule, epsilons)


def _by_kernel(
    a: Tensor, b: Tensor, kernel: GibbsKernel, schedule: PublishedSchedule, epsilons: list[float]
) -> Published | None:
    """The schedule with the kernel itself; None where it leaves what the dtype can hold."""
    trusted = 1e-25 if a.dtype == torch.float32 else 1e-250
    log_a, log_b = a.log(), b.log()  # -inf where nothing is: no weight below

    def update(f: Tensor, g: Tensor, epsilon: float) -> tuple[Tensor, Tensor] | None:
        """Both softmins, each of the other's old potential."""
        rows, columns = log_a + (f - kernel.nearest) / epsilon, log_b + g / epsilon
        top_rows, top_columns = rows.amax(), columns.amax()
        reached_rows, reached_columns = kernel.products(
            epsilon, (columns - top_columns).exp_(), (rows - top_rows).exp_()
        )
        least = float(torch.minimum(reached_rows.amin(), reached_columns.amin()))
        if not least > trusted:
            return None
        damping = schedule.damping(epsilon)
        new_f = (reached_rows.log_() + top_columns).mul_(-epsilon).add_(kernel.nearest).mul_(damping)
        return new_f, (reached_columns.log_() + top_rows).mul_(-epsilon * damping)

    # the first potentials answer zero, the second ones them, and so on; only the last answer is not averaged
    pair = update(torch.zeros_like(a), torch.zeros_like(b), epsilons[0])
    for epsilon in epsilons:
        if pair is None:
            return None
        answer = update(*pair, epsilon)
        pair = answer and (pair[0].add_(answer[0]).mul_(0.5), pair[1].add_(answer[1]).mul_(0.5))
    pair = pair and update(*pair, epsilons[-1])
    if pair is None:
        return None
    f, g = pair
    if not kernel.logarithmic:
        kernel.matrix.log2_()
    columns = log_b + g / epsilons[-1]
    rows = (f - kernel.nearest) / epsilons[-1]
    return _published(f, g, kernel.matrix, log_a, rows + columns.amax(), columns - columns.amax())


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
    return _published(f, g, kernel, a.log(), torch.zeros_like(f), b.log())


def _published(f: Tensor, g: Tensor, matrix: Tensor, log_a: Tensor, rows: Tensor, columns: Tensor) -> Published:
    """Of the plan of one person a row, e^rows 2^matrix e^columns, what is asked for; the matrix becomes the kernel."""
    u, v = rows.exp(), columns.exp()
    weighted = v * columns.where(v > 0, 0)
    moved = (rows + log_a).exp()  # a and u may be out of range, their product is not
    held, log, of_columns = (torch.empty_like(f) for _ in range(3))
    reached = torch.zeros_like(g)
    for part in chunks(matrix, CHUNK):
        logarithms = matrix[part]
        kernel = logarithms.exp2()
        torch.mv(kernel, v, out=held[part])
        torch.mv(kernel, weighted, out=of_columns[part])
        reached.addmv_(kernel.T, moved[part])
        torch.mv(logarithms.mul_(kernel), v, out=log[part])
        logarithms.copy_(kernel)
    held, lowest = held * u, math.log(TRACE)
    log = log.mul_(math.log(2)).add_(of_columns).mul_(u).add_(held * (rows + log_a.clamp(min=lowest)))
    return Published(f, g, held, reached * v, torch.where(log_a > lowest, log, held * lowest), matrix, (u, v))
