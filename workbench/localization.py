"""Points from a density map."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_not_negative, check_positive, check_tensor


def local_maxima(
    density: Float[Tensor, "h w"], *, size: tuple[int, int], threshold: float = 0.05
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]:
    """People where the enlarged map has a local maximum, as section 3.4 of the generalized-loss paper.

    The map is enlarged bilinearly to the image; a pixel is a candidate if it is the maximum of the 3 x 3 window
    around it; candidates of more than ``threshold`` are kept. Pixels of equal value that touch each other are one
    maximum, put at the middle of them, unless one of them touches a higher pixel.

    Args:
        density: (H, W), people per cell.
        size: (height, width) of the image in pixels.
        threshold: people per cell; the paper's value is 0.05.

    Returns:
        Points (N, 2), x then y, image pixels (the centre of a pixel is at a half), and the density at each, (N,).

    Reference:
        Wan, Liu and Chan, CVPR 2021, sec. 3.4.
    """
    from scipy import ndimage
    from skimage.morphology import local_maxima as regional_maxima

    check_tensor(density, "density", shape=(None, None))
    check_not_negative(density, "density")
    check_positive(threshold, "threshold", zero=True)
    large = F.interpolate(density.detach()[None, None], size=size, mode="bilinear", align_corners=False)
    # a border below everything lets maxima lie at the image's edge, and a constant map be one
    values = F.pad(large[0, 0], (1, 1, 1, 1), value=-1.0).cpu().numpy()
    peak = regional_maxima(values)[1:-1, 1:-1] & (values[1:-1, 1:-1] > threshold)
    labels, found = ndimage.label(peak, structure=[[1, 1, 1]] * 3)
    ranks = range(1, found + 1)
    middle = torch.as_tensor(ndimage.center_of_mass(peak, labels, ranks), dtype=density.dtype).reshape(-1, 2)
    height = torch.as_tensor(ndimage.maximum(values[1:-1, 1:-1], labels, ranks), dtype=density.dtype)
    points = middle.flip(1) + 0.5
    return points.to(density.device), height.to(density.device)
