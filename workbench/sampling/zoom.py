"""Locality-aware data augmentation (LA eq. 4 to 7): how far to zoom into or out of a patch, by its error.

A zoom r is the side of the window over the patch's own: r < 1 takes a smaller window of the source image and enlarges
it (fewer people), r > 1 a larger one (more people). The window is cut by :mod:`workbench.data.patches`.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import expit

from workbench.checks import check_positive
from workbench.metrics import count_pairs

STRENGTH, STEEPNESS = 2 / 3, 10.0
"""lambda and gamma that the paper found satisfactory (sec. 4)."""


def scale_factors(truth: ArrayLike, predicted: ArrayLike) -> Float[np.ndarray, "n"]:
    r"""Residual over truth, :math:`\alpha = (\tilde y - y) / y` (eq. 4, 5): above zero where over-estimated.

    Where nobody is (y = 0) the residual is divided by 1.

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
    r"""Zoom rates :math:`r = 1 + \lambda (1 / (1 + e^{\gamma \alpha}) - 1/2)` (eq. 6, Fig. 3).

    1 where a patch is counted right, falling from 1 + lambda / 2 (under-estimated: zoom out, more people) to
    1 - lambda / 2 (over-estimated: zoom in, fewer). The paper's text says "overestimated" of both.

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

    A patch without anybody is left as it is (1): no zoom says of it that it was counted wrong.

    Args:
        truth: (N,) people in each patch as it was shown.
        predicted: (N,) people counted.
        strength: lambda.
        steepness: gamma.
        current: (N,) zooms that the patches were shown at; then the new one multiplies it, as x^{t+1} = f(x^t, r^t)
            reads, held within what one zoom can reach. None: the new one is relative to the patch itself.
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
