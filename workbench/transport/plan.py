"""A transport plan, and the two plans that half an iteration gives."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive
from workbench.tensor_checks import check_not_negative, check_tensor


@dataclass(frozen=True)
class TransportPlan:
    """What :func:`workbench.transport.sinkhorn` returns.

    Attributes:
        matrix: (n, m), the mass that moves from row i to column j.
        row_marginal: (n,), the mass that leaves each row.
        column_marginal: (m,), the mass that arrives at each column.
        row_potential: (n,), f.
        column_potential: (m,), g.
        converged: whether ``residual`` came down to what was asked for, or to rounding.
        iterations: how many times the column potential was updated.
        residual: the largest relative violation of a fixed-point equation, and the largest step, in units of epsilon,
            that Newton's method still wants a column potential to make; the larger of the two.
    """

    matrix: Float[Tensor, "n m"]
    row_marginal: Float[Tensor, "n"]
    column_marginal: Float[Tensor, "m"]
    row_potential: Float[Tensor, "n"]
    column_potential: Float[Tensor, "m"]
    converged: bool
    iterations: int
    residual: float


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
    r"""The plan after the first half of an iteration: each row's mass shared among the columns.

    .. math:: \hat P_{ij} = \Big[\frac{a}{K v}\Big]_i K_{ij} v_j,
              \quad K = e^{-C / \varepsilon}, \; v = e^{g / \varepsilon}

    Eq. (10); with :math:`v = 1` and the squared distance the posterior of the Bayesian loss, sec. 4.3.

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
    r"""The plan after the other half of an iteration: each column's mass spread over the rows.

    .. math:: \tilde P_{ij} = u_i K_{ij} \Big[\frac{b}{K^\top u}\Big]_j,
              \quad K = e^{-C / \varepsilon}, \; u = e^{f / \varepsilon}

    Eq. (10); with :math:`u = 1` and the squared distance the Gaussian density map of variance epsilon / 2, sec. 4.2.

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
