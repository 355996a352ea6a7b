"""Regions of interest and other maps of an image, read from files."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.data.files.entries import as_points
from workbench.data.files.matlab import pick, read_mat, read_variables


def polygon_mask(vertices: Float[Tensor, "n 2"], size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """The pixels of an image of ``size`` = (H, W) whose centre lies in the polygon of ``vertices``, x then y."""
    from skimage.draw import polygon2mask

    # polygon2mask tests the points (row, column); the centre of a pixel lies half a pixel further
    return torch.from_numpy(polygon2mask(size, vertices.flip(1).double().numpy() - 0.5))


def read_polygon(path: Path, x: str, y: str, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """The mask of the polygon whose vertices are the variables ``x`` and ``y`` of a MATLAB file.

    Errors as :func:`~workbench.data.files.matlab.read_variables`, and unless three or more vertices hold a pixel.
    """
    columns = [np.asarray(read_mat(path, name)).ravel() for name in (x, y)]
    if len(columns[0]) != len(columns[1]) or len(columns[0]) < 3:
        raise ValueError(
            f"{path} holds {len(columns[0])} x and {len(columns[1])} y of a region, expected three or more"
        )
    mask = polygon_mask(as_points(np.stack(columns, axis=1), path), size)
    if not mask.any():
        raise ValueError(f"{path} holds a region without a pixel in the image of (H, W) = {size}")
    return mask


def read_map(path: Path, size: tuple[int, int], *keys: str) -> Float[Tensor, "h w"]:
    """An array of numbers of ``size`` = (H, W): the first of the variables ``keys``, or the file's only variable.

    Errors as :func:`~workbench.data.files.matlab.read_variables`, and for another size or what is no finite number.
    """
    variables = read_variables(path)
    found = pick(variables, path, *keys, *(variables if len(variables) == 1 else ()))
    try:
        values = torch.from_numpy(np.asarray(variables[found]).astype(np.float32))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {found} does not hold numbers") from error
    if values.shape != size:
        raise ValueError(f"{path}: {found} has shape {tuple(values.shape)}, the image has (H, W) = {size}")
    if not torch.isfinite(values).all():
        raise ValueError(f"{path}: {found} holds values that are NaN or infinite")
    return values
