r"""DM-Count's entropic transport between a density map and points: solved exactly, and as published.

At 10 square pixels on an image of hundreds of pixels the cost is tens of thousands of epsilon: no kernel holds such
numbers, and sweeps alone need thousands of iterations. The exact solver goes from coarse to fine. Each coarser level
has twice the epsilon, and its cells and points are merged in boxes whose side grows with the square root of epsilon.
So a cell exchanges mass with some tens of points at every level: the plan is a sparse matrix. Each level starts from
the potentials of the coarser one. Sinkhorn sweeps remove the local errors, Newton's method those of long range.

Everything is float64 on the CPU, whatever the density's device and dtype.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from workbench.transport.nearest import Array, Indices, grid, merge

BAND = 30.0  # in units of epsilon: pairs farther from a cell's best score hold e^-30 of its mass
LEAST_BAND = 15.0  # likewise: what the band may shrink to while scores move, before pairs are looked up again
STARVED = -25.0  # log(received / due) below which the cells that are next for a point are looked up
BLOCK = 1 << 19  # cells x points of one block of the brute-force search
BOX = 6.4  # squared side of a level's boxes in units of epsilon; with 3.2 or 12.8 the solver was slower
SWEEPS = 60  # at most, at the start of a level
SMOOTH = 0.3  # residual at which the sweeps of a level end
FEW = 150  # up to so many points Newton's equation is solved with a dense matrix: there faster than a sparse one
MANY = 1000  # above so many points a Newton step first leaves out the pairs with a logarithmic share below DROPPED
DROPPED = -9.0  # 20,000 points took 13 s with all pairs, 4.6 s without these
ROUGH = 0.1  # residual at which a coarser level is good enough
GUARD = 1e-16  # of the published iterations
EVERY, SETTLED = 5, 1e-10  # so many iterations that change no scaling by more than this: the rest change nothing


@dataclass(frozen=True)
class GridPlan:
    """The dual side of a plan between a map (its rows) and points (its columns), as in ``TransportPlan``.

    Attributes:
        row_potential: (H, W), f of each cell; for the exact solution its mean over the mass is zero.
        column_potential: (m,), g of each point.
        value: the objective, <f, a> + <g, b>.
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
    height, width = mass.shape
    spots, due, spot = merge(points, people)
    kept = due > 0
    spots, b = spots[kept], due[kept] / due.sum()
    cells = grid((height, width), stride)
    a = (mass / mass.sum()).ravel()
    carrying = a > 1e-14 * a.max()  # the rest moves no point's sum
    level = Level(cells[carrying], a[carrying], spots, b, epsilon)
    state = _solved(level, _start(level, stride, (height**2 + width**2) * stride**2), tolerance)
    # once more with pairs looked up for the solution itself
    state = newton(level, level.evaluate(state.score), tolerance)
    score = state.score
    potential = SparsePairs.near(cells, spots, score, BAND * epsilon).shares(score, epsilon)[1]
    shift = a @ potential
    g = np.zeros(len(due))
    g[kept] = score - epsilon * np.log(b) + shift
    return GridPlan(
        row_potential=(potential - shift).reshape(mass.shape),
        column_potential=g[spot],
        value=float(b @ g[kept]),
        converged=state.size <= tolerance,
        residual=state.size,
    )


def _start(level: "Level", side: float, largest: float) -> "Dual | Array":
    """Where a level starts: at the state of the coarser one, or at scores from that one's potentials.

    Args:
        level: the level.
        side: of a cell in the map, in pixels.
        largest: square pixels, an epsilon at which all scores may start at g = 0.
    """
    if level.epsilon >= largest or min(len(level.a), len(level.b)) == 1:
        return level.epsilon * np.log(level.b)
    epsilon = 2 * level.epsilon
    box = side * 2 ** math.floor(math.log2(max(1.0, math.sqrt(BOX * epsilon) / side)))
    cells, a, _ = _boxed(level.cells, level.a, box, side)
    spots, b, index = _boxed(level.spots, level.b, box, side)
    coarse = Level(cells, a, spots, b, epsilon)
    state = _solved(coarse, _start(coarse, side, largest), ROUGH)
    if len(a) == len(level.a) and len(b) == len(level.b):
        return state
    return _extended(coarse, state, index, level.spots) + level.epsilon * np.log(level.b)


def _boxed(places: Array, mass: Array, box: float, side: float) -> tuple[Array, Array, Indices]:
    """Places in one box as one at their centre of mass: these, their masses, and the index of each place's box."""
    if box <= side:
        return places, mass, np.arange(len(mass))
    column, row = np.floor(places / box).astype(np.int64).T
    index = np.unique(column + 1j * row, return_inverse=True)[1].astype(np.int64)
    total = np.bincount(index, mass).astype(np.float64)
    return np.stack([np.bincount(index, mass * x) / total for x in places.T], axis=1), total, index


