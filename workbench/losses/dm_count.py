"""DM-Count: distribution matching by optimal transport, a count and a total-variation term."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive, check_whole
from workbench.losses.base import CrowdLoss
from workbench.models.base import ModelOutput
from workbench.points import dot_map
from workbench.transport.dm_count import published_grid_plan, solve_grid
from workbench.transport.nearest import as_array

COUNT_GUARD = 1e-8  # square people: below about 1e-4 people there is no distribution to match


def normalised(density: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """The density over its sum S, as S / (S^2 + 1e-8) times it, of which value and gradient are finite at S = 0."""
    people = density.sum()
    return density * (people / (people.square() + COUNT_GUARD))


def count_loss(density: Float[Tensor, "h w"], people: Float[Tensor, ""]) -> Float[Tensor, ""]:
    r"""[GL supp 1] The counting loss :math:`|1^\top z - 1^\top a|`; [GL supp 2] its gradient is +-1 everywhere."""
    return (density.sum() - people).abs()


def variation_loss(density: Float[Tensor, "h w"], dots: Float[Tensor, "h w"]) -> Float[Tensor, ""]:
    r"""The total variation of the distributions, :math:`\frac12 \|a / \|a\|_1 - z / \|z\|_1\|_1`."""
    return (normalised(density) - dots / dots.sum()).abs().sum() / 2


def rounded_dots(
    points: Float[Tensor, "n 2"], size: tuple[int, int], stride: float, weights: Float[Tensor, "n"]
) -> Float[Tensor, "h w"]:
    """The published dot map: annotations at their rounded pixel coordinates, the last pixel where that is outside."""
    height, width = size
    last = points.new_tensor([width, height]) * stride - 1
    return dot_map(points.round().minimum(last), size, stride, weights, validate=False)


class DMCountLoss(CrowdLoss):
    r"""DM-Count: :math:`\ell_C + \lambda_1 \ell_{OT} + \lambda_2 \|z\|_1 \ell_{TV}`.

    The transport term is between the normalised density and the normalised annotations at the squared distance in
    pixels, entropic with ``reg``: its value is the objective

    .. math:: W = \min_{P 1 = a, P^\top 1 = b} \langle C, P \rangle + \varepsilon \mathrm{KL}(P | a b^\top),

    solved to convergence, its gradient the exact one, :math:`(f_i - \langle f, a \rangle) / \|a\|_1` with the cells'
    optimal potentials f. The entropy is relative to a x b: the plan is the same as with the Shannon entropy, and f
    is finite where the density is zero. Since both distributions are normalised, densities below about 1e-4 people in
    all have no distribution: there the two terms and their gradients fade to nothing, and the count is left.

    The published implementation (``convention="official"``) stops after 100 kernel-domain iterations with 1e-16 for
    guards, beyond some 30 pixels of which nothing depends on the distance. There the transport term is linear in the
    density and zero in value (see :meth:`objective` for what it stands for) and is summed, not averaged, over a
    batch; the variation has no factor 1/2; annotations are rounded to pixels for it.

    Nobody in the image: the count alone.

    Terms: ``count``, ``transport``, ``variation``, each with its weight.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper" or "official".
        ot_weight: weight of the transport term.
        tv_weight: weight of the total variation, which the count multiplies.
        reg: entropic regularisation in square pixels.
        tolerance: largest relative error of an annotation's mass at the exact solution.
        iterations: of the official convention.

    Reference:
        Wang, Liu, Samaras and Hoai, "Distribution Matching for Crowd Counting", NeurIPS 2020.
    """

    def __init__(
        self,
        *,
        stride: int = 8,
        convention: str = "paper",
        ot_weight: float = 0.1,
        tv_weight: float = 0.01,
        reg: float = 10.0,
        tolerance: float = 1e-6,
        iterations: int = 100,
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        check_positive(ot_weight, "ot_weight", zero=True)
        check_positive(tv_weight, "tv_weight", zero=True)
        check_positive(reg, "reg")
        check_positive(tolerance, "tolerance")
        check_whole(iterations, "iterations")
        self.ot_weight = ot_weight
        self.tv_weight = tv_weight
        self.reg = reg
        self.tolerance = tolerance
        self.iterations = iterations

    def potential(
        self, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"], weights: Float[Tensor, "n"]
    ) -> tuple[Float[Tensor, "h w"], float]:
        """The potential of each cell, in square pixels, its mean over the density zero; and the objective's value.

        With the official convention the objective is what the published code logs.

        Raises:
            ValueError: nobody in the image, or no density.
        """
        mass, spots, people = as_array(density), as_array(points), as_array(weights)
        if not people.sum() > 0 or not mass.sum() > 0:
            raise ValueError(
                f"density sums to {mass.sum():g} and weights to {people.sum():g}, expected both to be above zero"
            )
        settings = {"stride": self.stride, "epsilon": self.reg}
        if self.convention == "official":
            plan = published_grid_plan(mass, spots, people, iterations=self.iterations, **settings)
        else:
            plan = solve_grid(mass, spots, people, tolerance=self.tolerance, **settings)
        cells = plan.row_potential - (mass * plan.row_potential).sum() / mass.sum()
        return torch.as_tensor(cells).to(density), plan.value

    def image_terms(
        self, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"], weights: Float[Tensor, "n"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Three terms, ``count``, ``transport`` and ``variation``."""
        official = self.convention == "official"
        height, width = density.shape
        people = weights.sum()
        terms = {
            "count": count_loss(density, people),
            "transport": density.new_zeros(()),
            "variation": density.new_zeros(()),
        }
        if not people > 0:
            return terms
        if density.detach().sum() > 0 and self.ot_weight:
            cells, value = self.potential(density, points, weights)
            # of the published sum the value is zero; here the potential's mean is, so the objective is added
            linear = (cells * normalised(density)).sum()
            terms["transport"] = self.ot_weight * (linear if official else linear + value)
        if official:
            dots = rounded_dots(points, (height, width), self.stride, weights)
            shape = density / (density.sum() + 1e-6)
            variation = (shape - dots / (dots.sum() + 1e-6)).abs().sum()
        else:
            dots = dot_map(points, (height, width), self.stride, weights, validate=False)
            variation = variation_loss(density, dots)
        terms["variation"] = self.tv_weight * people * variation
        return terms

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """As in every loss; with the official convention the transport term is the sum over the batch."""
        terms = super().batch_terms(result, points, weights)
        if self.convention == "official":
            terms["transport"] = terms["transport"] * len(result.density)
        return terms
