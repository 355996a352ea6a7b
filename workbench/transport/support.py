r"""A transport problem on the pairs that matter.

At the epsilon of a crowd-counting loss a cell sends its density to the handful of points around it: all other entries
of the plan are zero to any precision. :class:`Support` holds the pairs that are kept, row by row, and
:class:`SupportProblem` is the problem of eq. (5) and (6) on them, a few per cent of the n x m pairs.
"""

import math
import warnings
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.transport.newton import DIRECT, newton_step


@dataclass(frozen=True)
class Support:
    """Pairs of a row and a column, sorted by row.

    Attributes:
        rows: (k,), the row of each pair.
        columns: (k,), its column.
        cost: (k,), its cost.
        shape: (n, m).
    """

    rows: Int[Tensor, "k"]
    columns: Int[Tensor, "k"]
    cost: Float[Tensor, "k"]
    shape: tuple[int, int]

    @cached_property
    def by_row(self) -> Int[Tensor, "_"]:
        """Where each row's pairs begin."""
        return _begins(self.rows, self.shape[0])

    @cached_property
    def by_column(self) -> tuple[Int[Tensor, "_"], Int[Tensor, "k"], Int[Tensor, "k"]]:
        """Where each column's pairs begin in the order of columns, that order, and the rows in it."""
        order = sorting_order(self.columns, self.shape[1])
        return _begins(self.columns, self.shape[1]), order, self.rows.index_select(0, order)

    def matrix(self, values: Float[Tensor, "k"]) -> Tensor:
        """The sparse (n, m) matrix with one value a pair."""
        return _compressed(self.by_row, self.columns, values, self.shape)

    def transposed(self, values: Float[Tensor, "k"]) -> Tensor:
        """The sparse (m, n) matrix."""
        begins, order, rows = self.by_column
        return _compressed(begins, rows, values.index_select(0, order), (self.shape[1], self.shape[0]))


def sorting_order(indices: Int[Tensor, "k"], size: int) -> Int[Tensor, "k"]:
    """What sorts indices below ``size``, stably; short integers sort several times faster."""
    return torch.argsort(indices.short() if size < 1 << 15 else indices, stable=True)


def _begins(indices: Tensor, size: int) -> Tensor:
    """Where each of ``size`` groups begins, for sorted indices."""
    begins = torch.zeros(size + 1, dtype=torch.int32, device=indices.device)
    torch.cumsum(torch.bincount(indices, minlength=size), 0, out=begins[1:])
    return begins