def _extended(level: "Level", state: "Dual", index: Indices, spots: Array) -> Array:
    """The potential g that a level's cells give to other points, each through the pairs of its box."""
    pairs, potential = state.pairs, state.pairs.shares(state.score, level.epsilon)[1]
    order, count = np.argsort(pairs.column, kind="stable"), np.bincount(pairs.column, minlength=len(level.b))
    size = count[index]
    first = size.cumsum() - size
    row = pairs.row[order][np.repeat((count.cumsum() - count)[index] - first, size) + np.arange(size.sum())]
    column = np.repeat(np.arange(len(spots)), size)
    cost = ((level.cells[row] - spots[column]) ** 2).sum(axis=1)
    exponent = np.log(level.a)[row] + (potential[row] - cost) / level.epsilon
    most = np.maximum.reduceat(exponent, first)
    return -level.epsilon * (most + np.log(np.add.reduceat(np.exp(exponent - most[column]), first)))


def _solved(level: "Level", start: "Dual | Array", tolerance: float) -> "Dual":
    """A level solved: sweeps while these help most, then Newton's method."""
    state = level.evaluate(start.score, start) if isinstance(start, Dual) else level.evaluate(start)
    state = level.fed(state)
    for _ in range(SWEEPS):
        if state.size <= SMOOTH:
            break
        state = level.fed(_swept(level, state))
    return newton(level, state, tolerance)


