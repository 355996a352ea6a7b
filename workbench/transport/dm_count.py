r"""DM-Count's entropic transport between a density map and points: solved exactly, and as published.

At 10 square pixels on an image of hundreds of pixels the cost is tens of thousands of epsilon: no kernel holds such
numbers, and sweeps alone need thousands of iterations. The exact solver goes from coarse to fine. Each coarser level
has twice the epsilon, and its cells and points are merged in boxes whose side grows with the square root of epsilon.
So a cell exchanges mass with some tens of points at every level: the plan is a sparse matrix. Each level starts from
the potentials of the coarser one. Sinkhorn sweeps remove the local errors, Newton's method those of long range.

Everything is float64 on the CPU, whatever the density's device and dtype.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from workbench.transport.nearest import Array, Boxes, Indices, boxes, grid, merge, near, runs

BAND = 30.0  # in units of epsilon: pairs farther from a cell's best score hold e^-30 of its mass
MOVED = 15.0  # likewise: how far scores may move before pairs are looked up again
STARVED = -25.0  # log(received / due) below which the cells that are next for a point are looked up
BOX = 6.4  # squared side of a level's boxes in units of epsilon; with 3.2 or 12.8 the solver was slower
SWEEPS, SMOOTH = 60, 0.3  # sweeps at the start of a level: their greatest number, and the residual at which they end
ROUGH = 0.1  # residual at which a coarser level is good enough
FEW = 150  # up to so many points Newton's equation is solved with a dense matrix: there faster than a sparse one
# Above so many points Newton's step first leaves out pairs with a smaller logarithmic share: 20,000 points took 13 s
# with all pairs, 3.3 s without. At fewer points it saves little, and 14 of 573 random problems did not converge for it.
MANY, DROPPED = 1000, -9.0
GUARD = 1e-16  # of the published iterations
EVERY, SETTLED = 5, 1e-10  # so many iterations that change no scaling by more than this: the rest change nothing


@dataclass(frozen=True)
class GridPlan:
    """The dual side of a plan between a map (its rows) and points (its columns), as in ``TransportPlan``.

    Attributes:
        row_potential: (H, W), f of each cell; for the exact solution its mean over the mass is zero.
        column_potential: (m,), g of each point.
        value: the objective, <f, a> + <g, b>; as published <f, a> alone, which that code logs.
        converged: whether ``residual`` came down to the tolerance.
        residual: largest ``|log(received / due)|`` of a point.
    """

    row_potential: Array
    column_potential: Array
    value: float
    converged: bool
    residual: float


def solve_grid(
    mass: Array, points: Array, people: Array, *, stride: float, epsilon: float, tolerance: float = 1e-6
) -> GridPlan:
    r"""Balanced transport of a normalised map to normalised points at the squared distance in pixels.

    .. math:: \min_{P 1 = a, P^\top 1 = b} \langle C, P \rangle + \varepsilon \mathrm{KL}(P | a b^\top)
              = \max_{f, g} \langle f, a \rangle + \langle g, b \rangle

    with :math:`P_{ij} = a_i b_j \exp((f_i + g_j - C_{ij}) / \varepsilon)` at the solution. With the entropy against
    a x b the potential of a cell is finite where there is no density.

    Args:
        mass: (H, W), >= 0, with a positive sum; normalised here.
        points: (m, 2), image pixels.
        people: (m,), >= 0, with a positive sum; normalised here.
        stride: side of a cell in image pixels.
        epsilon: square pixels.
        tolerance: the residual to reach.
    """
    spots, due, spot = merge(points, people)
    kept = np.flatnonzero(due > 0)
    cells, a = grid((mass.shape[0], mass.shape[1]), stride), (mass / mass.sum()).ravel()
    carrying = np.flatnonzero(a > 1e-14 * a.max())  # the rest moves no point's sum
    rows, _ = boxes(cells[carrying], a[carrying], stride)
    columns, order = boxes(spots[kept], due[kept] / due.sum(), stride)
    levels = [Level(rows, columns, epsilon)]
    # up to an epsilon at which all scores may start at g = 0
    while min(len(levels[-1].a), len(levels[-1].b)) > 1 and levels[-1].epsilon < (cells**2).sum(axis=1).max():
        scale = 2 * levels[-1].epsilon
        power = max(0, math.floor(math.log2(math.sqrt(BOX * scale) / stride)))
        levels.append(Level(rows[min(power, len(rows) - 1) :], columns[min(power, len(columns) - 1) :], scale))
    level = levels.pop()
    state = solved(level, level.epsilon * np.log(level.b), ROUGH if levels else tolerance)
    while levels:
        level = levels.pop()
        state = solved(level, state.score_on(level), max(ROUGH, tolerance) if levels else tolerance)
    state = solved(level, state.score, tolerance)  # with pairs looked up for the solution itself
    every, place = boxes(cells, np.ones_like(a), stride)
    potential = np.empty_like(a)
    pairs = SparsePairs(*near(every, level.spots, state.score, BAND * epsilon), state.score)
    potential[place] = pairs.shares(state.score, epsilon)[1]
    shift, g = a @ potential, np.zeros(len(due))
    g[kept[order]] = state.score - epsilon * np.log(level.b) + shift
    return GridPlan(
        row_potential=(potential - shift).reshape(mass.shape),
        column_potential=g[spot],
        value=float(due @ g / due.sum()),
        converged=state.size <= tolerance,
        residual=state.size,
    )


@dataclass(frozen=True)
class SparsePairs:
    """The pairs of cells and points that matter, by cell.

    Attributes:
        size: (n,), how many each cell has, at least one.
        column: (k,), the point of each pair.
        cost: (k,), the squared distance.
        origin: (m,), the scores at which they were looked up.
    """

    size: Indices
    column: Indices
    cost: Array
    origin: Array

    @cached_property
    def row(self) -> Indices:
        """The cell of each pair."""
        return np.repeat(np.arange(len(self.size)), self.size)

    def shares(self, score: Array, epsilon: float) -> tuple[Array, Array]:
        """The logarithm of each pair's share of its cell's mass, and the potential f of each cell."""
        start, excess = self.size.cumsum() - self.size, self.cost - score[self.column]
        least = np.minimum.reduceat(excess, start)
        exponent = (np.repeat(least, self.size) - excess) / epsilon
        total = np.log(np.add.reduceat(np.exp(exponent), start))
        return exponent - np.repeat(total, self.size), least - epsilon * total


class Level:
    """One level: cells that carry mass, points, epsilon; ``rows`` and ``columns`` are these and the larger boxes."""

    def __init__(self, rows: Sequence[Boxes], columns: Sequence[Boxes], epsilon: float) -> None:
        self.rows, self.columns, self.epsilon = rows, columns, epsilon
        self.cells, self.a = rows[0].place, rows[0].mass
        self.spots, self.b = columns[0].place, columns[0].mass


@dataclass(frozen=True)
class Dual:
    """Scores and what they give on a level.

    Attributes:
        level: the level.
        score: (m,), g + epsilon log b of each point.
        pairs: all that matter, and some more.
        share: (k,), the logarithm of each pair's part of its cell's mass.
        potential: (n,), f of each cell.
        received: (m,), the logarithm of what each point receives.
    """

    level: Level
    score: Array
    pairs: SparsePairs
    share: Array
    potential: Array
    received: Array

    @classmethod
    def at(cls, level: Level, score: Array, pairs: SparsePairs) -> "Dual":
        """What the scores give on these pairs."""
        share, potential = pairs.shares(score, level.epsilon)
        moved = share + np.repeat(np.log(level.a), pairs.size)
        most = np.full(len(score), -1e6)  # less than any pair: of a point without one
        np.maximum.at(most, pairs.column, moved)
        total = np.bincount(pairs.column, np.exp(moved - most[pairs.column]), len(score))
        return cls(level, score, pairs, share, potential, most + np.log(total.clip(min=1)))

    @classmethod
    def of(cls, level: Level, score: Array, pairs: SparsePairs | None = None) -> "Dual":
        """What the scores give; on known pairs as long as these hold all that matter.

        Points that receive next to nothing get pairs with the cells that they would next receive from, so that their
        errors are exact.
        """
        if pairs is None or np.ptp(score - pairs.origin) > MOVED * level.epsilon:
            pairs = SparsePairs(*near(level.rows, level.spots, score, BAND * level.epsilon), score)
        state = cls.at(level, score, pairs)
        starved = np.flatnonzero(state.error < STARVED)
        if not len(starved):
            return state
        known = [pairs.row * len(level.b) + pairs.column]
        for point in starved:
            excess = ((level.cells - level.spots[point]) ** 2).sum(axis=1) - state.potential
            known.append(np.flatnonzero(excess <= excess.min() + BAND * level.epsilon) * len(level.b) + point)
        row, column = np.divmod(np.unique(np.concatenate(known)), len(level.b))
        cost = ((level.cells[row] - level.spots[column]) ** 2).sum(axis=1)
        return cls.at(level, score, SparsePairs(np.bincount(row), column, cost, pairs.origin))

    def moved(self, step: Array) -> "Dual":
        """The state at the scores plus a step."""
        return Dual.of(self.level, self.score + step, self.pairs)

    @property
    def error(self) -> Array:
        """log(received / due) of each point."""
        return self.received - np.log(self.level.b)

    @property
    def size(self) -> float:
        """The largest error."""
        return float(np.abs(self.error).max())

    @property
    def value(self) -> float:
        """The dual objective, up to a constant."""
        return float(self.level.b @ self.score + self.level.a @ self.potential)

    def score_on(self, finer: Level) -> Array:
        """Scores for a finer level's points: the potential that the cells give to each, by the pairs of its box."""
        level, pairs = self.level, self.pairs
        if len(level.b) == len(finer.b):
            return self.score
        index = np.arange(len(finer.b))
        for layer in finer.columns[: len(finer.columns) - len(level.columns)]:
            index = layer.parent[index]
        order, count = np.argsort(pairs.column, kind="stable"), np.bincount(pairs.column)
        size = count[index]
        row = pairs.row[order][runs((count.cumsum() - count)[index], size)]
        cost = ((level.cells[row] - np.repeat(finer.spots, size, axis=0)) ** 2).sum(axis=1)
        weighted = self.potential + level.epsilon * np.log(level.a)
        potential = SparsePairs(size, row, cost, weighted).shares(weighted, level.epsilon)[1]
        return potential + finer.epsilon * np.log(finer.b)


