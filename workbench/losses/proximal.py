"""The proximal mapping loss: divide the density among the annotations, then solve a small problem for each."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive
from workbench.losses import proximal_forms as forms
from workbench.losses.base import CrowdLoss
from workbench.losses.proximal_patches import COSTS, Patches, divide

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
    r"""Proximal mapping loss (PML): divide, eq. (1) and (2) of the slides, then conquer by one of the slides' forms.

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

    "l1" is "l2" with tau / abs(1'a - b) for tau: the robust form, and the default. In these two the slides' count
    term is divided by n, so that a gradient of at most tau / 2n has to hold the background's mean c: a patch of a
    hundred cells would gain people without end. With ``tau_scale="cells"``, the default, a patch's tau is n times as
    large, which takes the 1/n away, as the published code does; ``"one"`` is the slides' own tau. Since all costs lie
    in [0, 1] the default "l1" is then least at b people; still it over-counts where it cannot tell where people are,
    in proportion to the mean cost.

    Nobody in the image: one patch of the whole map with b = 0 and no costs.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper"; "official": the "l1" form with the published costs exp(r / R) - 1, cell centres half a
            pixel up and to the left, the background term only where the image's density sums to more than one, ties
            to the first annotation, and twice the density's sum for an image of nobody.
        form: see above.
        tau: weight of the divergence; None: 2 (l1, the slides' value), 10 (l2, simplex), 1 (kl, p2p).
        tau_scale: "cells" or "one", for l1, l2 and simplex.
        cost: "exponential", "euclidean" or "squared", see :func:`workbench.losses.proximal_patches.divide`.
        radius: least reach of a patch in image pixels, the distance at which the cost is 1.
        floor: people added to each cell before the KL divergence, which is infinite at zero density.
        sigma: standard deviation of the "gaussian" form in image pixels.

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
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        check_choice(form, (*FORMS, "gaussian"), "form")
        check_choice(tau_scale, ("cells", "one"), "tau_scale")
        check_choice(cost, [name for name in COSTS if name != "published"], "cost")
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

    def patches(self, points: Float[Tensor, "n 2"], size: tuple[int, int], weights: Float[Tensor, "n"]) -> Patches:
        """The cells of each annotation and what they cost."""
        official = self.convention == "official"
        return divide(
            points,
            size,
            stride=self.stride,
            weights=weights,
            cost="published" if official else self.cost,
            radius=self.radius,
            fair=not official,
            offset=0.5 - 0.5 / self.stride if official else 0.5,
        )

    def _taus(self, patches: Patches) -> Float[Tensor, "k"]:
        tau = self.tau * patches.cells.new_ones(len(patches.cells))
        return tau * patches.cells if self.tau_scale == "cells" and self.form in ("l1", "l2", "simplex") else tau

    def target(
        self, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"], weights: Float[Tensor, "n"] | None = None
    ) -> Float[Tensor, "h w"]:
        """The minimiser p* of every patch, on one map: what the density is drawn towards; sums to the people."""
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
        """The form's terms, see the table of the class."""
        height, width = density.shape
        official = self.convention == "official"
        if official and not len(points):
            return {"background": density.new_zeros(()), "count": 2 * density.sum()}
        patches = self.patches(points, (height, width), weights)
        if self.form == "gaussian":
            return forms.gaussian_terms(patches.split(density), patches, self.sigma)
        mass = patches.split(density + self.floor if self.form == "kl" else density)
        terms = FORMS[self.form][0](mass, patches, self._taus(patches))
        if official and not density.detach().sum() > 1:
            terms["background"] = density.new_zeros(())
        return terms
