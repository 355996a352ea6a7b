"""Locality-aware data augmentation (LADA): how far to zoom into or out of a patch, by its counting error.

A zoom r is the side of the window over the patch's own: r < 1 takes a smaller window of the source image and enlarges
it (fewer people), r > 1 a larger one (more people). :func:`workbench.data.patches.zoom_window` finds the window.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.special import expit

from workbench.checks import check_positive
from workbench.metrics import count_pairs
from workbench.sampling.base import EpochBatches

STRENGTH, STEEPNESS = 2 / 3, 10.0
"""lambda and gamma that the paper found satisfactory (sec. 4)."""


def scale_factors(truth: ArrayLike, predicted: ArrayLike) -> Float[np.ndarray, "n"]:
    r"""Scale factors [LA 4] [LA 5], residual over truth, :math:`\alpha = (\tilde y - y) / y`: above 0 if too high.

    Where there is nobody (y = 0) the residual is divided by 1.

    Raises:
        ValueError: not two finite vectors of one length above zero, or a truth below zero.
    """
    truth, predicted = count_pairs(truth, predicted)
    if truth.min() < 0:
        raise ValueError(f"truth holds values down to {truth.min():g}, expected counts >= 0")
    return (predicted - truth) / np.maximum(truth, 1)


def zoom_rates(
    factors: ArrayLike, *, strength: float = STRENGTH, steepness: float = STEEPNESS
) -> Float[np.ndarray, "n"]:
    r"""Zoom rates [LA 6], :math:`r = 1 + \lambda (1 / (1 + e^{\gamma \alpha}) - 1/2)` (Fig. 3).

    The rate is 1 where a patch is counted right. It falls from 1 + lambda / 2 (under-estimated: zoom out, more people)
    to 1 - lambda / 2 (over-estimated: zoom in, fewer people). The paper's text says "overestimated" of both.

    Args:
        factors: (N,) alpha.
        strength: lambda, in (0, 2).
        steepness: gamma, above 0.

    Raises:
        ValueError: a parameter out of range, or factors that are NaN or infinite.
    """
    check_strength(strength)
    check_positive(steepness, "steepness")
    alpha = np.asarray(factors, dtype=np.float64)
    if not np.isfinite(alpha).all():
        raise ValueError("factors hold NaN or infinite values, expected finite ones")
    return 1 + strength * (expit(-steepness * alpha) - 0.5)


def next_zooms(
    truth: ArrayLike,
    predicted: ArrayLike,
    *,
    strength: float = STRENGTH,
    steepness: float = STEEPNESS,
    current: ArrayLike | None = None,
) -> Float[np.ndarray, "n"]:
    """The zoom of each patch's next version, from how it was counted now.

    The zoom of a patch without people stays 1: no zoom puts people into it or takes them out.

    Args:
        truth: (N,) people in each patch as it was shown.
        predicted: (N,) people counted.
        strength: lambda.
        steepness: gamma.
        current: (N,) zooms that the patches were shown at. The new zoom is their product with the rate, limited to what
            one rate can reach (the literal reading of x^{t+1} = f(x^t, r^t)). None: the rate alone is the new zoom.
    """
    rates = zoom_rates(scale_factors(truth, predicted), strength=strength, steepness=steepness)
    if current is not None:
        rates = np.clip(np.asarray(current) * rates, 1 - strength / 2, 1 + strength / 2)
    return np.where(np.asarray(truth, dtype=np.float64) > 0, rates, 1.0)


def check_strength(strength: float) -> None:
    """Raise ``ValueError`` unless lambda lies in (0, 2): at 2 a window would shrink to nothing."""
    check_positive(strength, "strength")
    if strength >= 2:
        raise ValueError(f"strength is {strength!r}, expected lambda in (0, 2)")


@dataclass(kw_only=True, eq=False, repr=False)
class LADABatches(EpochBatches):
    """Every sample once an epoch in a random order, some of them zoomed by their last counting error (LADA).

    The paper adds the zoomed patches to the training set ("generating more image patches"). Here an epoch keeps its
    length: each draw shows its patch zoomed with probability ``share``, and unchanged otherwise. Other arguments as in
    :class:`~workbench.sampling.base.EpochBatches`.

    Args:
        strength: lambda of :func:`zoom_rates`.
        steepness: gamma of :func:`zoom_rates`.
        share: how often a patch is shown zoomed; 1 replaces every patch by its zoomed version.
        cumulative: whether a zoomed patch's new zoom multiplies the one it had, see :func:`next_zooms`.
    """

    unseen = 1.0
    strength: float = STRENGTH
    steepness: float = STEEPNESS
    share: float = 0.5
    cumulative: bool = False

    def __post_init__(self) -> None:
        check_strength(self.strength)
        check_positive(self.steepness, "steepness")
        check_positive(self.share, "share", zero=True)
        if self.share > 1:
            raise ValueError(f"share is {self.share!r}, expected one in [0, 1]")
        super().__post_init__()

    def zoomed(self, order: Int[np.ndarray, "n"], rng: np.random.Generator) -> Float[np.ndarray, "n"]:
        """The zooms that the samples ``order`` are shown at."""
        return np.where(rng.random(len(order)) < self.share, self.known[order], 1.0)

    def shown(self, epoch: int, rng: np.random.Generator) -> tuple[Int[np.ndarray, "n"], ArrayLike]:
        """A permutation with zooms."""
        order = rng.permutation(self.samples)
        return order, self.zoomed(order, rng)

    def judge(
        self, truth: Float[np.ndarray, "n"], predicted: Float[np.ndarray, "n"], zooms: Float[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n"]:
        """The zoom of each patch's next version."""
        current = zooms if self.cumulative else None
        return next_zooms(truth, predicted, strength=self.strength, steepness=self.steepness, current=current)
