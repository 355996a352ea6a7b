"""The Gibbs kernel of the published solver, in blocks: rows of the map by those points that matter there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.transport import TransportCost

CHUNK = 1 << 17  # entries that are computed at a time: temporaries stay in the cache
RESERVE = 1e-4  # so much smaller than foreseen may products at the last epsilon be


@dataclass(frozen=True)
class Block:
    """A part of a matrix between cells and points; what is in no block is zero.

    Attributes:
        rows: the cells.
        columns: the points.
        entries: (rows, columns).
    """

    rows: slice
    columns: slice
    entries: Float[Tensor, "r c"]


class OutOfRange(ArithmeticError):
    """Numbers have left the range in which the kernel itself can be used."""


class GibbsKernel:
    r"""The kernel :math:`K_{ij} = \exp(-(C_{ij} - c_i) / \varepsilon)` with :math:`c_i = \min_j C_{ij}`.

    Powers are those of 2, which are about three times faster than those of e.

    Args:
        cost: of moving density.
        width: of the map.
        cells: normalised, row by row.
        points: normalised; the last powers are taken in narrow blocks if they are in order of y.
        epsilons: the first, at which the kernel is made, and the last.
        columns: for the first products, none above 1.
        rows: likewise; their factor :math:`e^{-c_i / \varepsilon}` comes on top.

    Attributes:
        blocks: the kernel; once epsilon has fallen by anything but a power of 2, its binary logarithm. At the last
            epsilon, without the points at both ends of a block that do not show in its products.
        first: the first products.
        nearest: (n,), c.
        epsilon: at which the kernel stands.
        logarithmic: whether the blocks hold logarithms.
        lowest: binary logarithms end here.
        bound: products must be greater than this.

    Raises:
        OutOfRange: as :meth:`trusted`.
    """

    def __init__(
        self,
        cost: TransportCost,
        width: int,
        cells: Float[Tensor, "n 2"],
        points: Float[Tensor, "m 2"],
        epsilons: tuple[float, float],
        columns: Float[Tensor, "m"],
        rows: Float[Tensor, "n"],
    ) -> None:
        single = cells.dtype == torch.float32
        matrix = cells.new_empty(len(cells), len(points))
        self.blocks: list[Block] = []
        self.nearest = torch.empty_like(rows)
        self.epsilon, self._last = epsilons
        self.logarithmic = False
        # -116 in single precision: what is no longer a normal number is slow to compute and to compute with
        self.lowest = 0.92 * math.log2(torch.finfo(cells.dtype).tiny)
        self.bound = 1e-25 if single else 1e-250
        # the nearest cost is taken out, and a constant with it
        offset, cost = (cost.offset, replace(cost, offset=0.0)) if single else (0.0, cost)
        points = points.T.contiguous().T  # x and y each in one piece
        across, y = (cells[:width, :1] - points[:, 0]).square_(), cells[::width, 1]
        self._greatest = float(cost.on_rows(across.amax(0, keepdim=True), y, points).amax())
        height, scale = max(CHUNK // across.numel(), 1), math.log2(math.e) / self.epsilon
        reached_rows, reached_columns = torch.empty_like(rows), torch.zeros_like(columns)
        for top in range(0, len(y), height):
            entries = cost.on_rows(across, y[top : top + height], points).flatten(0, 1)
            part = slice(top * width, top * width + len(entries))
            nearest = torch.amin(entries, 1, out=self.nearest[part]) * scale
            torch.sub(nearest[:, None], entries, alpha=scale, out=entries)
            if self._is_deep():
                entries.clamp_(min=self.lowest)
            kernel = torch.exp2(entries, out=matrix[part])
            self.blocks.append(Block(part, slice(0, len(points)), kernel))
            torch.mv(kernel, columns, out=reached_rows[part])
            reached_columns.addmv_(kernel.T, torch.sub(offset * scale, nearest).exp2_().mul_(rows[part]))
        # by how much the least cost of a point to a row of the map is above the greatest in the row that was taken out
        above = across.new_zeros(1, across.shape[1])
        self._above = cost.on_rows(above, y, points)[:, 0] - self.nearest.view(-1, width).amax(1, keepdim=True)
        self.nearest -= offset
        self.first = self.trusted(reached_rows, reached_columns)

    def products(
        self, epsilon: float, columns: Float[Tensor, "m"], rows: Float[Tensor, "n"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "m"]]:
        """Bring the kernel to ``epsilon`` and multiply it with one vector from each side, none of them above 1.

        The kernel becomes its own power epsilon_before / epsilon. All of it in one pass, while a block is in the cache.
        """
        ratio, self.epsilon = self.epsilon / epsilon, epsilon
        squarings = round(math.log2(ratio))
        whole = not self.logarithmic and math.isclose(ratio, 2**squarings, rel_tol=1e-12)
        reached_rows, reached_columns = torch.empty_like(rows), torch.zeros_like(columns)
        for block in self._squares(squarings) if whole else self._powers(ratio):
            torch.mv(block.entries, columns[block.columns], out=reached_rows[block.rows])
            reached_columns[block.columns].addmv_(block.entries.T, rows[block.rows])
        return self.trusted(reached_rows, reached_columns)

    def trusted(
        self, rows: Float[Tensor, "n"], columns: Float[Tensor, "m"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "m"]]:
        """Both products as they are.

        Raises:
            OutOfRange: one is so small that rounding, or what was left out of it, may show.
        """
        self._least = float(torch.minimum(rows.amin(), columns.amin()))
        if not self._least > self.bound:
            raise OutOfRange(f"a product is {self._least:.1g}, expected more than {self.bound:.1g}")
        return rows, columns

    def logarithms(self) -> list[Block]:
        """The kernel's binary logarithm, instead of the kernel."""
        if not self.logarithmic:
            for block in self.blocks:
                block.entries.log2_()
            self.logarithmic = True
        return self.blocks

    def _squares(self, squarings: int) -> Iterator[Block]:
        """The kernel's blocks, squared in place."""
        least = 2 ** (self.lowest / 2)  # its square is a normal number, and next to nothing
        deep = self._is_deep()
        for block in self.blocks:
            for _ in range(squarings):
                if deep:
                    block.entries.clamp_(min=least)
                block.entries.mul_(block.entries)
            yield block

    def _is_deep(self) -> bool:
        """Whether entries may be too small to be normal numbers."""
        return self._greatest * math.log2(math.e) > -self.lowest * self.epsilon

    def _powers(self, ratio: float) -> Iterator[Block]:
        """The kernel's blocks; what is kept is their logarithm from now on."""
        narrow = ratio != 1 and self.epsilon == self._last
        windows = self._windows(ratio) if narrow else [block.columns for block in self.blocks]
        for index, (block, columns) in enumerate(zip(self.blocks, windows, strict=True)):
            logarithms = block.entries[:, columns].contiguous() if narrow else block.entries
            if not self.logarithmic:
                logarithms.log2_()
            if ratio != 1:
                logarithms.mul_(ratio).clamp_(min=self.lowest)
            if narrow:  # in the memory of the whole block
                logarithms = block.entries.flatten()[: logarithms.numel()].view_as(logarithms).copy_(logarithms)
                self.blocks[index] = Block(block.rows, columns, logarithms)
            yield Block(block.rows, columns, logarithms.exp2())
        self.logarithmic = True

    def _windows(self, ratio: float) -> list[slice]:
        """For each block, the points from the first to the last one that may show in a product after the next power.

        What is left out of a product is at most as many entries as it has, each below ``small``.
        """
        self.bound = max(self.bound, RESERVE * self._least**ratio)
        small = torch.finfo(self.nearest.dtype).eps * self.bound / max(len(self.nearest), self._above.shape[1])
        kept = (self._above < -self.epsilon * math.log(small)).int()
        first, last = kept.argmax(1).tolist(), (kept.shape[1] - kept.flip(1).argmax(1)).tolist()
        width = len(self.nearest) // len(kept)
        rows = [slice(block.rows.start // width, block.rows.stop // width) for block in self.blocks]
        return [slice(min(first[part]), max(last[part])) for part in rows]
