"""Points in image and cell coordinates, and how they move when the image is cropped, flipped or resized.

Image coordinates are continuous, origin at the top-left corner of the image, x to the right and y down; the pixel of
row r and column c covers [c, c + 1) x [r, r + 1). The density cell (r, c) at stride s has its centre at
((c + 0.5) s, (r + 0.5) s). Points are always (x, y).
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.checks import check_positive, check_whole
from workbench.tensor_checks import check_points


def cell_axis(
    cells: int, stride: float, *, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Float[Tensor, "cells"]:
    """Centres of ``cells`` cells along one axis, in image pixels: (i + 0.5) stride."""
    check_whole(cells, "cells")
    check_positive(stride, "stride")
    return (torch.arange(cells, dtype=dtype or torch.get_default_dtype(), device=device) + 0.5) * stride


def cell_centres(
    size: tuple[int, int],
    stride: float,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Float[Tensor, "n 2"]:
    """Centres (x, y) of the cells of a map of ``size`` = (H, W), row by row, in image pixels."""
    height, width = size
    y = cell_axis(height, stride, dtype=dtype, device=device)
    x = cell_axis(width, stride, dtype=dtype, device=device)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)


def cell_of(
    points: Float[Tensor, "n 2"], size: tuple[int, int], stride: float, *, validate: bool = True
) -> Int[Tensor, "n 2"]:
    """The (row, column) of the cell that each point lies in; a point on the far border belongs to the last cell.

    Without ``validate`` the values are not checked, and nothing waits for the device.

    Raises:
        ValueError: a point lies outside the map.
    """
    height, width = size
    check_positive(stride, "stride")
    check_points(points, size=(height * stride, width * stride), values=validate)
    column, row = (points / stride).floor().long().unbind(1)
    return torch.stack([row.clamp(max=height - 1), column.clamp(max=width - 1)], dim=1)


def dot_map(
    points: Float[Tensor, "n 2"],
    size: tuple[int, int],
    stride: float = 1,
    weights: Float[Tensor, "n"] | None = None,
    *,
    validate: bool = True,
) -> Float[Tensor, "h w"]:
    """The number of people in each cell of a map of ``size`` = (H, W): sums to the count.

    ``validate`` as in :func:`cell_of`.
    """
    row, column = cell_of(points, size, stride, validate=validate).unbind(1)
    dots = points.new_zeros(size)
    people = points.new_ones(len(points)) if weights is None else weights
    return dots.index_put((row, column), people, accumulate=True)


def dot_maps(
    points: Sequence[Float[Tensor, "_ 2"]],
    size: tuple[int, int],
    stride: float,
    weights: Sequence[Float[Tensor, "_"]],
) -> Float[Tensor, "b h w"]:
    """The :func:`dot_map` of each image of a batch, in one go and without a check of values."""
    spots, people = torch.cat(list(points)), torch.cat(list(weights))
    number = np.repeat(np.arange(len(points)), [len(image_points) for image_points in points])
    image = torch.from_numpy(number).to(spots.device, non_blocking=True)
    row, column = cell_of(spots, size, stride, validate=False).unbind(1)
    dots = spots.new_zeros(len(points), *size)
    return dots.index_put((image, row, column), people, accumulate=True)


def inside(points: Float[Tensor, "n 2"], left: float, top: float, width: float, height: float) -> Bool[Tensor, "n"]:
    """Which points lie in the window [left, left + width) x [top, top + height)."""
    x, y = points.unbind(1)
    return (x >= left) & (x < left + width) & (y >= top) & (y < top + height)


def crop(points: Float[Tensor, "n 2"], left: float, top: float, width: float, height: float) -> Float[Tensor, "m 2"]:
    """The points inside the window, in the window's coordinates; points outside are left out.

    The window is half open like a pixel, so neighbouring windows share no point.
    """
    check_points(points)
    check_positive(width, "width")
    check_positive(height, "height")
    kept = points[inside(points, left, top, width, height)]
    return kept - points.new_tensor([left, top])


def flip(points: Float[Tensor, "n 2"], width: float) -> Float[Tensor, "n 2"]:
    """Mirror left and right: x -> width - x, where pixel indices would take width - 1 - x."""
    check_positive(width, "width")
    check_points(points)
    return torch.stack([width - points[:, 0], points[:, 1]], dim=1)


def resize(
    points: Float[Tensor, "n 2"], size: tuple[float, float], new_size: tuple[float, float]
) -> Float[Tensor, "n 2"]:
    """Move points with an image resized from ``size`` to ``new_size``, both (height, width)."""
    names = ("height", "width", "new height", "new width")
    for value, name in zip((*size, *new_size), names, strict=True):
        check_positive(value, name)
    check_points(points)
    return points * points.new_tensor([new_size[1] / size[1], new_size[0] / size[0]])
