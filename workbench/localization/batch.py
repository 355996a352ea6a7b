"""Points from a batch of density maps, by either method."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice
from workbench.localization.maxima import local_maxima
from workbench.localization.ot_m import ot_m
from workbench.tensor_checks import check_tensor

METHODS = ("local_maxima", "ot_m")


class Localized(NamedTuple):
    """Points of one image.

    Attributes:
        points: (N, 2), x then y, image pixels.
        scores: (N,), confidence: the density at a local maximum; 1 for every point of OT-M.
    """

    points: Float[Tensor, "n 2"]
    scores: Float[Tensor, "n"]


def find_points(
    densities: Float[Tensor, "b 1 h w"],
    method: str = "local_maxima",
    *,
    stride: int = 8,
    sizes: Sequence[tuple[int, int]] | None = None,
    **options: Any,
) -> list[Localized]:
    """The people of each map of a batch.

    Args:
        densities: (B, 1, H, W), people per cell.
        method: "local_maxima" or "ot_m".
        stride: side of a cell in image pixels.
        sizes: (height, width) of each image in pixels, of whole cells if None.
        options: of :func:`local_maxima` or of :func:`ot_m`.

    Raises:
        ValueError: an unknown method, numbers of images that differ, and what the two functions raise.
    """
    check_tensor(densities, "densities", shape=(None, 1, None, None))
    check_choice(method, METHODS, "method")
    height, width = densities.shape[2:]
    sizes = [(height * stride, width * stride)] * len(densities) if sizes is None else sizes
    if len(sizes) != len(densities):
        raise ValueError(f"sizes holds {len(sizes)} images and densities {len(densities)}, expected as many")
    if method == "local_maxima":
        # a map of whole cells is enlarged by its stride, then cut to the image
        found = [local_maxima(density[0], size=(height * stride, width * stride), **options) for density in densities]
    else:
        moved = [ot_m(density[0], stride=stride, **options) for density in densities]
        found = [(points, torch.ones_like(points[:, 0])) for points in moved]
    return [_inside(*one, size, (height, width), stride) for one, size in zip(found, sizes, strict=True)]


def _inside(points: Tensor, scores: Tensor, size: tuple[int, int], cells: tuple[int, int], stride: int) -> Localized:
    """Where the last cells reach beyond the image, scale their points into the part inside; no two points merge."""
    for length, number in zip(size, cells, strict=True):
        if not (number - 1) * stride < length <= number * stride:
            raise ValueError(f"sizes holds {size}, expected the size of an image of {cells} cells of {stride} pixels")
    begin = points.new_tensor([(number - 1) * stride for number in reversed(cells)])
    within = (points.new_tensor(size[::-1]) - begin) / stride
    return Localized(torch.minimum(points, begin) + (points - begin).clamp(min=0) * within, scores)
