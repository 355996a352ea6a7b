"""Points from a density map."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive
from workbench.io.extras import need
from workbench.tensor_checks import check_not_negative, check_tensor

PAPER_THRESHOLD, PAPER_CELL = 0.05, 8 * 8  # people per cell, and the pixels of that cell


def local_maxima(
    density: Float[Tensor, "h w"], *, size: tuple[int, int], threshold: float | None = None
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]:
    """People where the enlarged map has a local maximum, as section 3.4 of the generalized-loss paper.

    The map is enlarged bilinearly to the image; a pixel is a candidate if it is the maximum of the 3 x 3 window
    around it; candidates of more than ``threshold`` are kept. Pixels of equal value that touch each other are one
    maximum, put at the middle of them, unless one of them touches a higher pixel.

    Args:
        density: (H, W), people per cell.
        size: (height, width) of the image in pixels.
        threshold: people per cell. None: the paper's 0.05 for its cells of 8 x 8 pixels, and as many people per pixel
            for cells of another size.

    Returns:
        Points (N, 2), x then y, image pixels (the centre of a pixel is at a half), and the density at each, (N,).

    Reference:
        Wan, Liu and Chan, CVPR 2021, sec. 3.4.
    """
    from scipy import ndimage

    need("data")
    from skimage.morphology import local_maxima as regional_maxima

    check_tensor(density, "density", shape=(None, None))
    check_not_negative(density, "density")
    if threshold is None:
        rows, columns = density.shape
        threshold = PAPER_THRESHOLD / PAPER_CELL * (size[0] * size[1]) / max(rows * columns, 1)
    check_positive(threshold, "threshold", zero=True)
    large = F.interpolate(density.detach().double()[None, None], size=size, mode="bilinear", align_corners=False)
    values = large[0, 0].cpu().numpy()
    # flat parts are flat only up to rounding; a border below everything lets maxima lie at the image's edge
    level = np.pad(np.rint(values / max(values.max(), 1e-300) * 1e9), 1, constant_values=-1)
    peak = regional_maxima(level)[1:-1, 1:-1] & (values > threshold)
    labels, found = ndimage.label(peak, structure=[[1, 1, 1]] * 3)
    ranks = range(1, found + 1)
    middle = torch.as_tensor(ndimage.center_of_mass(peak, labels, ranks), dtype=density.dtype).reshape(-1, 2)
    height = torch.as_tensor(ndimage.maximum(values, labels, ranks), dtype=density.dtype)
    points = middle.flip(1) + 0.5
    return points.to(density.device), height.to(density.device)
