"""The proximal mapping loss: divide the density among the annotations, then solve one small problem for each.

:mod:`workbench.losses.proximal_patches` divides, :mod:`workbench.losses.proximal_forms` solves.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive
from workbench.losses import proximal_forms as forms
from workbench.losses.base import SOLVERS, CrowdLoss, batched
from workbench.losses.proximal_batched import divide_batch
from workbench.losses.proximal_patches import PROXIMAL_COSTS, Patches, divide
from workbench.models.base import ModelOutput

Form = tuple[Callable[[Tensor, Patches, Tensor], dict[str, Tensor]], Callable[[Tensor, Patches, Tensor], Tensor]]

FORMS: dict[str, Form] = {
    "l1": (forms.l1_terms, forms.l1_target),
    "l2": (forms.l2_terms, forms.l2_target),
    "simplex": (forms.simplex_terms, forms.simplex_target),
    "kl": (forms.kl_terms, forms.kl_target),
    "p2p": (forms.p2p_terms, forms.p2p_target),
}
TAU = {"l1": 2.0, "l2": 10.0, "simplex": 10.0, "kl": 1.0, "p2p": 1.0}


class ProximalLoss(CrowdLoss):
    r"""Proximal mapping loss (PML), [PML 1]: a sum over the patches, each by one of the forms of [PML p. 7].

    .. math:: \mathcal{L} = \sum_j \min_{p \in \xi} c^\top p + \tau D(p, \tilde a_j), \quad \xi: 1^\top p = b_j

    ======== ========================================== ===================== ========================
    form     loss of a patch of n cells                 D(p, a)               terms
    ======== ========================================== ===================== ========================
    l1       (c - mean c)'a + tau / 2n abs(1'a - b)     squared L2            background, count
    l2       (c - mean c)'a + tau / 2n (1'a - b)^2      squared L2            background, count
    simplex  squared L2 with p >= 0 as well             squared L2            transport, divergence
    kl       transport after a Gibbs factor             KL                    transport, divergence
    p2p      transport to one cell of the patch         L1                    transport, divergence
    gaussian (a - Gaussian)^2                           squared L2, tau = 0   pixel
    ======== ========================================== ===================== ========================

    "l1" is "l2" with tau / abs(1'a - b) for tau: the robust form, and the default. In these two forms the slides
    divide the count term by n, so its gradient in the "l1" form is only tau / 2n. In a patch of a hundred cells this is
    less than the background term's gradient on the nearest cell, and the patch would gain people without end. With
    ``tau_scale="cells"``, the default, a patch's tau is n times as large. This cancels the 1/n, as in the published
    code; ``"one"`` is the slides' own tau. All costs lie in [0, 1], so the default "l1" has its minimum at b people.
    Where the image does not show how many people there are, it still over-counts, in proportion to the mean cost.

    An image of nobody is one patch of the whole map with b = 0 and no costs.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper", or "official": the "l1" form with the published costs exp(r / R) - 1. Cell centres lie half
            a pixel up and to the left, ties go to the first annotation, the background term counts only where the
            image's density sums to more than one, and an image of nobody costs twice the density's sum.
        form: a row of the table above.
        tau: weight of the divergence; None: 2 (l1, the slides' value), 10 (l2, simplex), 1 (kl, p2p).
        tau_scale: "cells" or "one", for l1, l2 and simplex.
        cost: "exponential", "euclidean" or "squared", see :func:`workbench.losses.proximal_patches.divide`.
        radius: smallest reach of a patch in image pixels; the cost is 1 at the patch's reach.
        floor: people added to each cell for the "kl" form, whose divergence is infinite at zero density.
        sigma: standard deviation of the "gaussian" form in image pixels.
        solver: "screened", image by image; "batched", all images at once; "auto": screened on a CPU, else batched.

    Reference:
        Lin, Wan and Chan, "Proximal Mapping Loss: Understanding Loss Functions in Crowd Counting & Localization",
        ICLR 2025.
    """

    def __init__(
        self,
        *,
        stride: int = 8,
        convention: str = "paper",
        form: str = "l1",
        tau: float | None = None,
        tau_scale: str = "cells",
        cost: str = "exponential",
        radius: float = 32.0,
        floor: float = 1e-4,
        sigma: float = 8.0,
        solver: str = "auto",
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        check_choice(solver, SOLVERS, "solver")
        check_choice(form, (*FORMS, "gaussian"), "form")
        check_choice(tau_scale, ("cells", "one"), "tau_scale")
        check_choice(cost, [name for name in PROXIMAL_COSTS if name != "published"], "cost")
        for value, name in ((radius, "radius"), (floor, "floor"), (sigma, "sigma")):
            check_positive(value, name)
        if tau is not None:
            check_positive(tau, "tau")
        if convention == "official":
            fixed = {"form": (form, "l1"), "tau": (tau, None), "tau_scale": (tau_scale, "cells")}
            for name, (found, wanted) in {**fixed, "cost": (cost, "exponential")}.items():
                if found != wanted:
                    raise ValueError(f"{name} is {found!r}, expected {wanted!r} with convention 'official'")
        self.form = form
        self.tau = TAU.get(form, 0.0) if tau is None else tau
        self.tau_scale = tau_scale
        self.cost = cost
        self.radius = radius
        self.floor = floor
        self.sigma = sigma
        self.solver = solver

    def patches(self, points: Float[Tensor, "n 2"], size: tuple[int, int], weights: Float[Tensor, "n"]) -> Patches:
        """The cells of each annotation and their costs."""
        return divide(points, size, weights=weights, **self._rule())

    def _rule(self) -> dict[str, Any]:
        """How the cells are divided."""
        official = self.convention == "official"
        return {
            "stride": self.stride,
            "cost": "published" if official else self.cost,
            "radius": self.radius,
            "fair": not official,
            "offset": 0.5 - 0.5 / self.stride if official else 0.5,
        }

    def _taus(self, patches: Patches) -> Float[Tensor, "k"]:
        tau = self.tau * patches.cells.new_ones(len(patches.cells))
        return tau * patches.cells if self.tau_scale == "cells" and self.form in ("l1", "l2", "simplex") else tau

    def target(
        self, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"], weights: Float[Tensor, "n"] | None = None
    ) -> Float[Tensor, "h w"]:
        """The minimisers p* of all patches on one map. The density is drawn towards it; it sums to the people."""
        density = density.detach()
        height, width = density.shape
        people = density.new_ones(len(points)) if weights is None else weights.to(density)
        patches = self.patches(points.to(density), (height, width), people)
        if self.form == "gaussian":
            entries = forms.gaussian_target(patches, self.sigma)
        else:
            mass = patches.split(density + self.floor if self.form == "kl" else density)
            entries = FORMS[self.form][1](mass, patches, self._taus(patches))
        return patches.join(entries, (height, width))

    def image_terms(
        self, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"], weights: Float[Tensor, "n"]
    ) -> dict[str, Float[Tensor, ""]]:
        """The terms of the form, see the table of the class."""
        height, width = density.shape
        official = self.convention == "official"
        if official and not len(points):
            return {"background": density.new_zeros(()), "count": 2 * density.sum()}
        terms = self._patch_terms(density, self.patches(points, (height, width), weights))
        if official and not density.detach().sum() > 1:
            terms["background"] = density.new_zeros(())
        return terms

    def _patch_terms(self, density: Tensor, patches: Patches) -> dict[str, Float[Tensor, ""]]:
        """The terms of the form, summed over the patches."""
        if self.form == "gaussian":
            return forms.gaussian_terms(patches.split(density), patches, self.sigma)
        mass = patches.split(density + self.floor if self.form == "kl" else density)
        return FORMS[self.form][0](mass, patches, self._taus(patches))

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """As :meth:`image_terms`."""
        if not self.together(result.density) or not any(len(image_points) for image_points in points):
            return super().batch_terms(result, points, weights)
        density = result.density[:, 0]
        places, people, real = batched(points, weights)
        size = (density.shape[1], density.shape[2])
        patches, image = divide_batch(places, people, real, size, **self._rule())
        whole = density.sum(dim=(1, 2))
        if self.convention == "official":  # without costs there is no background term
            patches = replace(patches, cost=patches.cost * (whole.detach() > 1).to(density)[image])
        terms = self._patch_terms(density, patches)
        if self.convention == "official":  # an image of nobody costs twice its density; its patch has tau / 2 of that
            terms["count"] = terms["count"] + (2 - self.tau / 2) * whole.where(~real.any(dim=1), 0).sum()
        return {name: value / len(density) for name, value in terms.items()}
