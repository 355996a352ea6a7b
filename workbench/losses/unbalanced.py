"""Unbalanced optimal transport by its semi-dual (UOTCC)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive
from workbench.losses.base import CrowdLoss, batched
from workbench.models.base import ModelOutput
from workbench.points import cell_centres
from workbench.transport.semi_dual import row_potential, semi_dual


class UnbalancedLoss(CrowdLoss):
    r"""The value of entropic unbalanced transport between density and annotations.

    .. math:: \mathcal{L} = \max_\beta \sum_i D_i \rho (1 - e^{-\alpha_i / \rho})
                            + \sum_j b_j \rho (1 - e^{-\beta_j / \rho}), \quad
              \alpha_i = -\varepsilon \log \sum_j b_j e^{(\beta_j - c_{ij}) / \varepsilon}

    The cost :math:`c_{ij} = |x_i - y_j| / S` is the distance in units of the image's longer side S. The potential
    :math:`\beta` is solved for to convergence, see :func:`workbench.transport.semi_dual.semi_dual`, so the gradient is
    :math:`\partial \mathcal{L} / \partial D_i = \rho (1 - e^{-\alpha_i / \rho})`. There is no term for the count: mass
    that is not transported costs up to :math:`\rho` a person. In
    an image of nobody the loss is :math:`\rho \sum_i D_i`, and without density it is :math:`\rho \sum_j b_j`.

    The gradient falls without bound as the density falls to zero, like that of :math:`-\sqrt{D}`. The potentials stop
    at ``workbench.transport.semi_dual.MOST_POTENTIAL`` times rho, so the gradient stays finite.

    There is no published implementation. "paper" and "official" are the same.

    Terms: ``transport``.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper" or "official".
        epsilon: entropic regularisation in units of S.
        rho: weight of both divergences in units of S.
        tolerance: relative error of an annotation's mass at the solution.

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
        tolerance: float = 1e-12,
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        for value, name in ((epsilon, "epsilon"), (rho, "rho"), (tolerance, "tolerance")):
            check_positive(value, name)
        self.epsilon = epsilon
        self.rho = rho
        self.tolerance = tolerance

    @torch.no_grad()
    def potentials(
        self, density: Float[Tensor, "b h w"], points: Float[Tensor, "b n 2"], weights: Float[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b n"]]:
        """Alpha of each cell and beta of each annotation, in float64. Each image needs somebody."""
        height, width = density.shape[-2:]
        cells = cell_centres((height, width), self.stride, dtype=torch.float64, device=density.device)
        # not by matrix product, which loses half of the digits near an annotation
        distance = torch.cdist(cells, points.double(), compute_mode="donot_use_mm_for_euclid_dist")
        cost = distance / (max(height, width) * self.stride)
        mass, people = density.detach().double().flatten(1), weights.double()
        # on a CPU image by image, so that each stops on its own: half the time for 8 images of 64 x 64 cells
        size = 1 if density.device.type == "cpu" else len(density)
        parts = [
            semi_dual(one_cost, a, b, epsilon=self.epsilon, rho=self.rho, tolerance=self.tolerance)
            for one_cost, a, b in zip(cost.split(size), mass.split(size), people.split(size), strict=True)
        ]
        beta = torch.cat(parts)
        alpha, _ = row_potential(beta, cost, people.log(), self.epsilon)
        return alpha.reshape(density.shape), beta

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """One term, ``transport``."""
        density = result.density[:, 0]
        places, people, _ = batched(points, weights)
        slope = torch.full_like(density, self.rho, dtype=torch.float64)
        value = people.new_zeros(len(density), dtype=torch.float64)
        some = (people > 0).any(dim=1)
        if bool(some.any()):
            alpha, beta = self.potentials(density[some], places[some], people[some])
            slope[some] = -self.rho * torch.expm1(-alpha / self.rho)
            value[some] = -self.rho * (torch.expm1(-beta / self.rho) * people[some]).sum(dim=1)
        image = (density.double() * slope).sum(dim=(1, 2)) + value
        return {"transport": image.mean().to(density.dtype)}
