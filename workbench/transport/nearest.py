"""Annotations and cells as arrays, and the annotations nearest to each cell.

A k-d tree answers in O(n log m) without a matrix of cells times annotations. For few annotations the matrix takes half
its time. Everything is float64 on the CPU, whatever the density's device and dtype, so results are the same everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from torch import Tensor

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
FEW_POINTS = 64  # up to so many annotations by the matrix


def as_array(tensor: Tensor) -> Array:
    """A tensor's values in float64 on the CPU."""
    return tensor.detach().to("cpu", torch.float64).numpy()


def grid(size: tuple[int, int], stride: float, offset: float = 0.5) -> Array:
    """Cell coordinates (x, y), row by row: ``stride`` times the cell's index plus ``offset`` cells."""
    height, width = size
    x, y = np.meshgrid((np.arange(width) + offset) * stride, (np.arange(height) + offset) * stride)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def nearest(points: Array, cells: Array) -> tuple[Array, Indices]:
    """Distance from each cell to its nearest point, in pixels, and that point's index; (n,) both."""
    distances, indices = neighbours(points, cells, 1)
    return distances[:, 0], indices[:, 0]


def neighbours(points: Array, cells: Array, count: int) -> tuple[Array, Indices]:
    """Distances from each cell to so many of its nearest points, in pixels, and their indices; (n, count) both."""
    if len(points) > FEW_POINTS:
        tree = cKDTree(points, balanced_tree=False, compact_nodes=False)
        distances, indices = tree.query(cells, k=[*range(1, count + 1)])
        return distances, indices.astype(np.int64, copy=False)
    squared, every = cdist(cells, points, "sqeuclidean"), np.arange(len(cells))
    distances, indices = np.empty((len(cells), count)), np.empty((len(cells), count), np.int64)
    for rank in range(count):
        indices[:, rank] = squared.argmin(axis=1)
        distances[:, rank] = squared[every, indices[:, rank]]
        squared[every, indices[:, rank]] = np.inf
    return np.sqrt(distances), indices


def merge(points: Array, people: Array) -> tuple[Array, Array, Indices]:
    """Annotations on one spot as one: distinct points (sorted by x, then y), their people, and each one's index."""
    _, first, spot = np.unique(points[:, 0] + 1j * points[:, 1], return_index=True, return_inverse=True)
    return points[first], np.bincount(spot, weights=people).astype(np.float64), spot.astype(np.int64, copy=False)


@dataclass(frozen=True)
class Boxes:
    """Places merged in square boxes, in an order in which every larger box is a run of smaller ones.

    Attributes:
        place: (n, 2), the centre of mass of each box.
        mass: (n,).
        middle: (n, 2), the centre of the box itself.
        reach: how far along an axis a place may lie from there.
        parent: (n,), the index of the box of twice the side that holds it.
    """

    place: Array
    mass: Array
    middle: Array
    reach: float
    parent: Indices


def boxes(places: Array, mass: Array, side: float) -> tuple[list[Boxes], Indices]:
    """Places alone, then in boxes of 2, 4, 8 ... sides up to one box for all; and the order of the places."""
    corner = np.floor(places / side).astype(np.int64)
    depth = max(int(corner.max()).bit_length(), 1)
    # the bits of column and row in turn: places in a box of side 2^k share all but the last 2k bits
    code = np.array(sum((corner[:, 0] >> k & 1) << 2 * k | (corner[:, 1] >> k & 1) << 2 * k + 1 for k in range(depth)))
    order = np.argsort(code, kind="stable")
    places, mass, corner, code = places[order], mass[order], corner[order], code[order]
    layers = []
    for power in range(depth + 1):
        first = np.flatnonzero(np.diff(code >> 2 * power, prepend=-1)) if power else np.arange(len(code))
        total = np.add.reduceat(mass, first)
        place = np.add.reduceat(mass[:, None] * places, first) / total[:, None] if power else places
        box, last = side * 2**power, power == depth
        parent = (np.diff(code[first] >> 2 * power + 2, prepend=-1 + last) > 0).cumsum() - 1 + last
        layers.append(Boxes(place, total, ((corner[first] >> power) + 0.5) * box, box / 2, parent))
    return layers, order


def runs(first: Indices, size: Indices) -> Indices:
    """The numbers ``first``, ``first`` + 1, ... of each run, one run behind the other."""
    end = size.cumsum()
    return np.repeat(first - end + size, size) + np.arange(end[-1])


def near(layers: Sequence[Boxes], spots: Array, score: Array, band: float) -> tuple[Indices, Indices, Array]:
    """All pairs of a first-layer place and a spot whose cost less score is within ``band`` above the place's least.

    From the largest box down, a box looks only at the spots that its parent keeps. It drops a spot if another one
    is better by more than ``band`` all over the box. The difference of two squared distances is linear in the place:
    it is least at a corner, by 2 reach times the distance of the two spots along the axes.

    Returns:
        How many pairs each place has, at least one; the spot of each pair, by place; its squared distance.
    """
    x, y = np.ascontiguousarray(spots.T)
    column, size = np.arange(len(spots)), np.array([len(spots)])
    for layer in reversed(layers):
        leaf = layer is layers[0]
        column = column[runs((size.cumsum() - size)[layer.parent], size[layer.parent])]
        size = size[layer.parent]
        row, place = np.repeat(np.arange(len(size)), size), layer.place if leaf else layer.middle
        across, down = x[column], y[column]
        cost = (across - np.repeat(place[:, 0], size)) ** 2 + (down - np.repeat(place[:, 1], size)) ** 2
        excess = cost - score[column]
        excess -= np.repeat(np.minimum.reduceat(excess, size.cumsum() - size), size)
        if not leaf:
            best, least = np.empty_like(size), np.flatnonzero(excess == 0)
            best[row[least]] = column[least]
            away = abs(across - np.repeat(x[best], size)) + abs(down - np.repeat(y[best], size))
            excess -= 2 * layer.reach * away
        kept = excess <= band
        column, cost, size = column[kept], cost[kept], np.bincount(row[kept], minlength=len(size))
    return size, column, cost