def solved(level: Level, score: Array, tolerance: float) -> Dual:
    """A level solved: sweeps while these help most, then Newton's method.

    Newton's method on the errors converges from afar where every point can receive. Between parts of the crowd that
    exchange next to nothing the dual is nearly piecewise linear, and only its value tells how far to go.
    """
    state = Dual.of(level, score)
    for _ in range(SWEEPS):
        if state.size <= SMOOTH:
            break
        state = state.moved(-level.epsilon * state.error)
    for _ in range(100):
        if state.size <= tolerance:
            break
        state = balanced(state) or raised(state) or state.moved(-level.epsilon * state.error)
    return state


def balanced(state: Dual) -> Dual | None:
    """A Newton step on the errors, or half of it, if that makes the largest of them smaller by a third or more."""
    level = state.level
    step = newton_step(state, np.exp(state.received) * state.error, DROPPED if len(level.b) > MANY else -math.inf)
    length = min(1.0, MOVED * level.epsilon / max(float(np.ptp(step)), 1e-300))
    for part in (length, length / 2):
        ahead = state.moved(-part * step)
        if ahead.size <= (1 - part / 3) * state.size:
            return ahead
    return None


def raised(state: Dual) -> Dual | None:
    """A Newton step on the concave dual objective that raises it, unless rounding hides all rise."""
    level = state.level
    gradient = level.b - np.exp(state.received)
    step = newton_step(state, gradient)
    span = float(np.square(np.ptp(level.cells, axis=0)).sum() + level.epsilon)  # no score differs by more
    length = min(1.0, span / max(float(np.ptp(step)), 1e-300))
    for _ in range(40):
        ahead = state.moved(length * step)
        if ahead.value >= state.value + 1e-4 * length * (step @ gradient):
            return ahead
        length /= 4
    return None


