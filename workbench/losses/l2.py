"""The pixel-wise L2 loss against a Gaussian density map."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive, check_whole
from workbench.density import adaptive_sigma, adaptive_sigmas, density_map, gaussian_maps
from workbench.losses.base import SOLVERS, CrowdLoss, batched
from workbench.models.base import ModelOutput


def l2_loss(density: Float[Tensor, "*b h w"], target: Float[Tensor, "*b h w"]) -> Float[Tensor, ""]:
    r"""[GL 11]: the squared error summed over the cells, :math:`\sum_i (a_i - \tilde a_i)^2`.

    Args:
        density: (H, W), people per cell.
        target: (H, W), people per cell, see :func:`workbench.density.density_map`.
    """
    return (density - target).square().sum()


class L2Loss(CrowdLoss):
    r"""Squared error against a density map with one Gaussian a person.

    .. math:: \mathcal{L} = \sum_i (a_i - \tilde a_i)^2, \quad \tilde a_i = \sum_j b_j \mathcal{N}(x_i; y_j, \sigma_j)

    See :func:`l2_loss` for the loss and :func:`workbench.density.density_map` for its target.

    Terms: ``pixel``.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper" and "official" are the same here.
        kernel: "fixed": one width for everybody. "adaptive": beta times the mean distance to the nearest neighbours.
        sigma: standard deviation in image pixels of the fixed kernel, and of the adaptive one for a person alone.
        neighbours: number of neighbours of the adaptive kernel.
        beta: factor of the adaptive kernel.
        solver: "screened", image by image; "batched", all images at once; "auto": screened on a CPU, else batched.

    Reference:
        Wan, Liu and Chan, CVPR 2021, sec. 4.2; Zhang et al., CVPR 2016 (adaptive kernel).
    """

    def __init__(
        self,
        *,
        stride: int = 8,
        convention: str = "paper",
        kernel: str = "fixed",
        sigma: float = 8.0,
        neighbours: int = 3,
        beta: float = 0.3,
        solver: str = "auto",
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        check_choice(kernel, ("fixed", "adaptive"), "kernel")
        check_positive(sigma, "sigma")
        check_positive(beta, "beta")
        check_whole(neighbours, "neighbours")
        check_choice(solver, SOLVERS, "solver")
        self.kernel = kernel
        self.sigma = sigma
        self.neighbours = neighbours
        self.beta = beta
        self.solver = solver

    def target(
        self,
        points: Float[Tensor, "n 2"],
        size: tuple[int, int],
        weights: Float[Tensor, "n"] | None = None,
        *,
        validate: bool | None = None,
    ) -> Float[Tensor, "h w"]:
        """The density map that the loss compares with; ``validate`` as in the loss if None."""
        validate = self.validate if validate is None else validate
        sigma: float | Tensor = self.sigma
        if self.kernel == "adaptive":
            sigma = adaptive_sigma(points, neighbours=self.neighbours, beta=self.beta, default=self.sigma)
        return density_map(points, size, sigma=sigma, stride=self.stride, weights=weights, validate=validate)

    def image_terms(
        self, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"], weights: Float[Tensor, "n"]
    ) -> dict[str, Float[Tensor, ""]]:
        """One term, ``pixel``."""
        height, width = density.shape
        return {"pixel": l2_loss(density, self.target(points, (height, width), weights, validate=False))}

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """One term, ``pixel``."""
        if not self.together(result.density):
            return super().batch_terms(result, points, weights)
        density = result.density[:, 0]
        places, people, real = batched(points, weights)
        sigma = places.new_full(real.shape, self.sigma)
        if self.kernel == "adaptive" and real.shape[1]:
            rule = {"neighbours": self.neighbours, "beta": self.beta, "default": self.sigma}
            sigma = adaptive_sigmas(places, real, **rule)  # type: ignore[arg-type]
        size = (density.shape[1], density.shape[2])
        target = gaussian_maps(places, size, sigma.square()[..., None], self.stride, people)
        return {"pixel": l2_loss(density, target) / len(density)}
