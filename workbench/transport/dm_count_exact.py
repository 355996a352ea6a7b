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

from workbench.transport.dm_count_newton import BAND, Problem, newton
from workbench.transport.dm_count_pairs import Pairs
from workbench.transport.nearest import Array, grid, merge

SWEEPS = 5  # of each coarse level
SPACING = 1 / 4  # levels above this part of the points' squared spacing are left to sweeps, if nothing underflows
ROUGH = 0.01  # residual at which a coarser level is good enough


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
    powers = range(round(math.log2(level / epsilon)), -1, -1)
    state = None
    for power in powers:
        problem = Problem(cells[carrying], a[carrying], spots, b, epsilon * 2**power)
        state = newton(problem, problem.evaluate(score, state), max(tolerance, ROUGH) if power else tolerance)
        score = state.score
    # once more with pairs looked up for the solution itself
    state = newton(problem, problem.evaluate(score), tolerance)
    score = state.score
    potential = Pairs.near(cells, spots, score, BAND * epsilon).shares(score, epsilon)[1]
    shift = a @ potential
    g = np.zeros(len(due))
    g[kept] = score - epsilon * np.log(b) + shift
    return GridPlan(
        cells=(potential - shift).reshape(mass.shape),
        points=g[spot],
        value=float(b @ g[kept]),
        residual=state.size,
        converged=state.size <= tolerance,
    )


def _coarse(
    size: tuple[int, int], a: Array, spots: Array, b: Array, stride: float, epsilon: float
) -> tuple[Array, float]:
    """Scores g + epsilon log b after sweeps at falling epsilon, and the level at which Newton's method takes over."""
    height, width = size
    rows = ((np.arange(height)[:, None] + 0.5) * stride - spots[:, 1]) ** 2
    columns = ((np.arange(width)[:, None] + 0.5) * stride - spots[:, 0]) ** 2
    largest = (height**2 + width**2) * stride**2
    level, score = epsilon * 2 ** math.ceil(math.log2(max(largest / epsilon, 1))), np.zeros(len(b))
    while level > max(epsilon, SPACING * height * width * stride**2 / len(b)):
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