@dataclass(frozen=True)
class SparsePairs:
    """The pairs of cells and points that matter, by cell: row, column and squared distance; where each cell starts."""

    row: Indices
    column: Indices
    cost: Array
    start: Indices

    @classmethod
    def near(cls, cells: Array, spots: Array, score: Array, band: float) -> "SparsePairs":
        """All pairs whose cost less score is within ``band`` above the least of the cell.

        The points are lifted by the square root of what their score lacks to the highest: then the least cost less
        score is the nearest point in three dimensions.
        """
        count = len(spots)
        lifted = np.column_stack([spots, np.sqrt(score.max() - score)])
        tree = cKDTree(lifted, balanced_tree=False, compact_nodes=False)
        flat = np.column_stack([cells, np.zeros(len(cells))])
        left, rows, columns = np.arange(len(cells)), [], []
        for most in (8, 32, 128):
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
    def of(cls, row: Indices, column: Indices, cells: Array, spots: Array) -> "SparsePairs":
        """SparsePairs given by cell; every cell is in one."""
        cost = ((cells[row] - spots[column]) ** 2).sum(axis=1)
        return cls(row, column, cost, np.searchsorted(row, np.arange(len(cells))))

    def within(self, score: Array, band: float, cells: Array, spots: Array) -> "SparsePairs":
        """Those of the pairs whose cost less score is within ``band`` above the least of the cell."""
        excess = self.cost - score[self.column]
        kept = excess <= np.minimum.reduceat(excess, self.start)[self.row] + band
        return SparsePairs.of(self.row[kept], self.column[kept], cells, spots)

    def shares(self, score: Array, epsilon: float) -> tuple[Array, Array]:
        """The logarithm of each pair's share of its cell's mass, and the potential f of each cell."""
        excess = self.cost - score[self.column]
        least = np.minimum.reduceat(excess, self.start)
        exponent = (least[self.row] - excess) / epsilon
        total = np.log(np.add.reduceat(np.exp(exponent), self.start))
        return exponent - total[self.row], least - epsilon * total

    def feeding(
        self, hungry: Indices, cells: Array, spots: Array, score: Array, epsilon: float, band: float
    ) -> "SparsePairs":
        """These pairs and those of the cells that some points would next receive from, within ``band`` of the next."""
        potential = self.shares(score, epsilon)[1]
        rows, columns = [self.row], [self.column]
        for point in hungry:
            excess = ((cells - spots[point]) ** 2).sum(axis=1) - potential
            next_cells = np.flatnonzero(excess <= excess.min() + band)
            rows.append(next_cells)
            columns.append(np.full(len(next_cells), point))
        pair = np.unique(np.concatenate(rows) * len(spots) + np.concatenate(columns))
        return SparsePairs.of(pair // len(spots), pair % len(spots), cells, spots)


@dataclass(frozen=True)
class Level:
    """One level: the cells that carry mass, the points, and epsilon."""

    cells: Array
    a: Array
    spots: Array
    b: Array
    epsilon: float

    def evaluate(self, score: Array, before: "Dual | None" = None) -> "Dual":
        """What the scores give; with the pairs of another state as long as these hold all that matter."""
        wanted = BAND * self.epsilon
        left = 0.0 if before is None else before.band - float(np.ptp(score - before.origin))
        if before is None or left < LEAST_BAND * self.epsilon:
            pairs, origin, band = SparsePairs.near(self.cells, self.spots, score, wanted), score, wanted
        elif before.band > 1.5 * wanted:  # from a coarser level
            pairs = before.pairs.within(score, wanted, self.cells, self.spots)
            origin, band = score, min(wanted, left)
        else:
            pairs, origin, band = before.pairs, before.origin, before.band
        return Dual.at(self, score, pairs, origin, band)

    def fed(self, state: "Dual") -> "Dual":
        """The state with the pairs that its starved points would next receive from, so that its errors are exact."""
        hungry = np.flatnonzero(state.error < STARVED)
        if not len(hungry):
            return state
        wanted = BAND * self.epsilon
        pairs = state.pairs.feeding(hungry, self.cells, self.spots, state.score, self.epsilon, wanted)
        return Dual.at(self, state.score, pairs, state.origin, state.band)


@dataclass(frozen=True)
class Dual:
    """Scores and what they give.

    Attributes:
        score: (m,), g + epsilon log b of each point.
        pairs: all pairs within ``band`` of a cell's best at the scores ``origin``, and some more.
        origin: (m,).
        band: square pixels.
        share: logarithm of each pair's part of its cell's mass.
        received: (m,), logarithm of what each point receives.
        error: (m,), log(received / due).
        value: the dual objective, up to a constant.
    """

    score: Array
    pairs: SparsePairs
    origin: Array
    band: float
    share: Array
    received: Array
    error: Array
    value: float

    @classmethod
    def at(cls, level: Level, score: Array, pairs: SparsePairs, origin: Array, band: float) -> "Dual":
        """What ``score`` gives with these pairs."""
        share, potential = pairs.shares(score, level.epsilon)
        moved = share + np.log(level.a)[pairs.row]
        most = np.full(len(score), -1e6)  # less than any pair: of a point without one
        np.maximum.at(most, pairs.column, moved)
        total = np.bincount(pairs.column, np.exp(moved - most[pairs.column]), len(score))
        received = most + np.log(total.clip(min=1))
        value = float(level.b @ score + level.a @ potential)
        return cls(score, pairs, origin, band, share, received, received - np.log(level.b), value)

    @property
    def size(self) -> float:
        """The largest error."""
        return float(np.abs(self.error).max())


def newton(level: Level, state: Dual, tolerance: float, most: int = 100) -> Dual:
    """Newton's method on log(received / due) of the points; where that stalls, on the concave dual objective.

    The first converges from afar where every point can receive; between parts of the crowd that exchange next to
    nothing the dual is nearly piecewise linear, and only its value tells how far to go.
    """
    state = level.fed(state)
    for _ in range(most):
        if state.size <= tolerance:
            break
        state = level.fed(_balanced(level, state) or _raised(level, state) or _swept(level, state))
    return state


def _balanced(level: Level, state: Dual) -> Dual | None:
    """A Newton step on the errors, or half of it, if that makes the largest of them smaller by a third or more."""
    dropped = DROPPED if len(level.b) > MANY else -math.inf
    step = _solve(level, state, np.exp(state.received) * state.error, dropped)
    length = min(1.0, LEAST_BAND * level.epsilon / max(float(np.ptp(step)), 1e-300))
    for part in (length, length / 2):
        ahead = level.evaluate(state.score - part * step, state)
        if ahead.size <= (1 - part / 3) * state.size:
            return ahead
    return None


def _raised(level: Level, state: Dual) -> Dual | None:
    """A Newton step on the dual objective that raises it, unless rounding hides all rise."""
    gradient = level.b - np.exp(state.received)
    step = _solve(level, state, gradient)
    slope = step @ gradient
    span = float(np.square(np.ptp(level.cells, axis=0)).sum() + level.epsilon)  # no score differs by more
    length = min(1.0, span / max(float(np.ptp(step)), 1e-300))
    for _ in range(40):
        ahead = level.evaluate(state.score + length * step, state)
        if ahead.value >= state.value + 1e-4 * length * slope:
            return ahead
        length /= 4
    return None


def _swept(level: Level, state: Dual) -> Dual:
    """A Sinkhorn sweep."""
    return level.evaluate(state.score - level.epsilon * state.error, state)


def _solve(level: Level, state: Dual, right: Array, dropped: float = -math.inf) -> Array:
    r"""Solve :math:`(D - Q^\top \mathrm{diag}(a) Q) d = \varepsilon r`, D = diag(received), up to a constant.

    The matrix is epsilon times the negative Hessian of the dual objective, and that of the sweeps' linear equation.
    Pairs whose logarithmic share of their cell is below ``dropped`` are left out, and the others' shares sum to one.
    """
    row, column, share, log_received = state.pairs.row, state.pairs.column, state.share, state.received
    count = len(right)
    if count == 1:
        return np.zeros(1)
    kept = share >= dropped
    if not kept.all() and np.bincount(column[kept], minlength=count).all():
        row, column, share = row[kept], column[kept], share[kept]
        share = share - np.log(np.bincount(row, np.exp(share)))[row]
        log_received = np.log(np.bincount(column, level.a[row] * np.exp(share)).clip(min=1e-300))
    # symmetric in this scaling, with entries of at most 1
    entries = np.exp(share + (np.log(level.a)[row] - log_received[column]) / 2)
    ends = np.append(0, np.bincount(row, minlength=len(level.a)).cumsum())
    normal = sparse.csr_matrix((entries, column, ends), shape=(len(level.a), count))
    product = normal.T @ normal
    received = np.exp(log_received)
    scale = np.sqrt(received.clip(min=np.finfo(np.float64).tiny))
    centred = (right - received * (right.sum() / received.sum())) / scale
    free = np.flatnonzero(np.arange(count) != received.argmax())
    step = np.zeros(count)
    # a trace of the diagonal keeps parts solvable that exchange nothing
    if count <= FEW:
        system = (1 + 1e-13) * np.eye(count) - product.toarray()
        step[free] = np.linalg.solve(system[np.ix_(free, free)], centred[free])
    else:
        system = sparse.diags(np.full(count, 1 + 1e-13)) - product
        step[free] = splu(
            system.tocsc()[free][:, free],
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        ).solve(centred[free])
    step *= level.epsilon / scale
    return step if np.isfinite(step).all() else level.epsilon * right / received.clip(min=1e-300)


@dataclass(frozen=True)
class PublishedPlan:
    """What the published iterations end at.

    Attributes:
        row_potential: (H, W), potential of each cell, epsilon log v.
        column_potential: (m,), potential of each annotation, epsilon log u.
        distance: the plan's mean squared distance in square pixels.
        objective: the cell potentials' mean over the normalised density, which the published code logs.
    """

    row_potential: Array
    column_potential: Array
    distance: float
    objective: float


def published_plan(
    density: Array, points: Array, people: Array, *, stride: float, epsilon: float, iterations: int
) -> PublishedPlan:
    """Iterate u = b / (K v + guard), v = a / (K' u + guard), v first, from u = 1 / m.

    At 10 square pixels the kernel is below the square of the guard beyond some 30 pixels. So a sparse matrix of the
    cells around each annotation gives what the dense one gives. Cells out of reach of everybody keep the guard's value.

    Args:
        density: (H, W), people per cell.
        points: (m, 2), at least one, image pixels.
        people: (m,), people per annotation, with a positive sum.
        stride: side of a cell in image pixels.
        epsilon: square pixels.
        iterations: their number.
    """
    a = density.ravel() / (density.sum() + 1e-8)
    b = people / people.sum()
    kernel, squared, active = _kernel(points, density.shape, stride, epsilon)
    backward = kernel.T.tocsr()
    reached = a[active]
    u, before = np.full(len(b), 1 / len(b)), np.zeros(len(b))
    v = reached
    for iteration in range(iterations):
        back = backward @ u
        back += GUARD
        v = reached / back
        ahead = kernel @ v
        ahead += GUARD
        u = b / ahead
        if iteration % EVERY == 0:
            if (np.abs(u - before) <= SETTLED * u).all():
                break
            before = u
    scaling = a / GUARD
    scaling[active] = v
    cells = epsilon * np.log(scaling + GUARD)
    spent = sparse.csr_matrix((kernel.data * squared, kernel.indices, kernel.indptr), shape=kernel.shape)
    return PublishedPlan(
        row_potential=cells.reshape(density.shape),
        column_potential=epsilon * np.log(u + GUARD),
        distance=float(u @ (spent @ v)),
        objective=float(a @ cells),
    )


def _kernel(
    points: Array, size: tuple[int, ...], stride: float, epsilon: float
) -> tuple[sparse.csr_matrix, Array, Indices]:
    """exp(-C / epsilon) between annotations and the cells in reach of any, those C, and the numbers of the cells."""
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
    used = np.zeros(height * width, dtype=bool)
    used[cell] = True
    values = squared[inside]
    ends = np.append(0, inside.sum(axis=(1, 2)).cumsum())
    number = used.cumsum() - 1
    matrix = sparse.csr_matrix(
        (np.exp(-values / epsilon), number[cell], ends), shape=(len(points), np.count_nonzero(used))
    )
    return matrix, values, np.flatnonzero(used)
