"""The generalized loss: unbalanced optimal transport between a density map and annotated points."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive
from workbench.losses.base import SOLVERS, CrowdLoss, batched
from workbench.losses.generalized_official import TRACE, official_batch_terms, official_terms
from workbench.losses.generalized_terms import (
    DIVERGENCES,
    FLOOR,
    ImplicitShift,
    Product,
    density_factor,
    plan_terms,
)
from workbench.models.base import ModelOutput
from workbench.points import cell_centres
from workbench.transport import COSTS, TransportCost, TransportPlan, batched_sinkhorn, column_plan, row_plan
from workbench.transport.published import PublishedSchedule, batched_published_plan, published_plan
from workbench.transport.screened import STEEPEST, screened_plan

PLANS = ("converged", "rows", "columns")
GRADIENTS = ("section3.3", "implicit")
# Largest violation of a column in a batched plan: the gradient is right to 1e-4 (double: 1e-6) of its largest value.
BATCHED_TOLERANCE = {torch.float32: 3e-4, torch.float64: 1e-7}
STIFFEST = 1e10  # tau / epsilon above which double precision no longer resolves the plan


class GeneralizedLoss(CrowdLoss):
    r"""Unbalanced entropic transport between the density map and the annotations.

    .. math:: \mathcal{L} = \langle C, P \rangle - \varepsilon H(P) + \tau D_1(P 1 | a) + \tau D_2(P^\top 1 | b)

    The plan P solves the problem in which D_1 and D_2 are the Kullback-Leibler divergence, see
    :func:`workbench.transport.sinkhorn`. By default the loss then takes the squared L2 distance for D_1 (pixels) and
    the L1 distance for D_2 (points), see :func:`workbench.losses.generalized_terms.plan_terms`. The terms are
    ``transport``, ``entropy``, ``pixel`` and ``point``; each can be left out (Table 2 of the paper).

    Coordinates are divided by the longer side of the map, so that a square crop is the unit square; epsilon and tau
    are in the unit of the cost.

    With the exponential cost as the paper prints it, a person exactly at the annotation costs 1. It saves tau in the
    point term, so for tau < 1 the empty map is a minimum. The published implementation subtracts 1 from the cost;
    ``cost_offset=1`` does so here.

    ``convention="official"`` follows the published implementation: its own options are ``blur``, ``reach``,
    ``scaling``, ``p`` and ``tau``, the schedule stops before it has converged, cells sit half a cell too far to the
    right and down, the marginals' divergence is counted inside ``transport`` and again outside, the entropy is a mean
    and is not divided by the batch. See
    :mod:`workbench.transport.published` and :func:`workbench.losses.generalized_terms.official_terms`.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper" or "official".
        cost: "perspective", "exponential", "euclidean" or "squared", see :class:`workbench.transport.TransportCost`.
        eta: the interval of the perspective factor; a number for the exponential cost. None: (0.6, 0.8) and 0.8 of
            the paper, (0.5, 0.7) and 0.6 of the implementation.
        cost_offset: subtracted from the exponential costs; None: 0 in the paper, 1 in the implementation.
        epsilon: weight of the entropy (paper only); None: 0.005.
        tau: weight of the divergences, in the plan and in the loss; None: 0.5. Official: in the loss alone; None: 0.1.
        transport: whether the first term counts.
        entropy: whether the second term counts.
        pixel: D_1, "l1", "l2" (squared), "kl", or None for no such term.
        point: D_2 likewise.
        plan: "converged"; "rows" or "columns" for the plans of half an iteration from u = v = 1, sec. 4.1 (paper only).
        gradient: "section3.3", the plan's v constant and u a function of a, or "implicit", the true derivative of the
            loss at the converged plan (paper only).
        solver: "screened", image by image, the converged plan on the pairs that matter; "batched", all images at once
            on whole matrices; "auto", screened on a CPU and batched on other devices. The implicit gradient and the
            plans of half an iteration are always found image by image.
        blur: official: epsilon is blur**p, and the weight of the entropy; None: 0.01.
        reach: official: the plan's tau is reach**p, infinity for a balanced plan; None: 0.5.
        scaling: official: the factor of blur from one iteration to the next; None: 0.5.
        p: official: the exponent; None: 1.

    Reference:
        Wan, Liu and Chan, "A Generalized Loss Function for Crowd Counting and Localization", CVPR 2021.
    """

    def __init__(
        self,
        *,
        stride: int = 8,
        convention: str = "paper",
        cost: str = "perspective",
        eta: tuple[float, float] | float | None = None,
        cost_offset: float | None = None,
        epsilon: float | None = None,
        tau: float | None = None,
        transport: bool = True,
        entropy: bool = True,
        pixel: str | None = "l2",
        point: str | None = "l1",
        plan: str = "converged",
        gradient: str = "section3.3",
        solver: str = "auto",
        blur: float | None = None,
        reach: float | None = None,
        scaling: float | None = None,
        p: float | None = None,
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        check_choice(cost, COSTS, "cost")
        for kind, name in ((pixel, "pixel"), (point, "point")):
            if kind is not None:
                check_choice(kind, DIVERGENCES, name)
        check_choice(plan, PLANS, "plan")
        check_choice(gradient, GRADIENTS, "gradient")
        check_choice(solver, SOLVERS, "solver")
        if gradient == "implicit" and plan != "converged":
            raise ValueError(f"gradient is 'implicit' with plan {plan!r}, expected plan 'converged'")
        if not (transport or entropy or pixel or point):
            raise ValueError("transport, entropy, pixel and point are all off, expected at least one term")
        official = convention == "official"
        foreign = (
            {
                "epsilon": epsilon,
                "plan": plan != "converged",
                "gradient": gradient != "section3.3",
            }
            if official
            else {"blur": blur, "reach": reach, "scaling": scaling, "p": p}
        )
        for name, value in foreign.items():
            if value not in (None, False):
                raise ValueError(f"{name} is given with convention {convention!r}, which has no such option")
        self.cost = cost
        self.eta = _interval(eta, cost, official)
        self.cost_offset = (1.0 if official else 0.0) if cost_offset is None else cost_offset
        self.epsilon = 0.005 if epsilon is None else epsilon
        self.tau = (0.1 if official else 0.5) if tau is None else tau
        check_positive(self.epsilon, "epsilon")
        check_positive(self.tau, "tau")
        if not official and plan == "converged" and self.tau > STIFFEST * self.epsilon:
            raise ValueError(f"tau is {self.tau!r}, expected at most {STIFFEST:g} epsilon, {STIFFEST * self.epsilon:g}")
        TransportCost(cost, self.eta, self.cost_offset)  # raises what is wrong with them
        self.counted = {"transport": transport, "entropy": entropy, "pixel": bool(pixel), "point": bool(point)}
        self.pixel = pixel
        self.point = point
        self.plan = plan
        self.gradient = gradient
        self.solver = solver
        self.schedule = PublishedSchedule(
            blur=0.01 if blur is None else blur,
            reach=0.5 if reach is None else reach,
            scaling=0.5 if scaling is None else scaling,
            p=1.0 if p is None else p,
        )

    def geometry(
        self, size: tuple[int, int], points: Float[Tensor, "*b n 2"]
    ) -> tuple[TransportCost, Float[Tensor, "cells 2"], Float[Tensor, "*b n 2"]]:
        """The cost function, and the cells (row by row) and the points in its normalised coordinates."""
        side = self.stride * max(size)
        official = self.convention == "official"
        cells = cell_centres(size, self.stride, dtype=points.dtype, device=points.device)
        if official:
            cells = cells + self.stride / 2
        height = 1.0 if official else self.stride * size[0] / side
        return TransportCost(self.cost, self.eta, self.cost_offset, height, self._most), cells / side, points / side

    @property
    def _most(self) -> float:
        """The cost at which a cell is too far from everybody to matter.

        At this cost the plan moves a share of exp(-cost / (tau + epsilon)) = e^-1000 of the cell's density. Greater
        costs would only reduce the precision of the smaller ones.
        """
        tau, epsilon = self.tau, self.epsilon
        if self.convention == "official":
            tau, epsilon = self.schedule.rho, self.schedule.blur**self.schedule.p
        elif self.plan != "converged":
            return math.inf
        most = 1000 * (tau + epsilon)
        return math.inf if 1.5 / min(self.eta) < math.log(most) else most  # no two places are so far apart

    def transport_plan(
        self, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"], weights: Float[Tensor, "n"]
    ) -> tuple[TransportPlan, Tensor]:
        """The plan between the cells of a map, row by row, and points, and the cost of its entries; both constants."""
        with torch.no_grad():
            cost, cells, points = self.geometry((density.shape[0], density.shape[1]), points)
            a, epsilon = density.flatten(), self.epsilon
            if self.plan == "converged" and self.convention == "paper" and bool((weights > 0).any()):
                plan = screened_plan(density, cells, points, weights, cost, epsilon=epsilon, tau=self.tau, floor=FLOOR)
                assert plan.support is not None
                return plan, plan.support.cost
            if self.convention == "official":
                corners = torch.cat([cells, points]).aminmax(dim=0)
                diameter = float(torch.linalg.vector_norm(corners.max - corners.min))
                plan = published_plan(
                    lambda part: cost(cells[part], points), a, weights, self.schedule, diameter, floor=TRACE
                )
                return plan, plan.matrix
            matrix, zeros = cost(cells, points), (torch.zeros_like(a), torch.zeros_like(weights))
            if self.plan == "rows":
                a = a.clamp(min=FLOOR)
                f = epsilon * (a.log() - torch.logsumexp(-matrix / epsilon, 1))
                return TransportPlan.of(row_plan(matrix, a, epsilon=epsilon), f, zeros[1]), matrix
            if self.plan == "columns":
                g = epsilon * (weights.clamp(min=FLOOR).log() - torch.logsumexp(-matrix / epsilon, 0))
                return TransportPlan.of(column_plan(matrix, weights, epsilon=epsilon), zeros[0], g), matrix
            return TransportPlan.of(torch.zeros_like(matrix), *zeros), matrix  # nobody is there

    def image_terms(
        self, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"], weights: Float[Tensor, "n"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Those of ``transport``, ``entropy``, ``pixel`` and ``point`` that count."""
        options: dict[str, Any] = {"tau": self.tau, "pixel": self.pixel, "point": self.point}
        plan, cost = self.transport_plan(density.detach(), points, weights)
        a = density.flatten()
        if self.convention == "official":
            terms = official_terms(plan, a, weights, schedule=self.schedule, **options)
        else:
            factors = self._factors(a, plan)
            terms = plan_terms(plan, cost, a, weights, *factors, epsilon=self.epsilon, **options)
        return {name: value for name, value in terms.items() if self.counted[name]}

    def _factors(self, a: Tensor, plan: TransportPlan) -> tuple[Tensor, Tensor | None]:
        """How the rows and the columns of the plan move with the density, see :func:`plan_terms`."""
        if self.plan == "columns":
            return torch.ones_like(a), None
        power = 1.0 if self.plan == "rows" else self.tau / (self.tau + self.epsilon)
        rows = density_factor(a, power)
        if self.gradient == "section3.3" or plan.support is None:
            return rows, None
        products = plan.matrix, plan.transposed
        columns = ImplicitShift.apply(a, plan.row_marginal, plan.column_marginal, *products, power, FLOOR)
        held = plan.row_marginal.clamp(min=torch.finfo(a.dtype).tiny)
        return rows - power * Product.apply(columns, *products) / held, columns

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """See :meth:`workbench.losses.base.CrowdLoss.batch_terms`; officially the entropy is a sum over the batch."""
        if self._batched(result.density) and any(len(image) for image in points):
            return self._terms_at_once(result.density[:, 0], points, weights)
        terms = super().batch_terms(result, points, weights)
        if self.convention == "official" and "entropy" in terms:
            terms["entropy"] = terms["entropy"] * len(result.density)
        return terms

    def _batched(self, density: Tensor) -> bool:
        """Whether the plans of all images are found at once."""
        return self.plan == "converged" and self.gradient == "section3.3" and self.together(density)

    def _terms_at_once(
        self, density: Float[Tensor, "b h w"], points: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> dict[str, Float[Tensor, ""]]:
        """The terms of the whole batch, by :func:`workbench.transport.batched_sinkhorn` or the published schedule."""
        places, people, real = batched(points, weights)
        a = density.flatten(1)
        options: dict[str, Any] = {"tau": self.tau, "pixel": self.pixel, "point": self.point}
        if self.convention == "official":
            with torch.no_grad():
                cost, cells, spots = self.geometry((density.shape[1], density.shape[2]), places)
                least = spots.where(real[..., None], torch.inf).amin(dim=1).minimum(cells.amin(dim=0))
                most = spots.where(real[..., None], -torch.inf).amax(dim=1).maximum(cells.amax(dim=0))
                plan = batched_published_plan(
                    cost.between(cells[:, None], spots[:, None]), a, people, self.schedule,
                    torch.linalg.vector_norm(most - least, dim=1), floor=TRACE,
                )  # fmt: skip
            terms = official_batch_terms(plan, a, people, real, schedule=self.schedule, **options)
            shares = {name: 1 if name == "entropy" else 1 / len(a) for name in terms}
            return {name: value * shares[name] for name, value in terms.items() if self.counted[name]}
        with torch.no_grad():
            cost, cells, places = self.geometry((density.shape[1], density.shape[2]), places)
            matrix = cost.between(cells[:, None], places[:, None])
            held = a.detach().clamp(min=FLOOR)
            plan = batched_sinkhorn(
                matrix, held, people, epsilon=self.epsilon, tau=self.tau, tolerance=BATCHED_TOLERANCE[a.dtype],
                validate=False,
            )  # fmt: skip
            limit = torch.full_like(a, math.inf).masked_fill_(a < FLOOR, FLOOR * STEEPEST)
            entries = plan.matrix.clamp_(max=limit[..., None])
            plan = replace(plan, row_marginal=entries.sum(2), column_marginal=entries.sum(1))
        factor = density_factor(a, self.tau / (self.tau + self.epsilon))
        terms = plan_terms(
            plan,
            matrix,
            a,
            people,
            factor,
            None,
            epsilon=self.epsilon,
            tau=self.tau,
            pixel=self.pixel,
            point=self.point,
        )
        return {name: value / len(a) for name, value in terms.items() if self.counted[name]}


def _interval(eta: tuple[float, float] | float | None, cost: str, official: bool) -> tuple[float, float]:
    """The two numbers that eta stands for."""
    if eta is None and cost == "exponential":
        eta = 0.6 if official else 0.8
    elif eta is None:
        eta = (0.5, 0.7) if official else (0.6, 0.8)
    return (eta, eta) if isinstance(eta, int | float) else (eta[0], eta[1])