def newton_step(state: Dual, right: Array, dropped: float = -math.inf) -> Array:
    r"""Solve :math:`(D - Q^\top \mathrm{diag}(a) Q) d = \varepsilon r`, D = diag(received), up to a constant.

    The matrix is epsilon times the negative Hessian of the dual objective, and that of the sweeps' linear equation.
    Pairs whose logarithmic share of their cell is below ``dropped`` are left out, and the others' shares sum to one.
    """
    level, pairs, share, log_received = state.level, state.pairs, state.share, state.received
    count, row, column = len(right), pairs.row, pairs.column
    if count == 1:
        return np.zeros(1)
    kept = share >= dropped
    if not kept.all() and np.bincount(column[kept], minlength=count).all():
        row, column, share = row[kept], column[kept], share[kept]
        share = share - np.log(np.bincount(row, np.exp(share)))[row]
        log_received = np.log(np.bincount(column, level.a[row] * np.exp(share)).clip(min=1e-300))
    # symmetric in this scaling, with entries of at most 1
    entries = np.exp(share + (np.log(level.a)[row] - log_received[column]) / 2)
    ends = np.append(0, np.bincount(row).cumsum())
    normal = sparse.csr_matrix((entries, column, ends), shape=(len(level.a), count))
    product = normal.T @ normal
    received = np.exp(log_received)
    scale = np.sqrt(received.clip(min=np.finfo(np.float64).tiny))
    centred = (right - received * (right.sum() / received.sum())) / scale
    free, step = np.flatnonzero(np.arange(count) != received.argmax()), np.zeros(count)
    # a trace of the diagonal keeps parts solvable that exchange nothing
    if count <= FEW:
        system = (1 + 1e-13) * np.eye(count) - product.toarray()
        step[free] = np.linalg.solve(system[np.ix_(free, free)], centred[free])
    else:
        system = (sparse.identity(count) * (1 + 1e-13) - product).tocsc()[free][:, free]
        symmetric = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
        step[free] = splu(system, **symmetric).solve(centred[free])
    step *= level.epsilon / scale
    return step if np.isfinite(step).all() else level.epsilon * right / received.clip(min=1e-300)


