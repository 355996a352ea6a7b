"""Unbalanced optimal transport by its semi-dual (UOTCC)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive
from workbench.losses.base import SOLVERS, CrowdLoss, batched
from workbench.models.base import ModelOutput
from workbench.points import cell_centres
from workbench.transport import TransportCost, batched_sinkhorn
from workbench.transport.screened import screened_plan

MOST_POTENTIAL = 30.0
"""Largest potential in units of rho: exp(-30) = 1e-13. Without mass in the cells the optimum is at infinity."""
TOLERANCE = {torch.float32: 3e-4, torch.float64: 1e-9}  # of a batched solution, as of the generalized loss


class UnbalancedLoss(CrowdLoss):
    r"""The value of entropic unbalanced transport between density and annotations.

    .. math:: \mathcal{L} = \max_\beta \sum_i D_i \rho (1 - e^{-\alpha_i / \rho})
                            + \sum_j b_j \rho (1 - e^{-\beta_j / \rho}), \quad
              \alpha_i = -\varepsilon \log \sum_j b_j e^{(\beta_j - c_{ij}) / \varepsilon}

    The cost :math:`c_{ij} = |x_i - y_j| / S` is the distance in units of the image's longer side S. The potential
    :math:`\beta` is solved for to convergence, so the gradient is
    :math:`\partial \mathcal{L} / \partial D_i = \rho (1 - e^{-\alpha_i / \rho})`. There is no term for the count: mass
    that is not transported costs up to :math:`\rho` a person. In
    an image of nobody the loss is :math:`\rho \sum_i D_i`, and without density it is :math:`\rho \sum_j b_j`.

    At the maximum an annotation receives :math:`\sum_i P_{ij} = b_j e^{-\beta_j / \rho}` of the plan
    :math:`P_{ij} = D_i b_j \exp(-\alpha_i / \rho + (\alpha_i + \beta_j - c_{ij}) / \varepsilon)`. With
    :math:`f = (1 - \varepsilon / \rho) \alpha` and :math:`g = \beta` this is the fixed point of unbalanced entropic
    transport with the weight :math:`\rho - \varepsilon` of the rows' divergence and :math:`\rho` of the columns', so
    the solvers of the generalized loss find it.

    The gradient falls without bound as the density falls to zero, like that of :math:`-\sqrt{D}`. To keep it finite,
    each cell has at least so little mass in the solver that no potential exceeds ``MOST_POTENTIAL`` times rho by much.

    There is no published implementation. "paper" and "official" are the same.

    Terms: ``transport``.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper" or "official".
        epsilon: entropic regularisation in units of S, at most half of rho.
        rho: weight of both divergences in units of S.
        solver: "screened", image by image on the pairs that matter; "batched", all images at once on whole matrices;
            "auto", screened on a CPU and batched on other devices.

    Reference:
        Ma, Wei, Hong, Lin, Qiu and Gong, "Learning to Count via Unbalanced Optimal Transport", AAAI 2021.
    """

    def __init__(
        self,
        *,
        stride: int = 8,
        convention: str = "paper",
        epsilon: float = 0.01,
        rho: float = 1.0,
        solver: str = "auto",
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        check_positive(epsilon, "epsilon")
        check_positive(rho, "rho")
        check_choice(solver, SOLVERS, "solver")
        if epsilon > rho / 2:
            raise ValueError(f"epsilon is {epsilon:g}, expected at most half of rho, {rho / 2:g}")
        self.epsilon = epsilon
        self.rho = rho
        self.solver = solver

    @torch.no_grad()
    def potentials(
        self, density: Float[Tensor, "b h w"], points: Float[Tensor, "b n 2"], weights: Float[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b n"]]:
        """Alpha of each cell and beta of each annotation. An image of nobody has beta zero and any alpha."""
        points, weights = points.to(density), weights.to(density)
        height, width = density.shape[-2:]
        side = max(height, width) * self.stride
        cells = cell_centres((height, width), self.stride, dtype=points.dtype, device=density.device) / side
        places, a = points / side, density.flatten(1)
        least = math.exp(-2 * MOST_POTENTIAL) / a.shape[1] * weights.sum(dim=1, keepdim=True)
        a = torch.maximum(a, least.clamp(min=torch.finfo(a.dtype).tiny))
        cost = TransportCost("euclidean")
        options: dict[str, Any] = {"epsilon": self.epsilon, "tau": self.rho, "row_tau": self.rho - self.epsilon}
        if self.together(density):
            plan = batched_sinkhorn(
                cost.between(cells[:, None], places[:, None]), a, weights, entropy="relative",
                tolerance=TOLERANCE[a.dtype], validate=False, **options,
            )  # fmt: skip
            alpha, beta = plan.row_potential / (1 - self.epsilon / self.rho), plan.column_potential
        else:
            maps = a.reshape(density.shape)
            images = [self._screened(*image, cells, cost, options) for image in zip(maps, places, weights, strict=True)]
            alpha, beta = (torch.stack(part) for part in zip(*images, strict=True))
        return alpha.reshape(density.shape), beta

    def _screened(
        self,
        a: Float[Tensor, "h w"],
        places: Float[Tensor, "n 2"],
        people: Float[Tensor, "n"],
        cells: Float[Tensor, "cells 2"],
        cost: TransportCost,
        options: dict[str, Any],
    ) -> tuple[Float[Tensor, "cells"], Float[Tensor, "n"]]:
        """Alpha and beta of one image: with these powers of the masses the Shannon entropy has the same plan."""
        if not bool((people > 0).any()):
            return torch.zeros_like(a).flatten(), torch.zeros_like(people)
        ratio = self.epsilon / self.rho
        tiny = torch.finfo(a.dtype).tiny
        a, b = (a ** (1 / (1 - ratio))).clamp(min=tiny), people ** (1 + ratio)
        plan = screened_plan(a, cells, places, b, cost, floor=tiny, **options)
        alpha = plan.row_potential / (1 - ratio) - self.epsilon * a.flatten().log()
        return alpha, plan.column_potential - self.epsilon * torch.where(people > 0, people, 1).log()

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """One term, ``transport``."""
        density = result.density[:, 0]
        places, people, _ = batched(points, weights)
        alpha, beta = self.potentials(density, places, people)
        some = (people > 0).any(dim=1)[:, None, None]
        slope = torch.where(some, -self.rho * torch.expm1(-alpha / self.rho), self.rho)
        value = -self.rho * (torch.expm1(-beta / self.rho) * people).sum(dim=1)
        image = (density * slope).sum(dim=(1, 2)) + value
        return {"transport": image.mean().to(density.dtype)}
