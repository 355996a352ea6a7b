"""The trivial baseline of localization: random points in the right number."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive


def random_points(
    truth: Sequence[Float[Tensor, "_ 2"]], sizes: Sequence[tuple[int, int]], *, seed: int = 0, top: float = 0.0
) -> list[Float[Tensor, "_ 2"]]:
    """As many points as each image has people, uniform over the image.

    A localization score says something only where it is well above that of these points: with many people a random
    point is near one of them by chance. On scenes with a horizon, ``top`` makes the opponent stronger: nobody stands
    above it.

    Args:
        truth: an image each, (M, 2), the annotated points.
        sizes: (H, W) of each image in pixels.
        seed: what the points are drawn from.
        top: the share of the height, counted from the top, that stays empty.

    Returns:
        An image each, (M, 2), x then y, in image pixels and the dtype of ``truth``.

    Raises:
        ValueError: different numbers of images and sizes, or ``top`` outside [0, 1).
    """
    if len(truth) != len(sizes):
        raise ValueError(f"truth holds {len(truth)} images and sizes {len(sizes)}, expected as many")
    check_positive(top, "top", zero=True)
    if top >= 1:
        raise ValueError(f"top is {top!r}, expected a number below 1")
    rng = np.random.default_rng(seed)
    drawn = []
    for points, (height, width) in zip(truth, sizes, strict=True):
        low, high = [0.0, top * height], [float(width), float(height)]
        drawn.append(torch.from_numpy(rng.uniform(low, high, size=(len(points), 2))).to(points))
    return drawn
