"""DM-Count: distribution matching by optimal transport, a count and a total-variation term."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive, check_whole
from workbench.losses.base import SOLVERS, CrowdLoss, batched
from workbench.models.base import ModelOutput
from workbench.points import cell_centres, dot_map, dot_maps
from workbench.transport.batched import published_potentials
from workbench.transport.costs import TransportCost
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
    return dot_map(_rounded(points, size, stride), size, stride, weights, validate=False)


def _rounded(points: Tensor, size: tuple[int, int], stride: float) -> Tensor:
    height, width = size
    last = points.new_tensor([width, height]) * stride - 1
    return points.round().minimum(last)


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
        solver: "screened", image by image; "batched", all images at once; "auto": screened on a CPU, else batched.
            The exact solution is found on the CPU in any case; batched, the device is read twice for all images.

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
        solver: str = "auto",
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        check_positive(ot_weight, "ot_weight", zero=True)
        check_positive(tv_weight, "tv_weight", zero=True)
        check_positive(reg, "reg")
        check_positive(tolerance, "tolerance")
        check_whole(iterations, "iterations")
        check_choice(solver, SOLVERS, "solver")
        self.ot_weight = ot_weight
        self.tv_weight = tv_weight
        self.reg = reg
        self.tolerance = tolerance
        self.iterations = iterations
        self.solver = solver

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
        if self.together(result.density):
            return self._terms_at_once(result.density[:, 0], points, weights)
        terms = super().batch_terms(result, points, weights)
        if self.convention == "official":
            terms["transport"] = terms["transport"] * len(result.density)
        return terms

    def _terms_at_once(
        self, density: Float[Tensor, "b h w"], points: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> dict[str, Float[Tensor, ""]]:
        """The terms of the whole batch."""
        official = self.convention == "official"
        size = (density.shape[1], density.shape[2])
        places, ones, real = batched(points, weights)
        people = ones.sum(dim=1)
        count = density.sum(dim=(1, 2))
        some = people > 0
        shape = density * (count / (count.square() + COUNT_GUARD))[:, None, None]
        terms = {"count": (count - people).abs()}
        moved = torch.zeros_like(count)
        if self.ot_weight:
            potentials, value = self._potentials(density.detach(), places, ones, real)
            linear = (potentials * shape).sum(dim=(1, 2)) + value
            moved = torch.where(some & (count.detach() > 0), linear, 0)
        terms["transport"] = self.ot_weight * moved * (len(density) if official else 1)
        if official:
            places = _rounded(places, size, self.stride)
        dots = dot_maps(list(places), size, self.stride, list(ones))
        guard = 1e-6 if official else 0
        if official:
            shape = density / (count + guard)[:, None, None]
        whole = dots.sum(dim=(1, 2)) + guard
        dots = dots / torch.where(some, whole, 1)[:, None, None]
        variation = (shape - dots).abs().sum(dim=(1, 2)) / (1 if official else 2)
        terms["variation"] = self.tv_weight * people * variation
        return {name: value.mean() for name, value in terms.items()}

    @torch.no_grad()
    def _potentials(
        self, density: Float[Tensor, "b h w"], places: Tensor, people: Tensor, real: Tensor
    ) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b"]]:
        """Of each image what :meth:`potential` has; an image without people or density has any finite potential."""
        size = (density.shape[1], density.shape[2])
        if self.convention == "official":
            cells = cell_centres(size, self.stride, dtype=density.dtype, device=density.device)
            squared = TransportCost("squared").between(cells[:, None], places[:, None])
            found = published_potentials(
                squared, density.flatten(1), people, real, epsilon=self.reg, iterations=self.iterations
            ).reshape(density.shape)
            tiny = torch.finfo(density.dtype).tiny
            mean = (density * found).sum(dim=(1, 2)) / density.sum(dim=(1, 2)).clamp(min=tiny)
            return found - mean[:, None, None], torch.zeros_like(mean)
        masses = as_array(density)
        known = as_array(torch.cat([places, people[..., None], real[..., None]], dim=2))
        potential, values = np.zeros(masses.shape), np.zeros((len(masses), 1))
        for image, (mass, table) in enumerate(zip(masses, known, strict=True)):
            spots, held = table[table[:, 3] > 0, :2], table[table[:, 3] > 0, 2]
            if held.sum() > 0 and mass.sum() > 0:
                plan = solve_grid(mass, spots, held, stride=self.stride, epsilon=self.reg, tolerance=self.tolerance)
                potential[image] = plan.row_potential - (mass * plan.row_potential).sum() / mass.sum()
                values[image] = plan.value
        both = torch.from_numpy(np.column_stack([potential.reshape(len(masses), -1), values])).to(density)
        return both[:, :-1].reshape(density.shape), both[:, -1]
