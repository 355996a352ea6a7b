"""Entropic optimal transport on a whole cost matrix, balanced and unbalanced: converged, or iteration by iteration."""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive, check_whole
from workbench.tensor_checks import check_not_negative, check_tensor
from workbench.transport.newton import DIRECT, NewtonResult, newton_method, newton_step
from workbench.transport.plan import TransportPlan

ENTROPIES = ("shannon", "relative")


@dataclass(frozen=True)
class DenseProblem:
    r"""An entropic transport problem on rows and columns of positive mass.

    The plan is :math:`P_{ij} = \exp((f_i + g_j - C_{ij}) / \varepsilon + \rho_i + \sigma_j)`; rho and sigma are zero
    for the Shannon entropy, log a and log b for the relative one.
    """

    cost: Float[Tensor, "n m"]
    log_a: Float[Tensor, "n"]
    log_b: Float[Tensor, "m"]
    epsilon: float
    tau: float | None
    relative: bool

    @property
    def damping(self) -> float:
        """The exponent lambda of an update; 1 where the marginals must hold."""
        return 1.0 if self.tau is None else self.tau / (self.tau + self.epsilon)

    def target(self, log_mass: Tensor, potential: Tensor) -> Tensor:
        """The logarithm of the marginal that belongs to a potential: mass exp(-potential / tau)."""
        return log_mass if self.tau is None else log_mass - potential / self.tau

    def row_potential(self, g: Float[Tensor, "m"], cost: Tensor, log_a: Tensor) -> Float[Tensor, "n"]:
        """The row potential that answers g: one half of an update, on logarithms."""
        scores = (g - cost) / self.epsilon + (self.log_b if self.relative else 0)
        reached = torch.logsumexp(scores, dim=1)
        return self.damping * self.epsilon * ((0 if self.relative else log_a) - reached)

    def exponent(self, f: Float[Tensor, "n"], g: Float[Tensor, "m"]) -> Float[Tensor, "n m"]:
        """The logarithm of the plan, a scaled kernel."""
        rows = f / self.epsilon + (self.log_a if self.relative else 0)
        columns = g / self.epsilon + (self.log_b if self.relative else 0)
        return rows[:, None] + columns - self.cost / self.epsilon


@dataclass(frozen=True)
class DenseIterate:
    """The plan that a column potential gives, and how far it is from the fixed point."""

    f: Float[Tensor, "n"]
    g: Float[Tensor, "m"]
    log_plan: Float[Tensor, "n m"]
    log_rows: Float[Tensor, "n"]
    log_columns: Float[Tensor, "m"]
    violation: Float[Tensor, "m"]
    largest: float

    @property
    def size(self) -> float:
        """The largest relative violation."""
        return float(self.violation.abs().max())

    @property
    def span(self) -> float:
        """The largest number that an exponent is made of, in the unit of the cost."""
        return float(self.f.abs().max() + self.g.abs().max()) + self.largest

    def correction(self, damping: float) -> Float[Tensor, "m"]:
        """The step that Newton's method takes, in units of epsilon."""
        half_rows, half_columns = self.log_rows / 2, self.log_columns / 2
        normal = (self.log_plan - half_rows[:, None] - half_columns).exp()  # its singular values are at most 1
        root = (half_columns - half_columns.max()).exp().clamp(min=torch.finfo(normal.dtype).tiny)

        if len(root) <= DIRECT and damping < 1:  # balanced plans that fall apart make the matrix singular
            jacobian = torch.eye(len(root)).to(normal) / damping - damping * (normal.T @ normal)
            return torch.linalg.solve(jacobian, root * self.violation) / root

        def share(x: Tensor) -> Tensor:
            return (normal.T @ (normal @ (root * x))) / root

        return newton_step(share, root.square(), self.violation, damping, tolerance=min(0.1, self.size))


def iterate_at(problem: DenseProblem, g: Float[Tensor, "m"]) -> DenseIterate:
    """Answer g with the row potential and measure the columns: the fixed-point equation of the rows holds exactly."""
    f = problem.row_potential(g, problem.cost, problem.log_a)
    log_plan = problem.exponent(f, g)
    log_columns = torch.logsumexp(log_plan, dim=0)
    violation = log_columns - problem.target(problem.log_b, g)
    largest = float(problem.cost.abs().max())
    return DenseIterate(f, g, log_plan, problem.target(problem.log_a, f), log_columns, violation, largest)


