"""Entropic optimal transport between two weighted sets, balanced and unbalanced."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive, check_whole
from workbench.tensor_checks import check_not_negative, check_tensor
from workbench.transport.newton import Problem, annealed, converge
from workbench.transport.plan import TransportPlan

ENTROPIES = ("shannon", "relative")


def sinkhorn(
    cost: Float[Tensor, "n m"],
    a: Float[Tensor, "n"],
    b: Float[Tensor, "m"],
    *,
    epsilon: float,
    tau: float | None = None,
    entropy: str = "shannon",
    tolerance: float = 1e-6,
    max_iterations: int = 500,
    column_potential: Float[Tensor, "m"] | None = None,
) -> TransportPlan:
    r"""The entropic optimal transport plan, converged.

    .. math:: \min_{P \ge 0} \langle C, P \rangle - \varepsilon H(P) + \tau \mathrm{KL}(P 1 | a)
              + \tau \mathrm{KL}(P^\top 1 | b)

    Eq. (1) with the divergences that eq. (5) and (6) solve it for, and :math:`H(P) = -\sum P (\log P - 1)`: the
    minimiser of eq. (1) with :math:`-\sum P \log P` has the same form, but not the scalings of eq. (6) where the mass
    is free. With ``tau=None`` the marginals must hold instead.
    With ``entropy="relative"`` the regulariser is :math:`+ \varepsilon \mathrm{KL}(P | a b^\top)`. The plan is

    .. math:: P_{ij} = e^{(f_i + g_j - C_{ij}) / \varepsilon} \;\text{(Shannon)}, \qquad
              P_{ij} = a_i b_j e^{(f_i + g_j - C_{ij}) / \varepsilon} \;\text{(relative)},

    so :math:`u = e^{f / \varepsilon}` and :math:`v = e^{g / \varepsilon}` are the scalings of eq. (5). At the solution
    :math:`P 1 = a e^{-f / \tau}` and :math:`P^\top 1 = b e^{-g / \tau}`. Balanced potentials are determined up to a
    constant that moves from f to g; the one returned has the b-weighted mean of g zero.

    Where a_i is zero the row of the plan is zero; its potential is the value that the final g gives it (for the
    Shannon entropy with the smallest normal number in place of a_i = 0); columns with b_j zero likewise.

    The result is a constant: no gradient flows through it. Sweeps run while epsilon falls from the largest cost to its
    value, then Newton's method with a sweep wherever a step does not help.

    Args:
        cost: (n, m), finite.
        a: (n,), mass of each row, >= 0.
        b: (m,), mass of each column, >= 0.
        epsilon: entropic regularisation, in the unit of the cost.
        tau: weight of the marginals' divergence, in the unit of the cost; None: the marginals must hold.
        entropy: "shannon" or "relative".
        tolerance: the residual to reach, see :class:`TransportPlan`; rounding of ``cost / epsilon`` bounds it below.
        max_iterations: most updates of the column potential at the final epsilon.
        column_potential: (m,), where to start from; then epsilon does not fall but is its value from the first sweep.

    Returns:
        The plan, its marginals and potentials, and how far they are from the fixed point.

    Raises:
        TypeError: cost, a or b are not floating-point tensors.
        ValueError: shapes that do not fit, negative masses, masses that disagree though ``tau`` is None, a number out
            of range.

    Reference:
        Wan, Liu and Chan, CVPR 2021, eq. (1), (5), (6); Chizat et al., "Scaling algorithms for unbalanced optimal
        transport problems", Mathematics of Computation 2018; Brauer, Clason, Lorenz and Wirth, "A Sinkhorn-Newton
        method for entropic optimal transport", 2017.
    """
    check_tensor(cost, "cost", shape=(None, None))
    check_tensor(a, "a", shape=(cost.shape[0],))
    check_tensor(b, "b", shape=(cost.shape[1],))
    for mass, name in ((a, "a"), (b, "b")):
        check_not_negative(mass, name)
    check_positive(epsilon, "epsilon")
    check_positive(tolerance, "tolerance")
    check_whole(max_iterations, "max_iterations")
    check_choice(entropy, ENTROPIES, "entropy")
    if tau is not None:
        check_positive(tau, "tau")
    else:
        check_balance(a, b)
    if column_potential is not None:
        check_tensor(column_potential, "column_potential", shape=(cost.shape[1],))
    with torch.no_grad():
        start = None if column_potential is None else column_potential.to(cost)
        return _solve(cost, a.to(cost), b.to(cost), epsilon, tau, entropy, tolerance, max_iterations, start)


def check_balance(a: Tensor, b: Tensor) -> None:
    """Raise ``ValueError`` unless a and b have the same total mass, up to rounding."""
    total_a, total_b = float(a.double().sum()), float(b.double().sum())
    if not math.isclose(total_a, total_b, rel_tol=64 * torch.finfo(a.dtype).eps * max(len(a), len(b)) ** 0.5):
        raise ValueError(
            f"a holds a mass of {total_a:g} and b of {total_b:g}, expected the same mass (or a tau: unbalanced)"
        )


def _solve(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    epsilon: float,
    tau: float | None,
    entropy: str,
    tolerance: float,
    max_iterations: int,
    start: Tensor | None,
) -> TransportPlan:
    rows, columns = a > 0, b > 0
    kept = cost[rows][:, columns]
    problem = Problem(kept, a[rows].log(), b[columns].log(), epsilon, tau, entropy == "relative")
    g = torch.zeros_like(b)
    converged, iterations, residual = True, 0, 0.0
    if kept.numel():
        warm = annealed(problem) if start is None else start[columns]
        outcome = converge(problem, warm, tolerance, max_iterations)
        converged, iterations, residual = outcome.converged, outcome.iterations, outcome.residual
        g[columns] = outcome.state.g
        if tau is None:
            g[columns] -= (b[columns] * outcome.state.g).sum() / b[columns].sum()
    f = a.new_zeros(len(a))
    tiny = torch.finfo(cost.dtype).tiny
    if columns.any():
        f = problem.row_potential(g[columns], cost[:, columns], a.clamp(min=tiny).log())
    if rows.any() and not columns.all():
        mirrored = Problem(kept.T, problem.log_b, problem.log_a, epsilon, tau, problem.relative)
        g[~columns] = mirrored.row_potential(f[rows], cost[rows][:, ~columns].T, b[~columns].clamp(min=tiny).log())
    matrix = torch.zeros_like(cost)
    if kept.numel():
        matrix[rows[:, None] & columns] = problem.exponent(f[rows], g[columns]).exp().flatten()
    return TransportPlan(matrix, matrix.sum(1), matrix.sum(0), f, g, converged, iterations, residual)
