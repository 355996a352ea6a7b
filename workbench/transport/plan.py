"""A transport plan, which every entropic solver of this package returns, and the two plans of half an iteration."""

import warnings
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.checks import check_positive
from workbench.tensor_checks import check_not_negative, check_tensor


@dataclass(frozen=True)
class Support:
    """The pairs of a row and a column on which a sparse plan may be positive, sorted by row.

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
    """The stable order that sorts indices below ``size``; short integers sort several times faster."""
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
class TransportPlan:
    """The result of every entropic solver of this package.

    A plan of :func:`workbench.transport.batched_sinkhorn` has a batch axis in front of everything but ``iterations``.

    Attributes:
        matrix: (n, m), the mass that moves from row i to column j; sparse (CSR) where there is a support.
        transposed: (m, n), the same transposed, as dense or sparse as the matrix.
        row_marginal: (n,), the mass that leaves each row.
        column_marginal: (m,), the mass that arrives at each column.
        row_potential: (n,), f.
        column_potential: (m,), g.
        converged: whether ``residual`` came down to what was asked for, or to rounding.
        iterations: how many times the column potential was updated.
        residual: the largest relative violation of a fixed-point equation. :func:`workbench.transport.sinkhorn` also
            counts the largest step, in units of epsilon, that Newton's method would still take.
        support: the pairs that a sparse matrix holds, with their costs; None: the matrix is dense.
    """

    matrix: Float[Tensor, "*b n m"]
    transposed: Float[Tensor, "*b m n"]
    row_marginal: Float[Tensor, "*b n"]
    column_marginal: Float[Tensor, "*b m"]
    row_potential: Float[Tensor, "*b n"]
    column_potential: Float[Tensor, "*b m"]
    converged: bool | Tensor
    iterations: int
    residual: float | Tensor
    support: Support | None = None

    @classmethod
    def of(
        cls,
        matrix: Float[Tensor, "n m"],
        row_potential: Float[Tensor, "n"],
        column_potential: Float[Tensor, "m"],
        *,
        converged: bool = True,
        iterations: int = 0,
        residual: float = 0.0,
    ) -> "TransportPlan":
        """The plan of a dense matrix, whose marginals are its sums."""
        sums = matrix.sum(1), matrix.sum(0)
        return cls(matrix, matrix.T, *sums, row_potential, column_potential, converged, iterations, residual)

    @classmethod
    def on(
        cls,
        support: Support,
        values: Float[Tensor, "k"],
        row_potential: Float[Tensor, "n"],
        column_potential: Float[Tensor, "m"],
    ) -> "TransportPlan":
        """The plan of one value a pair of a support."""
        matrix, transposed = support.matrix(values), support.transposed(values)
        sums = matrix @ torch.ones_like(column_potential), transposed @ torch.ones_like(row_potential)
        return cls(matrix, transposed, *sums, row_potential, column_potential, True, 0, 0.0, support)

    @property
    def entries(self) -> Tensor:
        """The numbers that the matrix holds: (n, m), or (k,) on a support."""
        return self.matrix if self.support is None else self.matrix.values()

    def row_sums(self, weight: Tensor) -> Float[Tensor, "*b n"]:
        """The sum over each row of weight times plan, one weight an entry."""
        if self.support is None:
            return (weight * self.matrix).sum(-1)
        return self.support.matrix(weight * self.entries) @ torch.ones_like(self.column_marginal)

    def column_sums(self, weight: Tensor) -> Float[Tensor, "*b m"]:
        """The sum over each column of weight times plan, one weight an entry."""
        if self.support is None:
            return (weight * self.matrix).sum(-2)
        return self.support.transposed(weight * self.entries) @ torch.ones_like(self.row_marginal)


def shannon_entropy(matrix: Float[Tensor, "n m"]) -> Float[Tensor, ""]:
    r""":math:`H(P) = -\sum_{ij} P_{ij} \log P_{ij}`, with 0 log 0 = 0."""
    return -torch.xlogy(matrix, matrix).sum()


def row_plan(
    cost: Float[Tensor, "n m"],
    a: Float[Tensor, "n"],
    *,
    epsilon: float,
    column_potential: Float[Tensor, "m"] | None = None,
) -> Float[Tensor, "n m"]:
    r"""The plan after the first half of an iteration [GL 10]: each row's mass shared among the columns.

    .. math:: \hat P_{ij} = \Big[\frac{a}{K v}\Big]_i K_{ij} v_j,
              \quad K = e^{-C / \varepsilon}, \; v = e^{g / \varepsilon}

    With :math:`v = 1` and the squared distance, the shares of a row are the posterior of the Bayesian loss, sec. 4.3.

    Args:
        cost: (n, m).
        a: (n,), mass of each row; differentiable.
        epsilon: entropic regularisation, in the unit of the cost.
        column_potential: (m,), g; zeros if None.

    Returns:
        (n, m); its rows sum to ``a`` (where there is a column at all).
    """
    _check(cost, a, epsilon, "a", dim=0)
    scores = -cost if column_potential is None else column_potential - cost
    return a[:, None] * torch.softmax(scores / epsilon, dim=1)


def column_plan(
    cost: Float[Tensor, "n m"],
    b: Float[Tensor, "m"],
    *,
    epsilon: float,
    row_potential: Float[Tensor, "n"] | None = None,
) -> Float[Tensor, "n m"]:
    r"""The plan after the second half of an iteration, as :func:`row_plan`: each column's mass spread over the rows.

    .. math:: \tilde P_{ij} = u_i K_{ij} \Big[\frac{b}{K^\top u}\Big]_j,
              \quad K = e^{-C / \varepsilon}, \; u = e^{f / \varepsilon}

    With :math:`u = 1` and the squared distance, its row sums are the Gaussian density map of variance epsilon / 2,
    sec. 4.2.

    Args:
        cost: (n, m).
        b: (m,), mass of each column; differentiable.
        epsilon: entropic regularisation, in the unit of the cost.
        row_potential: (n,), f; zeros if None.

    Returns:
        (n, m); its columns sum to ``b``.
    """
    _check(cost, b, epsilon, "b", dim=1)
    scores = -cost if row_potential is None else row_potential[:, None] - cost
    return torch.softmax(scores / epsilon, dim=0) * b


def _check(cost: Tensor, mass: Tensor, epsilon: float, name: str, dim: int) -> None:
    check_tensor(cost, "cost", shape=(None, None))
    check_tensor(mass, name, shape=(cost.shape[dim],))
    check_not_negative(mass, name)
    check_positive(epsilon, "epsilon")
