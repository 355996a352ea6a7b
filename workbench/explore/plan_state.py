"""The state of the transport explorer: the settings of the sliders, and the plan they give."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.checks import check_positive, check_whole
from workbench.transport import TransportPlan, cost_matrix, sinkhorn, sinkhorn_iterations

# Share of the moved mass that is drawn, and the most links for it. In the examples 206 to 601 links hold that share up
# to epsilon = .01. Above .1 the plan is so blurred that 1,500 links hold 28 to 82 % at epsilon = 1.
SHOWN_MASS, MOST_LINKS = 0.98, 1500


@dataclass(frozen=True)
class PlanSetting:
    """The settings of the sliders.

    Attributes:
        cost: see :class:`workbench.transport.TransportCost`; 1 is subtracted from the exponential ones.
        eta: the interval of the perspective factor; the exponential cost takes the first number.
        epsilon: entropic regularisation, in the unit of the cost.
        tau: weight of the marginals' divergence; None: balanced.
        iterations: how many Sinkhorn iterations; None: converged.
    """

    cost: str = "perspective"
    eta: tuple[float, float] = (0.6, 0.8)
    epsilon: float = 0.01
    tau: float | None = 0.5
    iterations: int | None = None

    def __post_init__(self) -> None:
        check_positive(self.epsilon, "epsilon")
        if self.tau is not None:
            check_positive(self.tau, "tau")
        if self.iterations is not None:
            check_whole(self.iterations, "iterations")


@dataclass(frozen=True)
class SolvedPlan:
    """A plan with what it was made from.

    Attributes:
        plan: of the cells, row by row, to the heads.
        cost: (n, m), no unit.
        a: (n,), people per cell; for a balanced plan scaled to as many people as there are heads.
        b: (m,), people per head.
        milliseconds: that solving took.
        setting: what was asked for.
    """

    plan: TransportPlan
    cost: Float[Tensor, "n m"]
    a: Float[Tensor, "n"]
    b: Float[Tensor, "m"]
    milliseconds: float
    setting: PlanSetting

    @property
    def transport_cost(self) -> float:
        """The transport term of the generalized loss: the sum of cost times mass."""
        return float((self.cost * self.plan.matrix).sum())

    @property
    def title(self) -> str:
        """The setting and the cost, as mathematics."""
        setting = self.setting
        tau = "balanced" if setting.tau is None else f"$\\tau$ = {setting.tau:.3g}"
        how = "converged" if setting.iterations is None else f"{setting.iterations} iterations"
        cost = f"$\\langle C, P \\rangle$ = {self.transport_cost:.4g}"
        return f"{setting.cost}, $\\varepsilon$ = {setting.epsilon:.3g}, {tau}, {how}: {cost}"

    @property
    def status(self) -> str:
        """The figures of the plan in a sentence."""
        if not len(self.b):
            return "No heads: nothing to move to."
        if not float(self.a.sum()):
            return "No density: nothing to move."
        moved = float(self.plan.matrix.sum())
        given = f"{float(self.a.sum()):.2f} in the density, {float(self.b.sum()):g} annotated"
        scaled = ", scaled" if self.setting.tau is None else ""
        if self.setting.iterations is not None:
            some = "1 iteration" if self.setting.iterations == 1 else f"{self.setting.iterations} iterations"
            how = f"after {some} the rows are off by up to {self.plan.residual:.1%}"
        else:
            how = "converged" if self.plan.converged else f"not converged, residual {self.plan.residual:.0e}"
        return (
            f"Transport cost ⟨C, P⟩ = {self.transport_cost:.4g}. {moved:.2f} people moved ({given}{scaled}); "
            f"{how}; {self.milliseconds:.0f} ms."
        )


def solve(
    density: Float[Tensor, "h w"],
    points: Float[Tensor, "n 2"],
    setting: PlanSetting,
    *,
    stride: float,
    previous: SolvedPlan | None = None,
) -> SolvedPlan:
    """The plan between a density map (H, W), people per cell, and heads (N, 2) in image pixels.

    ``previous`` is a plan for nearly the same problem, whose potential is the start. A slider moves in small steps: on
    the examples this takes a third to a seventh of the time.
    """
    height, width = density.shape
    a, b = density.flatten(), density.new_ones(len(points))
    if setting.tau is None and float(a.sum()) > 0 and len(b):
        a = a * (len(b) / a.sum())
    offset = 1.0 if setting.cost in ("perspective", "exponential") else 0.0
    cost = cost_matrix(setting.cost, (height, width), points, stride=stride, eta=setting.eta, offset=offset)
    start = time.perf_counter()
    if not len(b) or not float(a.sum()):
        plan = TransportPlan.of(torch.zeros_like(cost), torch.zeros_like(a), torch.zeros_like(b))
    elif setting.iterations is None:
        plan = _converged(cost, a, b, setting, previous)
    else:
        count = setting.iterations
        plan = sinkhorn_iterations(cost, a, b, epsilon=setting.epsilon, tau=setting.tau, iterations=count)
    return SolvedPlan(plan, cost, a, b, 1000 * (time.perf_counter() - start), setting)


def _converged(cost: Tensor, a: Tensor, b: Tensor, setting: PlanSetting, previous: SolvedPlan | None) -> TransportPlan:
    options: dict[str, Any] = {"epsilon": setting.epsilon, "tau": setting.tau, "tolerance": 1e-5}
    if previous is not None and previous.setting.iterations is None and len(previous.b) == len(b):
        start = previous.plan.column_potential
        # on the examples 2 or 3 iterations are enough, 6 at most
        plan = sinkhorn(cost, a, b, **options, max_iterations=8, column_potential=start)
        if plan.converged:
            return plan
    return sinkhorn(cost, a, b, **options, max_iterations=60)


def strongest(
    matrix: Float[Tensor, "n m"], *, share: float = SHOWN_MASS, most: int = MOST_LINKS
) -> tuple[Int[Tensor, "k"], Int[Tensor, "k"], Float[Tensor, "k"]]:
    """Row, column and mass of the entries of a plan that hold ``share`` of its mass, the heaviest first."""
    mass, place = matrix.flatten().sort(descending=True)
    total = float(mass.sum())
    if not total > 0 or not math.isfinite(total):
        place, mass = place[:0], mass[:0]
    else:
        enough = int((mass.cumsum(0) < share * total).sum()) + 1
        place, mass = place[: min(enough, most)], mass[: min(enough, most)]
    columns = max(matrix.shape[1], 1)
    return place.div(columns, rounding_mode="floor"), place % columns, mass
