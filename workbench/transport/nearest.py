"""Annotations and cells as arrays, and the annotations nearest to each cell.

A k-d tree answers in O(n log m) without a matrix of cells times annotations; for few annotations the matrix takes half
its time. Both run on the CPU in float64 whatever the density's device and dtype, so the answer is the same everywhere.
"""

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
