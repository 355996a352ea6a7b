r"""Entropic optimal transport between a density map and points, solved exactly at a small epsilon.

At 10 square pixels on an image of hundreds of pixels the cost is tens of thousands of epsilon: no kernel holds such
numbers and sweeps hardly move. Here epsilon halves from the largest cost down. While it is large the squared distance
makes the kernel a product of one factor a row and one a column, and a few Sinkhorn sweeps are small matrix products.
Once it is below the squared spacing of the points, each cell exchanges mass with the few whose score comes near its
best one: the plan is a sparse matrix, and Newton's method on the points' potentials a sparse linear system. There
neighbours still exchange mass, so the imbalance between parts of the crowd is settled before they fall apart.

Everything is float64 on the CPU, whatever the density's device and dtype.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from workbench.losses.nearest import Array, Indices, grid, merge

SWEEPS = 10  # of each coarse level
BAND = 30.0  # in units of epsilon: pairs farther from a cell's best score hold e^-30 of its mass
COARSE = 8.0  # in units of epsilon: levels above it are left to sweeps ...
SPACING = 1 / 3  # ... where they are above this part of the points' squared spacing, too, and nothing underflows
STARVED = -25.0  # log(received / due) below which the cells that are next for a point are looked up
BLOCK = 1 << 19  # cells x points of one block of the brute-force search


@dataclass(frozen=True)
class GridPlan:
    """The solution's dual side.

    Attributes:
        cells: (H, W), potential f of each cell, its mean over the mass zero.
        points: (m,), potential g of each point.
        value: the objective, <f, a> + <g, b>.
        residual: largest |log(received / due)| of a point.
        converged: whether the residual came down to the tolerance.
    """

    cells: Array
    points: Array
    value: float
    residual: float
    converged: bool


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
    height, width = mass.shape
    spots, due, spot = merge(points, people)
    kept = due > 0
    spots, b = spots[kept], due[kept] / due.sum()
    cells = grid((height, width), stride)
    a = (mass / mass.sum()).ravel()
    carrying = a > 1e-14 * a.max()  # the rest moves no point's sum
    score, level = _coarse((height, width), a, spots, b, stride, epsilon)
    residual = math.inf
    powers = range(math.ceil(math.log2(max(level / epsilon, 1))), -1, -1)
    for power in (*powers, 0):  # the last one twice: its pairs are then those of the solution
        problem = _Problem(cells[carrying], a[carrying], spots, b, epsilon * 2**power)
        score, residual = _newton(problem, score, tolerance)
    potential = _Pairs.near(cells, spots, score, epsilon).shares(score, epsilon)[1]
    shift = a @ potential
    g = np.zeros(len(due))
    g[kept] = score - epsilon * np.log(b) + shift
    return GridPlan(
        cells=(potential - shift).reshape(mass.shape),
        points=g[spot],
        value=float(b @ g[kept]),
        residual=residual,
        converged=residual <= tolerance,
    )


def _coarse(
    size: tuple[int, int], a: Array, spots: Array, b: Array, stride: float, epsilon: float
) -> tuple[Array, float]:
    """Scores g + epsilon log b after sweeps at falling epsilon, and the level at which Newton's method takes over."""
    height, width = size
    rows = ((np.arange(height)[:, None] + 0.5) * stride - spots[:, 1]) ** 2
    columns = ((np.arange(width)[:, None] + 0.5) * stride - spots[:, 0]) ** 2
    level, score = (height**2 + width**2) * stride**2, np.zeros(len(b))
    while level > max(COARSE * epsilon, SPACING * height * width * stride**2 / len(b)):
        ahead = _sweeps(a.reshape(size), rows, columns, b, score, level)
        if ahead is None:
            break
        score, level = ahead, level / 2
    return score, level


def _sweeps(a: Array, rows: Array, columns: Array, b: Array, score: Array, epsilon: float) -> Array | None:
    """Sinkhorn sweeps with the separable kernel; None where it underflows."""
    with np.errstate(all="ignore"):
        down = score - rows
        down = np.exp((down - down.max(axis=1, keepdims=True)) / epsilon)  # a factor a row of cells cancels below
        across = np.exp(-columns / epsilon).T
        scaling = np.ones(len(b))
        for _ in range(SWEEPS):
            reached = (down * scaling) @ across
            if reached[a > 0].min() < 1e-280:
                return None
            received = np.einsum("ij,ji->j", down, across @ np.where(a > 0, a / reached, 0).T)
            scaling = b / received
        if not np.isfinite(scaling).all() or not scaling.all():
            return None
    return score + epsilon * np.log(scaling)


