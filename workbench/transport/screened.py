r"""The plan between a map and points without an n x m array: only on the pairs of a cell and a point that matter.

At the epsilon of a crowd-counting loss a cell sends its density to the handful of points around it. All other entries
of the plan are zero to any precision, and the pairs that are left are a few per cent of all.

1. The density is pooled to some 256 places. A few Sinkhorn iterations while epsilon falls give a column potential.
2. The pairs whose :math:`C_{ij} - g_j` comes near the least of their row are kept. Newton's method solves the problem
   on them, roughly.
3. The pairs are chosen again with the new potential, and the problem on them is solved to the end. How far g has moved
   since bounds all that was left out.
4. Where that bound is not small, the third step is repeated with more pairs.
5. Newton's method may have no start, for instance where a part of the crowd is far from any density. Then all of this
   is repeated from a better first potential, that of the pooled problem solved. If that fails too, the whole matrix is
   solved.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from workbench.transport.costs import TransportCost
from workbench.transport.dense import sinkhorn
from workbench.transport.newton import DIRECT, newton_method, newton_step
from workbench.transport.plan import Support, TransportPlan, sorting_order

# Measured: forward and backward of the loss on one core, maps of 64 and 128 cells a side, 100 and 500 points.
MARGINS = (8.0, 3.0, 12.0, 30.0)  # epsilons of error in the potential, at each screening; double: 7 to 32 % slower
POOLED_PARTS = 256  # most parts that the density is pooled to; half: 18 %, double: 10 % slower on the larger map
TILE = 4  # side of a tile in cells; half: 6 to 43 % slower, double: the same
STEEPEST = 1e12  # largest slope of a pair by density, in a row of no mass; half or double: the same gradient
STIFF = 500.0  # tau / epsilon above which the plan is solved in double; below it the gradient is right to 1e-5


def screened_plan(
    density: Float[Tensor, "h w"],
    cells: Float[Tensor, "n 2"],
    points: Float[Tensor, "m 2"],
    people: Float[Tensor, "m"],
    cost: TransportCost,
    *,
    epsilon: float,
    tau: float,
    floor: float,
    row_tau: float | None = None,
) -> TransportPlan:
    """The converged plan between a map and points, as :func:`workbench.transport.sinkhorn` has it on the whole matrix.

    Args:
        density: (H, W), >= 0.
        cells: (H W, 2), normalised positions, row by row.
        points: (m, 2), normalised.
        people: (m,), >= 0, at least one above zero.
        cost: of moving density.
        epsilon: entropic regularisation.
        tau: weight of the marginals' divergence.
        floor: rows of less density are given this much in the matrix of the plan, where no entry of them is above
            ``STEEPEST`` times it. They do not count when the potentials are found.
        row_tau: weight of the rows' divergence where it is not ``tau``.

    Returns:
        The plan, sparse. Its support holds all of it but a share of less than 1e-4 (double precision: 1e-7) of each
        row and column, by a bound that is far from sharp. A point of no people receives nothing; its potential is
        zero. ``residual`` is the largest relative violation of a column, ``iterations`` the number of Newton's steps
        on the last support.
    """
    taken = people > 0
    given = (density, cells, points[taken], people[taken])
    if tau > STIFF * epsilon:
        given = (density.double(), cells.double(), given[2].double(), given[3].double())
    with torch.no_grad():
        problem, g, converged, iterations = _solved(*given, cost, epsilon, tau, row_tau or tau)
        support, log_values, f = _answered(problem, g, given[0].flatten(), floor)
        if not bool(taken.all()) or support.cost.dtype != density.dtype:
            columns = taken.nonzero().squeeze(1)[support.columns].int()
            support = Support(support.rows, columns, support.cost.to(density), (len(cells), len(points)))
        potential = torch.zeros_like(people).masked_scatter_(taken, g.to(density))
        plan = TransportPlan.on(support, log_values.exp_().to(density), f.to(density), potential)
        violation = (plan.column_marginal / people).log() + potential / tau
        residual = float(violation[taken].abs().max())
        return replace(plan, converged=converged, iterations=iterations, residual=residual)


def _solved(
    density: Tensor,
    cells: Tensor,
    points: Tensor,
    people: Tensor,
    cost: TransportCost,
    epsilon: float,
    tau: float,
    row_tau: float,
) -> tuple["SparseProblem", Tensor, bool, int]:
    """The problem on the pairs that matter, its column potential, whether it converged, and in how many steps."""
    single = density.dtype != torch.float64
    a, size = density.flatten(), (density.shape[0], density.shape[1])
    tail = 18.0 if single else 28.0  # a pair is dropped below exp(-tail) of its row
    share = 1e-4 if single else 1e-7  # what may be missing: a bound, hundreds of times what is missing
    tolerance = 1e-3 if single else 1e-6  # before Newton's last step, which squares it

    def screened(g: Tensor, reach: float) -> tuple[SparseProblem, Tensor]:
        support, least = screen(size, cells, points, cost, g, reach)
        return SparseProblem(support, a.log(), people.log(), g, least, epsilon, tau, row_tau), least + reach

    if not bool((a > 0).any()):
        g = torch.zeros_like(people)
        return screened(g, tail * epsilon)[0], g, True, 0
    mass, places = pooled(density, cells)
    for guess in (coarse_potential, solved_potential):
        g = guess(cost(places, points), mass, people, epsilon=epsilon, tau=tau)
        for turn, margin in enumerate(MARGINS):
            problem, bound = screened(g, (tail + margin) * epsilon)
            complete = len(problem.support.rows) == len(a) * len(people)
            found = newton_method(
                problem.iterate_at, g, damping=problem.damping, epsilon=epsilon,
                tolerance=tolerance if turn or complete else 0.3, max_iterations=30,
            )  # fmt: skip
            if found.residual == math.inf:  # nothing to start from
                break
            solved = found.converged or found.best.size <= tolerance
            g = found.best.g - found.step
            if solved and (complete or (turn and problem.negligible(g, bound, share))):
                return problem, g, True, found.iterations
    plan = sinkhorn(cost(cells, points), a, people, epsilon=epsilon, tau=tau)
    problem, _ = screened(plan.column_potential, math.inf)
    if row_tau == tau:
        return problem, plan.column_potential, bool(plan.converged), plan.iterations
    found = newton_method(
        problem.iterate_at, plan.column_potential, damping=problem.damping, epsilon=epsilon,
        tolerance=tolerance, max_iterations=500,
    )  # fmt: skip
    return problem, found.best.g - found.step, found.converged, found.iterations


def _answered(
    problem: "SparseProblem", g: Tensor, a: Tensor, floor: float
) -> tuple[Support, Float[Tensor, "k"], Float[Tensor, "n"]]:
    """The support, the logarithm of the plan on it and the row potential that answers g, rows below ``floor`` too."""
    problem = replace(problem, log_a=a.clamp(min=floor).log())
    log_values, anchor = problem.exponent(g), problem.anchor(g)
    reached = problem.support.matrix(log_values.exp()) @ torch.ones_like(g)
    f = problem.row_potential(reached, anchor)
    log_values.add_(((f - anchor) / problem.epsilon).index_select(0, problem.support.rows))
    empty = a < floor
    if bool(empty.any()):
        limit = torch.full_like(problem.log_a, math.inf).masked_fill_(empty, math.log(floor * STEEPEST))
        log_values = torch.minimum(log_values, limit.index_select(0, problem.support.rows))
    return problem.support, log_values, f


def pooled(
    density: Float[Tensor, "h w"], cells: Float[Tensor, "n 2"]
) -> tuple[Float[Tensor, "k"], Float[Tensor, "k 2"]]:
    """The density in some ``POOLED_PARTS`` parts or fewer that have any, and their centres."""
    side = math.ceil(math.sqrt(int((density > 0).sum()) / POOLED_PARTS))
    layers = torch.cat([density[None], (density.flatten() * cells.T).reshape(2, *density.shape)])
    parts = F.avg_pool2d(layers[None], side, ceil_mode=True, divisor_override=1)[0].flatten(1)
    parts = parts[:, parts[0] > 0]
    return parts[0], (parts[1:] / parts[0]).T


def coarse_potential(
    cost: Float[Tensor, "k m"],
    a: Float[Tensor, "k"],
    b: Float[Tensor, "m"],
    *,
    epsilon: float,
    tau: float,
    iterations: int = 3,
) -> Float[Tensor, "m"]:
    """A guess at the column potential of a small problem: a few Sinkhorn iterations at each epsilon, which halves.

    It uses the kernel itself instead of logarithms. Numbers out of range only make the guess worse.
    """
    log_a, log_b = a.log(), b.log()
    nearest = cost.amin(1)
    matrix = cost - nearest[:, None]
    tiny = torch.finfo(matrix.dtype).tiny
    halvings = max(math.ceil(math.log2(max(float(matrix.amax()), epsilon) / epsilon)), 0)
    kernel = torch.exp(matrix.mul_(-(0.5**halvings) / epsilon))
    turned = kernel.T  # a matrix times a vector is faster than a vector times the matrix
    g = torch.zeros_like(b)
    for power in range(halvings, -1, -1):
        warmth = epsilon * 2**power
        damping = tau / (tau + warmth)
        for _ in range(iterations):
            top = g.amax()
            reached = (kernel @ ((g - top) / warmth).exp_()).clamp_(min=tiny)
            rows = damping * (log_a - reached.log_() - (top - nearest) / warmth) - nearest / warmth
            top = rows.amax()
            reached = (turned @ (rows - top).exp_()).clamp_(min=tiny)
            g = damping * warmth * (log_b - reached.log_() - top)
        if power:
            torch.threshold_(kernel, tiny**0.5, 0.0)
            kernel.mul_(kernel)
    return g


def solved_potential(
    cost: Float[Tensor, "k m"], a: Float[Tensor, "k"], b: Float[Tensor, "m"], *, epsilon: float, tau: float
) -> Float[Tensor, "m"]:
    """A better guess, and a slower one: the small problem solved, in double precision."""
    plan = sinkhorn(cost.double(), a.double(), b.double(), epsilon=epsilon, tau=tau, tolerance=0.01)
    return plan.column_potential.to(b)


def screen(
    size: tuple[int, int],
    cells: Float[Tensor, "n 2"],
    points: Float[Tensor, "m 2"],
    cost: TransportCost,
    g: Float[Tensor, "m"],
    reach: float,
) -> tuple[Support, Float[Tensor, "n"]]:
    """The pairs with C - g within ``reach`` of the least in their row, and that least for each row.

    Tiles of cells come first: a tile whose cells are all too far from a point is not looked at any closer.
    """
    members = _tiles(size, g.device)
    held = members >= 0
    members = members.clamp(min=0)
    places = cells[members]
    centre = (places.amin(1) + places.amax(1)) / 2 if bool(held.all()) else _middle(places, held)
    away = torch.linalg.vector_norm(places - centre[:, None], dim=2).where(held, 0)
    low, high = cost.bounds(centre[:, None], points[None], away.amax(1, keepdim=True))
    worst = high.sub_(g).amin(1, keepdim=True) + reach
    # (index_select and flat places are several times faster than indexing here)
    near = (low.sub_(g) <= worst).flatten().nonzero().squeeze(1)
    tile = torch.div(near, len(g), rounding_mode="floor")
    column = near - tile * len(g)
    entries = cost.between(places.index_select(0, tile), points.index_select(0, column)[:, None])
    reduced = entries - g.index_select(0, column)[:, None]
    if not bool(held.all()):
        reduced = reduced.where(held.index_select(0, tile), torch.inf)
    least = torch.full_like(away, torch.inf)
    least.scatter_reduce_(0, tile[:, None].expand_as(reduced), reduced, "amin")
    bound = (least + reach).where(held, -torch.inf)
    found = (reduced <= bound.index_select(0, tile)).flatten().nonzero().squeeze(1)
    pair = torch.div(found, TILE**2, rounding_mode="floor")
    within = found - pair * TILE**2
    row = members.flatten().index_select(0, tile.index_select(0, pair) * TILE**2 + within)
    order = sorting_order(row, len(cells))
    row, found = row.index_select(0, order).int(), found.index_select(0, order)
    columns = column.index_select(0, pair.index_select(0, order)).int()
    nearest = torch.empty_like(cells[:, 0])
    nearest[members[held]] = least[held]
    return Support(row, columns, entries.flatten().index_select(0, found), (len(cells), len(g))), nearest


def _middle(places: Tensor, held: Tensor) -> Tensor:
    """The centre of the box around the cells that a tile holds."""
    low = places.where(held[..., None], torch.inf).amin(1)
    return (low + places.where(held[..., None], -torch.inf).amax(1)) / 2


def _tiles(size: tuple[int, int], device: torch.device) -> Int[Tensor, "tiles k"]:
    """The cells of each tile of TILE x TILE, row by row; -1 behind those of a tile that the border cuts."""
    height, width = size
    index = torch.arange(height * width, device=device).reshape(1, 1, height, width)
    padded = F.pad(index, (0, -width % TILE, 0, -height % TILE), value=-1)[0, 0]
    tiles = padded.unflatten(1, (-1, TILE)).unflatten(0, (-1, TILE)).permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    if height % TILE == 0 and width % TILE == 0:
        return tiles
    # cells to the front of their row
    return tiles.gather(1, torch.argsort((tiles < 0).int(), dim=1, stable=True))


@dataclass(frozen=True)
class SparseProblem:
    r"""The unbalanced problem with the Shannon entropy on a support, see :func:`workbench.transport.sinkhorn`.

    With two weights the Jacobian of the columns' violation is :math:`(I / \lambda_c - \lambda_r M) / \varepsilon`.
    With :math:`\lambda^2 = \lambda_r \lambda_c` it is the one that :func:`workbench.transport.newton.newton_step`
    solves for the violation times :math:`\lambda_c / \lambda`.

    Attributes:
        support: the pairs.
        log_a: (n,), -inf in rows of no mass.
        log_b: (m,).
        start: (m,), a column potential.
        shift: (n,), the least C - start of each row: what keeps :math:`\exp((g - C + s) / \varepsilon)` in range.
        epsilon: entropic regularisation.
        tau: weight of the columns' divergence.
        row_tau: weight of the rows' divergence.
    """

    support: Support
    log_a: Float[Tensor, "n"]
    log_b: Float[Tensor, "m"]
    start: Float[Tensor, "m"]
    shift: Float[Tensor, "n"]
    epsilon: float
    tau: float
    row_tau: float

    @property
    def row_damping(self) -> float:
        """The exponent of an update of the rows."""
        return self.row_tau / (self.row_tau + self.epsilon)

    @property
    def damping(self) -> float:
        """The exponent of an update, of rows and columns in the geometric mean."""
        columns = self.tau / (self.tau + self.epsilon)
        return columns if self.row_tau == self.tau else math.sqrt(columns * self.row_damping)

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
        return self.row_damping * (self.epsilon * (self.log_a - reached.log()) + anchor)

    def negligible(self, g: Float[Tensor, "m"], bound: Float[Tensor, "n"], share: float) -> bool:
        """Whether pairs with C - start above ``bound`` in their row hold less than a share of each row and column at g.

        The plan on such a pair is at most exp((f + g - start - bound) / epsilon).
        """
        f = self.iterate_at(g).f
        row, column = self.log_a - f / self.row_tau, self.log_b - g / self.tau  # at the fixed point the marginals
        most = (f + (g - self.start).amax() - bound) / self.epsilon
        kept = torch.isfinite(self.log_a)
        if not bool(torch.isfinite(row[kept]).all()):
            return False  # g has left the range of the kernel
        missing_rows = (most - row)[kept].amax() + math.log(len(g))
        missing_columns = torch.logsumexp(most[kept], 0) - column.amin()
        return float(torch.maximum(missing_rows, missing_columns)) < math.log(share)

    def iterate_at(self, g: Float[Tensor, "m"]) -> "SparseIterate":
        """Answer g with the row potential and measure the columns."""
        values = self.exponent(g).exp_()
        kernel, turned = self.support.matrix(values), self.support.transposed(values)
        reached = kernel @ torch.ones_like(g)
        anchor = self.anchor(g)
        f = self.row_potential(reached, anchor)
        scale = ((f - anchor) / self.epsilon).exp_()
        columns = turned @ scale
        violation = columns.log() - self.log_b + g / self.tau
        if self.row_tau != self.tau:
            violation = violation * (self.tau / (self.tau + self.epsilon) / self.damping)
        return SparseIterate(f, g, violation, columns, scale / reached, kernel, turned, scale)


@dataclass(frozen=True)
class SparseIterate:
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