def _compressed(begins: Tensor, indices: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.sparse_csr_tensor(begins, indices, values, size=shape, check_invariants=False)


with warnings.catch_warnings():  # torch says once in a process that these matrices are in beta state
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
    _compressed(torch.zeros(2, dtype=torch.int32), torch.zeros(0, dtype=torch.int32), torch.zeros(0), (1, 1))


@dataclass(frozen=True)
class SupportProblem:
    r"""The unbalanced problem with the Shannon entropy on a support.

    Attributes:
        support: the pairs.
        log_a: (n,), -inf in rows of no mass.
        log_b: (m,).
        start: (m,), a column potential.
        shift: (n,), the least C - start of each row: what keeps :math:`\exp((g - C + s) / \varepsilon)` in range.
        epsilon: entropic regularisation.
        tau: weight of the marginals' divergence.
    """

    support: Support
    log_a: Float[Tensor, "n"]
    log_b: Float[Tensor, "m"]
    start: Float[Tensor, "m"]
    shift: Float[Tensor, "n"]
    epsilon: float
    tau: float

    @property
    def damping(self) -> float:
        """The exponent lambda of eq. (6)."""
        return self.tau / (self.tau + self.epsilon)

    @cached_property
    def base(self) -> Float[Tensor, "k"]:
        """The part of the exponent that does not change."""
        return self.shift.index_select(0, self.support.rows).sub_(self.support.cost).div_(self.epsilon)

    def anchor(self, g: Float[Tensor, "m"]) -> Float[Tensor, "n"]:
        """The shift for g: less by how far g has risen anywhere above the start."""
        return self.shift - (g - self.start).amax()

    def exponent(self, g: Float[Tensor, "m"]) -> Float[Tensor, "k"]:
        """The logarithm of the plan but for a factor a row, (g - C + anchor) / epsilon: none above zero."""
        risen = g - (g - self.start).amax()
        # (index_select is several times faster than indexing)
        return (risen / self.epsilon).index_select(0, self.support.columns).add_(self.base)

    def row_potential(self, reached: Float[Tensor, "n"], anchor: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """The row potential, from the row sums of the kernel."""
        return self.damping * (self.epsilon * (self.log_a - reached.log()) + anchor)

    def negligible(self, g: Float[Tensor, "m"], bound: Float[Tensor, "n"], share: float) -> bool:
        """Whether pairs with C - start above ``bound`` in their row hold less than a share of each row and column at g.

        The plan on such a pair is at most exp((f + g - start - bound) / epsilon).
        """
        f = self.evaluate(g).f
        row, column = self.log_a - f / self.tau, self.log_b - g / self.tau  # at the fixed point the marginals
        most = (f + (g - self.start).amax() - bound) / self.epsilon
        kept = torch.isfinite(self.log_a)
        if not bool(torch.isfinite(row[kept]).all()):
            return False  # g has left the range of the kernel
        missing_rows = (most - row)[kept].amax() + math.log(len(g))
        missing_columns = torch.logsumexp(most[kept], 0) - column.amin()
        return float(torch.maximum(missing_rows, missing_columns)) < math.log(share)

    def evaluate(self, g: Float[Tensor, "m"]) -> "SupportState":
        """Answer g with the row potential and measure the columns."""
        values = self.exponent(g).exp_()
        kernel, turned = self.support.matrix(values), self.support.transposed(values)
        reached = kernel @ torch.ones_like(g)
        anchor = self.anchor(g)
        f = self.row_potential(reached, anchor)
        scale = ((f - anchor) / self.epsilon).exp_()
        columns = turned @ scale
        violation = columns.log() - self.log_b + g / self.tau
        return SupportState(f, g, violation, columns, scale / reached, kernel, turned, scale)


@dataclass(frozen=True)
class SupportState:
    """The plan ``diag(scale) kernel`` that a column potential gives; weight is scale over row sums of the kernel."""

    f: Float[Tensor, "n"]
    g: Float[Tensor, "m"]
    violation: Float[Tensor, "m"]
    columns: Float[Tensor, "m"]
    weight: Float[Tensor, "n"]
    kernel: Tensor
    turned: Tensor
    scale: Float[Tensor, "n"]

    @property
    def size(self) -> float:
        """The largest relative violation; infinite where a number has left its range."""
        size = float(self.violation.abs().max())
        return size if math.isfinite(size) else math.inf

    @property
    def span(self) -> float:
        """The largest number that an exponent is made of, in the unit of the cost."""
        f = self.f.where(torch.isfinite(self.f), 0)
        return float(f.abs().max() + self.g.abs().max())

    def correction(self, damping: float) -> Float[Tensor, "m"]:
        """The step that Newton's method takes, in units of epsilon."""
        if not math.isfinite(self.size):
            return self.violation

        if len(self.g) <= DIRECT:
            weighted = self.kernel.to_dense().mul_(self.weight[:, None])
            jacobian = (self.turned @ weighted).mul_(-damping / self.columns[:, None])
            jacobian.diagonal().add_(1 / damping)
            return torch.linalg.solve(jacobian, self.violation)

        def share(x: Tensor) -> Tensor:
            return (self.turned @ (self.weight * (self.kernel @ x))) / self.columns

        return newton_step(share, self.columns, self.violation, damping, tolerance=min(0.1, self.size))
