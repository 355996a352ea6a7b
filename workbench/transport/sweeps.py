"""Sinkhorn's iterations one by one: what a plan looks like before it has converged."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive, check_whole
from workbench.tensor_checks import check_not_negative, check_tensor
from workbench.transport.newton import Problem
from workbench.transport.plan import TransportPlan
from workbench.transport.sinkhorn import check_balance


def swept(
    cost: Float[Tensor, "n m"],
    a: Float[Tensor, "n"],
    b: Float[Tensor, "m"],
    *,
    epsilon: float,
    tau: float | None = None,
    sweeps: int = 1,
    tolerance: float = 1e-6,
) -> TransportPlan:
    r"""The plan after the first sweeps of Sinkhorn's algorithm from u = v = 1, at one epsilon throughout.

    .. math:: u \leftarrow \Big(\frac{a}{K v}\Big)^\lambda, \quad v \leftarrow \Big(\frac{b}{K^\top u}\Big)^\lambda,
              \qquad \lambda = \frac{\tau}{\tau + \varepsilon}, \; K = e^{-C / \varepsilon}

    Eq. (5) and (6) of the generalized-loss paper, computed on logarithms. See :func:`workbench.transport.sinkhorn` for
    the converged plan.

    Args:
        cost: (n, m).
        a: (n,), mass of each row, >= 0.
        b: (m,), mass of each column, >= 0.
        epsilon: entropic regularisation, in the unit of the cost.
        tau: weight of the marginals' divergence; None: the marginals must hold once it has converged.
        sweeps: how many, each of both updates.
        tolerance: residual at which the plan counts as converged.

    Returns:
        The plan. Its column equation holds, so ``residual`` is the largest relative violation of the row equation;
        ``iterations`` is the number of sweeps.

    Raises:
        TypeError: cost, a or b are not floating-point tensors.
        ValueError: shapes that do not fit, negative masses, masses that disagree though ``tau`` is None, a number out
            of range.
    """
    check_tensor(cost, "cost", shape=(None, None))
    check_tensor(a, "a", shape=(cost.shape[0],))
    check_tensor(b, "b", shape=(cost.shape[1],))
    for mass, name in ((a, "a"), (b, "b")):
        check_not_negative(mass, name)
    check_positive(epsilon, "epsilon")
    check_positive(tolerance, "tolerance")
    check_whole(sweeps, "sweeps")
    if tau is None:
        check_balance(a, b)
    else:
        check_positive(tau, "tau")
    with torch.no_grad():
        return _sweep(cost, a.to(cost), b.to(cost), epsilon, tau, sweeps, tolerance)


def _sweep(
    cost: Tensor, a: Tensor, b: Tensor, epsilon: float, tau: float | None, sweeps: int, tolerance: float
) -> TransportPlan:
    rows, columns = a > 0, b > 0
    kept, log_a, log_b = cost[rows][:, columns], a[rows].log(), b[columns].log()
    forth = Problem(kept, log_a, log_b, epsilon, tau, relative=False)
    back = Problem(kept.T, log_b, log_a, epsilon, tau, relative=False)
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    matrix, residual = torch.zeros_like(cost), 0.0
    if kept.numel():
        upper, lower = torch.zeros_like(log_a), torch.zeros_like(log_b)
        for _ in range(sweeps):
            upper = forth.row_potential(lower, kept, log_a)
            lower = back.row_potential(upper, kept.T, log_b)
        log_plan = forth.exponent(upper, lower)
        reached = log_plan.logsumexp(dim=1) - forth.target(log_a, upper)
        residual = float(torch.expm1(reached).abs().max())
        f[rows], g[columns] = upper, lower
        matrix[rows[:, None] & columns] = log_plan.exp().flatten()
    return TransportPlan(matrix, matrix.sum(1), matrix.sum(0), f, g, residual <= tolerance, sweeps, residual)