def converge(
    problem: DenseProblem, g: Float[Tensor, "m"], tolerance: float, max_iterations: int
) -> NewtonResult[DenseIterate]:
    """Newton's method on a problem that is held as a matrix."""
    return newton_method(
        partial(iterate_at, problem),
        g,
        damping=problem.damping,
        epsilon=problem.epsilon,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def annealed(problem: DenseProblem, most: int = 20) -> Float[Tensor, "m"]:
    """A column potential to start from: epsilon halves from the largest cost down, each time solved roughly."""
    g = torch.zeros_like(problem.log_b)
    span = float(problem.cost.max() - problem.cost.min())
    for power in range(max(math.ceil(math.log2(max(span, problem.epsilon) / problem.epsilon)), 0), 0, -1):
        coarse = replace(problem, epsilon=problem.epsilon * 2**power)
        g = converge(coarse, g, 0.1, most).best.g
    return g


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
    r"""The converged entropic optimal transport plan [GL 5], [GL 7], [GL 8].

    .. math:: \min_{P \ge 0} \langle C, P \rangle - \varepsilon H(P) + \tau \mathrm{KL}(P 1 | a)
              + \tau \mathrm{KL}(P^\top 1 | b)

    With ``tau=None`` the marginals must hold instead. The entropy is :math:`H(P) = -\sum P (\log P - 1)`: with the
    paper's :math:`-\sum P \log P` the minimiser has the same form, but where the mass is free its scalings are not
    those of the paper's iterations. With ``entropy="relative"`` the regulariser is
    :math:`+ \varepsilon \mathrm{KL}(P | a b^\top)`. The plan is

    .. math:: P_{ij} = e^{(f_i + g_j - C_{ij}) / \varepsilon} \;\text{(Shannon)}, \qquad
              P_{ij} = a_i b_j e^{(f_i + g_j - C_{ij}) / \varepsilon} \;\text{(relative)},

    so :math:`u = e^{f / \varepsilon}` and :math:`v = e^{g / \varepsilon}` scale the Gibbs kernel. At the solution
    :math:`P 1 = a e^{-f / \tau}` and :math:`P^\top 1 = b e^{-g / \tau}`. Balanced potentials are determined up to a
    constant that moves from f to g; in the result the b-weighted mean of g is zero.

    Where a_i is zero the row of the plan is zero. Its potential is the answer to the final g (for the Shannon entropy,
    with the smallest normal number in place of a_i). The same holds for columns where b_j is zero.

    No gradient flows through the result. Newton's method runs while epsilon halves from the largest cost to its value,
    then until it has converged.

    Args:
        cost: (n, m), finite.
        a: (n,), mass of each row, >= 0.
        b: (m,), mass of each column, >= 0.
        epsilon: entropic regularisation, in the unit of the cost.
        tau: weight of the marginals' divergence, in the unit of the cost; None: the marginals must hold.
        entropy: "shannon" or "relative".
        tolerance: the residual to reach, see :class:`TransportPlan`; rounding of ``cost / epsilon`` bounds it below.
        max_iterations: most updates of the column potential at the final epsilon.
        column_potential: (m,), where to start; then epsilon has its final value from the first update on.

    Returns:
        The plan, its marginals and potentials, and how far they are from the fixed point.

    Raises:
        TypeError: cost, a or b are not floating-point tensors.
        ValueError: shapes that do not fit, negative masses, masses that disagree though ``tau`` is None, a number out
            of range.

    Reference:
        Wan, Liu and Chan, "A Generalized Loss Function for Crowd Counting and Localization", CVPR 2021, sec. 3.3;
        Chizat et al., "Scaling algorithms for unbalanced optimal transport problems", Mathematics of Computation 2018;
        Brauer, Clason, Lorenz and Wirth, "A Sinkhorn-Newton method for entropic optimal transport", 2017.
    """
    _check_problem(cost, a, b, epsilon, tau, tolerance)
    check_whole(max_iterations, "max_iterations")
    check_choice(entropy, ENTROPIES, "entropy")
    if column_potential is not None:
        check_tensor(column_potential, "column_potential", shape=(cost.shape[1],))
    with torch.no_grad():
        start = None if column_potential is None else column_potential.to(cost)
        return _solve(cost, a.to(cost), b.to(cost), epsilon, tau, entropy, tolerance, max_iterations, start)


def sinkhorn_iterations(
    cost: Float[Tensor, "n m"],
    a: Float[Tensor, "n"],
    b: Float[Tensor, "m"],
    *,
    epsilon: float,
    tau: float | None = None,
    iterations: int = 1,
    tolerance: float = 1e-6,
) -> TransportPlan:
    r"""The plan after the first Sinkhorn iterations from u = v = 1, at one epsilon [GL 6], balanced [GL 9].

    .. math:: u \leftarrow \Big(\frac{a}{K v}\Big)^\lambda, \quad v \leftarrow \Big(\frac{b}{K^\top u}\Big)^\lambda,
              \qquad \lambda = \frac{\tau}{\tau + \varepsilon}, \; K = e^{-C / \varepsilon}

    Computed on logarithms. It shows what a plan looks like before it has converged; :func:`sinkhorn` converges it.

    Args:
        cost: (n, m).
        a: (n,), mass of each row, >= 0.
        b: (m,), mass of each column, >= 0.
        epsilon: entropic regularisation, in the unit of the cost.
        tau: weight of the marginals' divergence; None: the marginals must hold once it has converged.
        iterations: how many, each of both updates.
        tolerance: residual at which the plan counts as converged.

    Returns:
        The plan. Its column equation holds, so ``residual`` is the largest relative violation of the row equation.

    Raises:
        TypeError: cost, a or b are not floating-point tensors.
        ValueError: shapes that do not fit, negative masses, masses that disagree though ``tau`` is None, a number out
            of range.
    """
    _check_problem(cost, a, b, epsilon, tau, tolerance)
    check_whole(iterations, "iterations")
    with torch.no_grad():
        return _iterated(cost, a.to(cost), b.to(cost), epsilon, tau, iterations, tolerance)


def _check_problem(cost: Tensor, a: Tensor, b: Tensor, epsilon: float, tau: float | None, tolerance: float) -> None:
    """Raise what is wrong with the arguments that both functions take."""
    check_tensor(cost, "cost", shape=(None, None))
    check_tensor(a, "a", shape=(cost.shape[0],))
    check_tensor(b, "b", shape=(cost.shape[1],))
    for mass, name in ((a, "a"), (b, "b")):
        check_not_negative(mass, name)
    check_positive(epsilon, "epsilon")
    check_positive(tolerance, "tolerance")
    if tau is not None:
        check_positive(tau, "tau")
        return
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
    problem = DenseProblem(kept, a[rows].log(), b[columns].log(), epsilon, tau, entropy == "relative")
    g = torch.zeros_like(b)
    converged, iterations, residual = True, 0, 0.0
    if kept.numel():
        warm = annealed(problem) if start is None else start[columns]
        outcome = converge(problem, warm, tolerance, max_iterations)
        converged, iterations, residual = outcome.converged, outcome.iterations, outcome.residual
        g[columns] = outcome.best.g
        if tau is None:
            g[columns] -= (b[columns] * outcome.best.g).sum() / b[columns].sum()
    f = a.new_zeros(len(a))
    tiny = torch.finfo(cost.dtype).tiny
    if columns.any():
        f = problem.row_potential(g[columns], cost[:, columns], a.clamp(min=tiny).log())
    if rows.any() and not columns.all():
        mirrored = DenseProblem(kept.T, problem.log_b, problem.log_a, epsilon, tau, problem.relative)
        g[~columns] = mirrored.row_potential(f[rows], cost[rows][:, ~columns].T, b[~columns].clamp(min=tiny).log())
    matrix = torch.zeros_like(cost)
    if kept.numel():
        matrix[rows[:, None] & columns] = problem.exponent(f[rows], g[columns]).exp().flatten()
    return TransportPlan.of(matrix, f, g, converged=converged, iterations=iterations, residual=residual)


def _iterated(
    cost: Tensor, a: Tensor, b: Tensor, epsilon: float, tau: float | None, iterations: int, tolerance: float
) -> TransportPlan:
    rows, columns = a > 0, b > 0
    kept, log_a, log_b = cost[rows][:, columns], a[rows].log(), b[columns].log()
    forth = DenseProblem(kept, log_a, log_b, epsilon, tau, relative=False)
    back = DenseProblem(kept.T, log_b, log_a, epsilon, tau, relative=False)
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    matrix, residual = torch.zeros_like(cost), 0.0
    if kept.numel():
        upper, lower = torch.zeros_like(log_a), torch.zeros_like(log_b)
        for _ in range(iterations):
            upper = forth.row_potential(lower, kept, log_a)
            lower = back.row_potential(upper, kept.T, log_b)
        log_plan = forth.exponent(upper, lower)
        reached = log_plan.logsumexp(dim=1) - forth.target(log_a, upper)
        residual = float(torch.expm1(reached).abs().max())
        f[rows], g[columns] = upper, lower
        matrix[rows[:, None] & columns] = log_plan.exp().flatten()
    return TransportPlan.of(matrix, f, g, converged=residual <= tolerance, iterations=iterations, residual=residual)
