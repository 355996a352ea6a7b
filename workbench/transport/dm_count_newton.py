"""Newton's method on the points' potentials of entropic transport at the squared distance, by sparse matrices."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from workbench.transport.dm_count_pairs import Pairs
from workbench.transport.nearest import Array

BAND = 30.0  # in units of epsilon: pairs farther from a cell's best score hold e^-30 of its mass
LEAST_BAND = 15.0  # likewise: what the band may shrink to while scores move, before pairs are looked up again
STARVED = -25.0  # log(received / due) below which the cells that are next for a point are looked up


@dataclass(frozen=True)
class Problem:
    """One level: the cells that carry mass, the points, and epsilon."""

    cells: Array
    a: Array
    spots: Array
    b: Array
    epsilon: float

    def evaluate(self, score: Array, before: "State | None" = None) -> "State":
        """What the scores give; with the pairs of another state as long as these hold all that matter."""
        wanted = BAND * self.epsilon
        left = 0.0 if before is None else before.band - float(np.ptp(score - before.origin))
        if before is None or left < LEAST_BAND * self.epsilon:
            pairs, origin, band = Pairs.near(self.cells, self.spots, score, wanted), score, wanted
        elif before.band > 1.5 * wanted:  # from a coarser level
            pairs = before.pairs.within(score, wanted, self.cells, self.spots)
            origin, band = score, min(wanted, left)
        else:
            pairs, origin, band = before.pairs, before.origin, before.band
        return State.at(self, score, pairs, origin, band)

    def fed(self, state: "State") -> "State":
        """The state with the pairs that its starved points would next receive from, so that its errors are exact."""
        hungry = np.flatnonzero(state.error < STARVED)
        if not len(hungry):
            return state
        wanted = BAND * self.epsilon
        pairs = state.pairs.feeding(hungry, self.cells, self.spots, state.score, self.epsilon, wanted)
        return State.at(self, state.score, pairs, state.origin, state.band)


@dataclass(frozen=True)
class State:
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
    pairs: Pairs
    origin: Array
    band: float
    share: Array
    received: Array
    error: Array
    value: float

    @classmethod
    def at(cls, problem: Problem, score: Array, pairs: Pairs, origin: Array, band: float) -> "State":
        """What ``score`` gives with these pairs."""
        share, potential = pairs.shares(score, problem.epsilon)
        moved = share + np.log(problem.a)[pairs.row]
        most = np.full(len(score), -1e6)  # less than any pair: of a point without one
        np.maximum.at(most, pairs.column, moved)
        total = np.bincount(pairs.column, np.exp(moved - most[pairs.column]), len(score))
        received = most + np.log(total.clip(min=1))
        value = float(problem.b @ score + problem.a @ potential)
        return cls(score, pairs, origin, band, share, received, received - np.log(problem.b), value)

    @property
    def size(self) -> float:
        """The largest error."""
        return float(np.abs(self.error).max())


def newton(problem: Problem, state: State, tolerance: float, most: int = 100) -> State:
    """Newton's method on log(received / due) of the points; where that stalls, on the concave dual objective.

    The first converges from afar where every point can receive; between parts of the crowd that exchange next to
    nothing the dual is nearly piecewise linear, and only its value tells how far to go.
    """
    state = problem.fed(state)
    for _ in range(most):
        if state.size <= tolerance:
            break
        state = problem.fed(_balanced(problem, state) or _raised(problem, state) or _swept(problem, state))
    return state


def _balanced(problem: Problem, state: State) -> State | None:
    """A Newton step on the errors, or half of it, if that makes the largest of them smaller by a third or more."""
    step = _solve(problem, state, np.exp(state.received) * state.error)
    length = min(1.0, LEAST_BAND * problem.epsilon / max(float(np.ptp(step)), 1e-300))
    for part in (length, length / 2):
        ahead = problem.evaluate(state.score - part * step, state)
        if ahead.size <= 0.67 * state.size:
            return ahead
    return None


def _raised(problem: Problem, state: State) -> State | None:
    """A Newton step on the dual objective that raises it, unless rounding hides all rise."""
    gradient = problem.b - np.exp(state.received)
    step = _solve(problem, state, gradient)
    slope = step @ gradient
    span = float(np.square(np.ptp(problem.cells, axis=0)).sum() + problem.epsilon)  # no score differs by more
    length = min(1.0, span / max(float(np.ptp(step)), 1e-300))
    for _ in range(40):
        ahead = problem.evaluate(state.score + length * step, state)
        if ahead.value >= state.value + 1e-4 * length * slope:
            return ahead
        length /= 4
    return None


def _swept(problem: Problem, state: State) -> State:
    """A Sinkhorn sweep."""
    return problem.evaluate(state.score - problem.epsilon * state.error, state)


def _solve(problem: Problem, state: State, right: Array) -> Array:
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
