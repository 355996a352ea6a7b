"""DM-Count's Sinkhorn iterations as published: in the kernel domain, with guards, a fixed number of times.

At 10 square pixels the kernel is below the square of the guard beyond some 30 pixels, so a sparse matrix of the cells
around each annotation gives what the dense one gives; cells out of reach of everybody keep the guard's value.
Everything is float64 on the CPU, whatever the density's device and dtype.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from workbench.transport.nearest import Array, Indices

GUARD = 1e-16
EVERY, SETTLED = 5, 1e-10  # so many iterations that change no scaling by more than this: the rest change nothing


@dataclass(frozen=True)
class PublishedPlan:
    """What the published iterations end at.

    Attributes:
        cells: (H, W), potential of each cell, epsilon log v.
        points: (m,), potential of each annotation, epsilon log u.
        distance: the plan's mean squared distance in square pixels.
        objective: the cell potentials' mean over the normalised density, which the published code logs.
    """

    cells: Array
    points: Array
    distance: float
    objective: float


def published_plan(
    density: Array, points: Array, people: Array, *, stride: float, epsilon: float, iterations: int
) -> PublishedPlan:
    """Iterate u = b / (K v + guard), v = a / (K' u + guard), v first, from u = 1 / m.

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
        cells=cells.reshape(density.shape),
        points=epsilon * np.log(u + GUARD),
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
