r"""Which pairs of a cell and a point matter, found before the plan is known, and the plan on them.

1. The density is pooled to some 256 places, and sweeps while epsilon falls give a first column potential.
2. The pairs whose :math:`C_{ij} - g_j` comes near the least of their row are kept, and Newton's method solves the
   problem on them, roughly.
3. The same again from there, to the end. A bound on all that was left out follows from how far g has moved since.
4. Where that bound is not small, the third step is repeated with more pairs.
5. Where Newton's method has nothing to start from, as when a part of the crowd is far from any density, all of it is
   repeated from a better guess, the pooled problem solved; where that does not help either, the whole problem is.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.transport.costs import TransportCost
from workbench.transport.newton import iterate
from workbench.transport.sinkhorn import sinkhorn
from workbench.transport.support import Support, SupportProblem, sorting_order

MARGINS = (8.0, 3.0, 12.0, 30.0)  # epsilons by which the potential may be wrong, at each screening
PLACES = 256  # to which the density is pooled
TILE = 4  # side of a tile in cells
STEEPEST = 1e12  # slope of a pair by density, in a row of no mass; more is infinite for all purposes
STIFF = 500.0  # epsilons of tau from which single precision, whose errors grow with it, no longer does


@dataclass(frozen=True)
class ScreenedPlan:
    """A plan that is ``exp(log_values)`` on the pairs of ``support`` and zero elsewhere."""

    support: Support
    log_values: Float[Tensor, "k"]

    def among(self, taken: Bool[Tensor, "m"]) -> "ScreenedPlan":
        """The same plan where its columns are those of ``taken`` among more."""
        places = taken.nonzero().squeeze(1)[self.support.columns]
        shape = (self.support.shape[0], len(taken))
        return replace(self, support=Support(self.support.rows, places.int(), self.support.cost, shape))


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
) -> ScreenedPlan:
    """The converged plan of eq. (5) and (6) between a map and points, without an n x m array.

    Args:
        density: (H, W), >= 0.
        cells: (H W, 2), normalised positions, row by row.
        points: (m, 2), at least one, normalised.
        people: (m,), > 0.
        cost: of moving density.
        epsilon: entropic regularisation.
        tau: weight of the marginals' divergence.
        floor: density that rows of less are given in the plan; what they hold is not moved when the plan is found, and
            in no pair more than ``STEEPEST`` times it.

    Returns:
        The plan, on the pairs that hold all of it but a share of less than 1e-4 (double precision: 1e-7) of each row
        and column, by a bound that is far from sharp.
    """
    single = density.dtype != torch.float64
    if single and tau > STIFF * epsilon:
        exact = screened_plan(
            density.double(), cells.double(), points.double(), people.double(), cost,
            epsilon=epsilon, tau=tau, floor=floor,
        )  # fmt: skip
        support = replace(exact.support, cost=exact.support.cost.to(density))
        return ScreenedPlan(support, exact.log_values.to(density))
    a, size = density.flatten(), (density.shape[0], density.shape[1])
    tail = 18.0 if single else 28.0  # a pair is dropped below exp(-tail) of its row
    share = 1e-4 if single else 1e-7  # what may be missing: a bound, hundreds of times what is missing
    tolerance = 1e-3 if single else 1e-6  # before Newton's last step, which squares it
    if not bool((a > 0).any()):
        g = torch.zeros_like(people)
        support, shift = screen(size, cells, points, cost, g, tail * epsilon)
        return _plan(SupportProblem(support, a.log(), people.log(), g, shift, epsilon, tau), g, a, floor)
    mass, places = pooled(density, cells)
    for guess in (coarse_potential, solved_potential):
        g = guess(cost(places, points), mass, people, epsilon=epsilon, tau=tau)
        for turn, margin in enumerate(MARGINS):
            reach = (tail + margin) * epsilon
            support, least = screen(size, cells, points, cost, g, reach)
            problem = SupportProblem(support, a.log(), people.log(), g, least, epsilon, tau)
            complete = len(support.rows) == len(a) * len(people)
            better, solved = _solve(problem, g, tolerance if turn or complete else 0.3)
            if solved and (complete or (turn and problem.negligible(better, least + reach, share))):
                return _plan(problem, better, a, floor)
            if better is g:  # nothing to start from
                break
            g = better
    matrix = cost(cells, points)
    g = sinkhorn(matrix, a, people, epsilon=epsilon, tau=tau).column_potential
    shift = (matrix - g).amin(1)
    support = Support(*_all_pairs(matrix), (len(a), len(people)))
    return _plan(SupportProblem(support, a.log(), people.log(), g, shift, epsilon, tau), g, a, floor)


def pooled(
    density: Float[Tensor, "h w"], cells: Float[Tensor, "n 2"]
) -> tuple[Float[Tensor, "k"], Float[Tensor, "k 2"]]:
    """The density in some ``PLACES`` parts or fewer that have any, and their centres."""
    side = math.ceil(math.sqrt(int((density > 0).sum()) / PLACES))
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
    sweeps: int = 3,
) -> Float[Tensor, "m"]:
    """A guess at the column potential of the pooled density: a few sweeps at each epsilon, halving.

    With the kernel itself rather than on logarithms: out of range it is only a worse guess.
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
        for _ in range(sweeps):
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
    """A better guess, and a slower one: the pooled problem solved, in double precision."""
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


def _solve(problem: SupportProblem, g: Tensor, tolerance: float) -> tuple[Tensor, bool]:
    """Newton's method and its last step, and whether it arrived; the start where it did not get anywhere."""
    outcome = iterate(
        problem.evaluate,
        g,
        damping=problem.damping,
        epsilon=problem.epsilon,
        tolerance=tolerance,
        max_iterations=30,
    )
    solved = outcome.converged or outcome.state.size <= tolerance
    return (outcome.state.g - outcome.step if outcome.residual < math.inf else g), solved


def _all_pairs(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and entries of a matrix, row by row."""
    rows, columns = (torch.arange(size, device=matrix.device) for size in matrix.shape)
    grid = torch.meshgrid(rows, columns, indexing="ij")
    return grid[0].flatten().int(), grid[1].flatten().int(), matrix.flatten()


def _plan(problem: SupportProblem, g: Tensor, a: Tensor, floor: float) -> ScreenedPlan:
    """The plan that g gives, once more answered by the rows, those of less than ``floor`` too."""
    problem = replace(problem, log_a=a.clamp(min=floor).log())
    log_values, anchor = problem.exponent(g), problem.anchor(g)
    reached = problem.support.matrix(log_values.exp()) @ torch.ones_like(g)
    scale = (problem.row_potential(reached, anchor) - anchor) / problem.epsilon
    log_values.add_(scale.index_select(0, problem.support.rows))
    empty = a < floor
    if bool(empty.any()):
        limit = torch.full_like(problem.log_a, math.inf).masked_fill_(empty, math.log(floor * STEEPEST))
        log_values = torch.minimum(log_values, limit.index_select(0, problem.support.rows))
    return ScreenedPlan(problem.support, log_values)
