"""The pairs of cells and points that exchange mass, as a sparse matrix would list them."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from workbench.transport.nearest import Array, Indices

BLOCK = 1 << 19  # cells x points of one block of the brute-force search


@dataclass(frozen=True)
class Pairs:
    """The pairs of cells and points that matter, by cell: row, column and squared distance; where each cell starts."""

    row: Indices
    column: Indices
    cost: Array
    start: Indices

    @classmethod
    def near(cls, cells: Array, spots: Array, score: Array, band: float) -> "Pairs":
        """All pairs whose cost less score is within ``band`` above the least of the cell.

        The points are lifted by the square root of what their score lacks to the highest: then the least cost less
        score is the nearest point in three dimensions.
        """
        count = len(spots)
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
    def of(cls, row: Indices, column: Indices, cells: Array, spots: Array) -> "Pairs":
        """Pairs given by cell; every cell is in one."""
        cost = ((cells[row] - spots[column]) ** 2).sum(axis=1)
        return cls(row, column, cost, np.searchsorted(row, np.arange(len(cells))))

    def within(self, score: Array, band: float, cells: Array, spots: Array) -> "Pairs":
        """Those of the pairs whose cost less score is within ``band`` above the least of the cell."""
        excess = self.cost - score[self.column]
        kept = excess <= np.minimum.reduceat(excess, self.start)[self.row] + band
        return Pairs.of(self.row[kept], self.column[kept], cells, spots)

    def shares(self, score: Array, epsilon: float) -> tuple[Array, Array]:
        """The logarithm of each pair's share of its cell's mass, and the potential f of each cell."""
        excess = self.cost - score[self.column]
        least = np.minimum.reduceat(excess, self.start)
        exponent = (least[self.row] - excess) / epsilon
        total = np.log(np.add.reduceat(np.exp(exponent), self.start))
        return exponent - total[self.row], least - epsilon * total

    def feeding(
        self, hungry: Indices, cells: Array, spots: Array, score: Array, epsilon: float, band: float
    ) -> "Pairs":
        """These pairs and those of the cells that some points would next receive from, within ``band`` of the next."""
        potential = self.shares(score, epsilon)[1]
        rows, columns = [self.row], [self.column]
        for point in hungry:
            excess = ((cells - spots[point]) ** 2).sum(axis=1) - potential
            next_cells = np.flatnonzero(excess <= excess.min() + band)
            rows.append(next_cells)
            columns.append(np.full(len(next_cells), point))
        pair = np.unique(np.concatenate(rows) * len(spots) + np.concatenate(columns))
        return Pairs.of(pair // len(spots), pair % len(spots), cells, spots)

    def row_potential(self, score: Array, epsilon: float) -> tuple[Array, Array]:
        """How each cell's mass is shared among its pairs, and the potential f of each cell."""
        excess = self.cost - score[self.column]
        least = np.minimum.reduceat(excess, self.start)
        weight = np.exp((least[self.row] - excess) / epsilon)
        total = np.add.reduceat(weight, self.start)
        return weight / total[self.row], least - epsilon * np.log(total)