@dataclass(frozen=True)
class _Pairs:
    """The pairs of cells and points that matter, by cell: row, column and squared distance; where each cell starts."""

    row: Indices
    column: Indices
    cost: Array
    start: Indices

    @classmethod
    def near(cls, cells: Array, spots: Array, score: Array, epsilon: float) -> "_Pairs":
        """All pairs whose cost less score is within the band above the least of the cell.

        The points are lifted by the square root of what their score lacks to the highest: then the least cost less
        score is the nearest point in three dimensions.
        """
        count, band = len(spots), BAND * epsilon
        lifted = np.column_stack([spots, np.sqrt(score.max() - score)])
        tree = cKDTree(lifted, balanced_tree=False, compact_nodes=False)
        flat = np.column_stack([cells, np.zeros(len(cells))])
        left, rows, columns = np.arange(len(cells)), [], []
        for most in (8, 32):
            if most > count or 4 * len(left) < len(cells):
                break
            distance, index = tree.query(flat[left], k=most)
            inside = distance**2 <= distance[:, :1] ** 2 + band
            whole = ~inside[:, -1]
            at, rank = np.nonzero(inside & whole[:, None])
            rows.append(left[at])
            columns.append(index[at, rank])
            left = left[~whole]
        for first in range(0, len(left), max(1, BLOCK // count)):
            block = left[first : first + max(1, BLOCK // count)]
            excess = (cells[block, 0, None] - spots[:, 0]) ** 2 + (cells[block, 1, None] - spots[:, 1]) ** 2 - score
            at, index = np.nonzero(excess <= excess.min(axis=1, keepdims=True) + band)
            rows.append(block[at])
            columns.append(index)
        row, column = np.concatenate(rows), np.concatenate(columns)
        order = np.argsort(row, kind="stable")
        return cls.of(row[order], column[order], cells, spots)

    @classmethod
    def of(cls, row: Indices, column: Indices, cells: Array, spots: Array) -> "_Pairs":
        """Pairs given by cell; every cell is in one."""
        cost = ((cells[row] - spots[column]) ** 2).sum(axis=1)
        return cls(row, column, cost, np.searchsorted(row, np.arange(len(cells))))

    def shares(self, score: Array, epsilon: float) -> tuple[Array, Array]:
        """The logarithm of each pair's share of its cell's mass, and the potential f of each cell."""
        excess = self.cost - score[self.column]
        least = np.minimum.reduceat(excess, self.start)
        exponent = (least[self.row] - excess) / epsilon
        total = np.log(np.add.reduceat(np.exp(exponent), self.start))
        return exponent - total[self.row], least - epsilon * total

    def feeding(self, hungry: Indices, cells: Array, spots: Array, score: Array, epsilon: float) -> "_Pairs":
        """These pairs and those of the cells that some points would next receive from."""
        potential = self.shares(score, epsilon)[1]
        rows, columns = [self.row], [self.column]
        for point in hungry:
            excess = ((cells - spots[point]) ** 2).sum(axis=1) - potential
            next_cells = np.flatnonzero(excess <= excess.min() + BAND * epsilon)
            rows.append(next_cells)
            columns.append(np.full(len(next_cells), point))
        pair = np.unique(np.concatenate(rows) * len(spots) + np.concatenate(columns))
        return _Pairs.of(pair // len(spots), pair % len(spots), cells, spots)

    def row_potential(self, score: Array, epsilon: float) -> tuple[Array, Array]:
        """How each cell's mass is shared among its pairs, and the potential f of each cell."""
        excess = self.cost - score[self.column]
        least = np.minimum.reduceat(excess, self.start)
        weight = np.exp((least[self.row] - excess) / epsilon)
        total = np.add.reduceat(weight, self.start)
        return weight / total[self.row], least - epsilon * np.log(total)


@dataclass(frozen=True)
class _Problem:
    """One level: the cells that carry mass, the points, and epsilon."""

    cells: Array
    a: Array
    spots: Array
    b: Array
    epsilon: float

    def evaluate(self, score: Array, before: "_State | None" = None) -> "_State":
        """What the scores give; with the pairs of another state where the scores have hardly moved since."""
        if before is not None and np.ptp(score - before.origin) < BAND * self.epsilon / 2:
            state = _State.at(self, score, before.pairs, before.origin)
        else:
            state = _State.at(self, score, _Pairs.near(self.cells, self.spots, score, self.epsilon), score)
        hungry = np.flatnonzero(state.error < STARVED)
        if len(hungry):
            pairs = state.pairs.feeding(hungry, self.cells, self.spots, score, self.epsilon)
            state = _State.at(self, score, pairs, state.origin)
        return state


@dataclass(frozen=True)
class _State:
    """Scores, the pairs they were looked up for at ``origin``, and what the scores give.

    ``share`` and ``received`` are logarithms: of each pair's part of its cell, and of what each point receives;
    ``error`` is log(received / due), ``value`` the dual objective up to a constant.
    """

    score: Array
    pairs: _Pairs
    origin: Array
    share: Array
    received: Array
    error: Array
    value: float

    @classmethod
    def at(cls, problem: _Problem, score: Array, pairs: _Pairs, origin: Array) -> "_State":
        share, potential = pairs.shares(score, problem.epsilon)
        moved = share + np.log(problem.a)[pairs.row]
        most = np.full(len(score), -1e6)  # less than any pair: of a point without one
        np.maximum.at(most, pairs.column, moved)
        total = np.bincount(pairs.column, np.exp(moved - most[pairs.column]), len(score))
        received = most + np.log(total.clip(min=1))
        value = float(problem.b @ score + problem.a @ potential)
        return cls(score, pairs, origin, share, received, received - np.log(problem.b), value)

    @property
    def size(self) -> float:
        return float(np.abs(self.error).max())


def _newton(problem: _Problem, score: Array, tolerance: float, most: int = 100) -> tuple[Array, float]:
    """Newton's method on log(received / due) of the points; where that stalls, on the concave dual objective.

    The first converges from afar where every point can receive; between parts of the crowd that exchange next to
    nothing the dual is nearly piecewise linear, and only its value tells how far to go.
    """
    state = problem.evaluate(score)
    for _ in range(most):
        if state.size <= tolerance:
            break
        received = np.exp(state.received)
        ahead = problem.evaluate(state.score - _solve(problem, state, received * state.error), state)
        if ahead.size > 0.7 * state.size:
            step = _solve(problem, state, problem.b - received)
            slope = step @ (problem.b - received)
            for halvings in range(0, 100, 2):
                length = 0.5**halvings
                ahead = problem.evaluate(state.score + length * step, state)
                if ahead.value >= state.value + 1e-4 * length * slope:
                    break
            else:  # no rise left to see in rounding
                ahead = problem.evaluate(state.score - problem.epsilon * state.error, state)
        state = ahead
    return state.score, state.size


def _solve(problem: _Problem, state: _State, right: Array) -> Array:
    r"""Solve :math:`(D - Q^\top \mathrm{diag}(a) Q) d = \varepsilon r`, D = diag(received), up to a constant.

    The matrix is epsilon times the negative Hessian of the dual objective, and that of the sweeps' linear equation.
    """
    pairs = state.pairs
    if len(right) == 1:
        return np.zeros(1)
    # symmetric in this scaling, with entries of at most 1
    entries = np.exp(state.share + (np.log(problem.a)[pairs.row] - state.received[pairs.column]) / 2)
    shape = (len(problem.a), len(right))
    normal = sparse.csr_matrix((entries, pairs.column, np.append(pairs.start, len(entries))), shape=shape)
    # a trace of the diagonal keeps parts solvable that exchange nothing
    system = sparse.diags(np.full(len(right), 1 + 1e-13)) - normal.T @ normal
    received = np.exp(state.received)
    scale = np.sqrt(received.clip(min=np.finfo(np.float64).tiny))
    centred = (right - received * (right.sum() / received.sum())) / scale
    free = np.arange(len(right)) != received.argmax()
    step = np.zeros(len(right))
    step[free] = splu(
        system.tocsc()[free][:, free],
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    ).solve(centred[free])
    step *= problem.epsilon / scale
    return step if np.isfinite(step).all() else problem.epsilon * right / received.clip(min=1e-300)