def published_grid_plan(
    density: Array, points: Array, people: Array, *, stride: float, epsilon: float, iterations: int
) -> GridPlan:
    """Iterate u = b / (K v + guard), v = a / (K' u + guard), v first, from u = 1 / m.

    The potentials are epsilon log v and epsilon log u. At 10 square pixels the kernel is below the square of the guard
    beyond some 30 pixels, so a sparse matrix of the cells around each annotation gives what the dense one gives. Cells
    out of reach of everybody keep the guard's value.

    Args:
        density: (H, W), people per cell.
        points: (m, 2), at least one, image pixels.
        people: (m,), people per annotation, with a positive sum.
        stride: side of a cell in image pixels.
        epsilon: square pixels.
        iterations: their number.
    """
    a, b = density.ravel() / (density.sum() + 1e-8), people / people.sum()
    kernel = published_kernel(points, (density.shape[0], density.shape[1]), stride, epsilon)
    backward = kernel.T.tocsr()
    u, before = np.full(len(b), 1 / len(b)), np.zeros(len(b))
    for iteration in range(iterations):
        v = a / (backward @ u + GUARD)
        u = b / (kernel @ v + GUARD)
        if iteration % EVERY == 0:
            if (np.abs(u - before) <= SETTLED * u).all():
                break
            before = u
    cells = epsilon * np.log(v + GUARD)
    error = float(np.abs(np.log((u * (kernel @ v) + GUARD) / b))[b > 0].max())
    return GridPlan(cells.reshape(density.shape), epsilon * np.log(u + GUARD), float(a @ cells), False, error)


def published_kernel(points: Array, size: tuple[int, int], stride: float, epsilon: float) -> sparse.csr_matrix:
    """exp(-C / epsilon) between annotations and the cells in their reach."""
    height, width = size
    # u and v are at most 1 / guard: beyond this their product with the kernel is below a millionth of the guard
    reach = math.sqrt(-epsilon * math.log(GUARD**2 * 1e-6))
    window = np.arange(-math.ceil(reach / stride), math.ceil(reach / stride) + 1)
    column, row = np.floor(points / stride).astype(np.int64).T[:, :, None] + window
    across = ((column + 0.5) * stride - points[:, :1]) ** 2
    down = ((row + 0.5) * stride - points[:, 1:]) ** 2
    across[(column < 0) | (column >= width)] = np.inf
    down[(row < 0) | (row >= height)] = np.inf
    squared = down[:, :, None] + across[:, None, :]
    inside = squared <= reach**2
    cell = (row[:, :, None] * width + column[:, None, :])[inside]
    ends = np.append(0, inside.sum(axis=(1, 2)).cumsum())
    return sparse.csr_matrix((np.exp(-squared[inside] / epsilon), cell, ends), shape=(len(points), height * width))
