"""Density maps from points.

A map sums to the count, at the image's border and at any stride: each person's kernel is normalised over the cells
of the map.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.checks import check_positive, check_whole
from workbench.points import cell_axis
from workbench.tensor_checks import check_not_negative, check_points, check_tensor


def density_map(
    points: Float[Tensor, "n 2"],
    size: tuple[int, int],
    *,
    sigma: float | Float[Tensor, "n"] = 15.0,
    stride: float = 1,
    weights: Float[Tensor, "n"] | None = None,
    validate: bool = True,
) -> Float[Tensor, "h w"]:
    r"""[GL 12]: a Gaussian for each person, normalised over the cells of the map.

    .. math:: a_i = \sum_j b_j \frac{\exp(-\|x_i - y_j\|^2 / 2 \sigma_j^2)}
                                   {\sum_k \exp(-\|x_k - y_j\|^2 / 2 \sigma_j^2)}

    The paper's :math:`\varepsilon` is :math:`2 \sigma^2`. A Gaussian on a grid is the outer product of a Gaussian
    over the rows and one over the columns. So the map is one matrix product of (H, N) and (N, W), without truncation.

    Args:
        points: (N, 2), x then y, image pixels.
        size: (H, W) of the map in cells.
        sigma: standard deviation in image pixels, one number or one a point (see :func:`adaptive_sigma`).
        stride: side of a cell in image pixels.
        weights: (N,) people per annotation; ones if None.
        validate: whether the values of points, sigma and weights are checked. The checks wait for the device.

    Returns:
        (H, W), people per cell; its sum is the sum of the weights.

    Raises:
        ValueError: a point outside the map, a sigma that is not above zero, a negative weight.

    Reference:
        Wan, Liu and Chan, "A Generalized Loss Function for Crowd Counting and Localization", CVPR 2021, sec. 4.2.
    """
    height, width = size
    check_positive(stride, "stride")
    check_points(points, size=(height * stride, width * stride), values=validate)
    if isinstance(sigma, Tensor):
        check_tensor(sigma, "sigma", shape=(len(points),), values=validate)
        if validate and bool((sigma <= 0).any()):
            raise ValueError(f"sigma holds values down to {float(sigma.min()):g}, expected values > 0")
        variance = sigma.to(points).square()[:, None]
    else:
        check_positive(sigma, "sigma")
        variance = points.new_full((len(points), 1), sigma**2)
    if weights is not None:
        check_tensor(weights, "weights", shape=(len(points),), values=validate)
        if validate:
            check_not_negative(weights, "weights")
    return gaussian_maps(points, size, variance, stride, weights)


def gaussian_maps(
    points: Float[Tensor, "*b n 2"],
    size: tuple[int, int],
    variance: Float[Tensor, "*b n 1"],
    stride: float,
    weights: Float[Tensor, "*b n"] | None = None,
) -> Float[Tensor, "*b h w"]:
    """The map of :func:`density_map`, or those of a batch whose padding has no weight; nothing is checked."""
    height, width = size
    x, y = points.unbind(-1)
    kernels = []
    for coordinate, cells in ((y, height), (x, width)):
        centres = cell_axis(cells, stride, dtype=points.dtype, device=points.device)
        # softmax is the normalised Gaussian; it does not underflow for a kernel far narrower than a cell
        kernels.append(torch.softmax(-(centres - coordinate[..., None]).square() / (2 * variance), dim=-1))
    rows, columns = kernels
    if weights is not None:
        rows = rows * weights.to(points)[..., None]
    return rows.mT @ columns


def adaptive_sigma(
    points: Float[Tensor, "n 2"],
    *,
    neighbours: int = 3,
    beta: float = 0.3,
    least: float = 1.0,
    default: float = 15.0,
) -> Float[Tensor, "n"]:
    r"""Geometry-adaptive widths: :math:`\sigma_j = \beta \bar d_j`, the mean distance to the nearest neighbours.

    Args:
        points: (N, 2), image pixels.
        neighbours: number of neighbours that the mean is taken over; fewer if there are fewer people.
        beta: factor on the mean distance; 0.3 in the paper.
        least: smallest width in pixels, for people annotated on one spot.
        default: width in pixels for a person alone in the image.

    Returns:
        (N,) standard deviations in image pixels.

    Reference:
        Zhang et al., "Single-Image Crowd Counting via Multi-Column Convolutional Neural Network", CVPR 2016, sec. 2.2.
    """
    from scipy.spatial import cKDTree  # half a second to import

    check_points(points)
    check_whole(neighbours, "neighbours")
    for value, name in ((beta, "beta"), (least, "least"), (default, "default")):
        check_positive(value, name)
    if len(points) < 2:
        return points.new_full((len(points),), default)
    coordinates = points.detach().cpu().double().numpy()
    ranks = list(range(2, min(neighbours, len(points) - 1) + 2))  # rank 1 is the point itself
    distance, _ = cKDTree(coordinates).query(coordinates, k=ranks)
    return torch.as_tensor(beta * distance.mean(axis=1)).to(points).clamp(min=least)


def adaptive_sigmas(
    points: Float[Tensor, "b n 2"],
    real: Bool[Tensor, "b n"],
    *,
    neighbours: int,
    beta: float,
    default: float,
    least: float = 1.0,
) -> Float[Tensor, "b n"]:
    """The widths of :func:`adaptive_sigma` for a padded batch, of which ``real`` says what is there."""
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    alone = ~real[:, None] | torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
    near = distance.masked_fill(alone, torch.inf).topk(min(neighbours, real.shape[1]), dim=2, largest=False).values
    known = near.isfinite()
    mean = near.where(known, 0).sum(dim=2) / known.sum(dim=2).clamp(min=1)
    return torch.where(known.any(dim=2), (beta * mean).clamp(min=least), default)


def local_counts(density: Float[Tensor, "*batch h w"], region: int) -> Float[Tensor, "*batch r c"]:
    """The number of people in each square region of ``region`` x ``region`` cells.

    A map whose sides are no multiples of the region is extended with empty cells, so the counts sum to the map's sum.
    """
    check_whole(region, "region")
    height, width = density.shape[-2:]
    padded = F.pad(density, (0, -width % region, 0, -height % region))
    rows, columns = padded.shape[-2] // region, padded.shape[-1] // region
    return padded.unflatten(-1, (columns, region)).unflatten(-3, (rows, region)).sum(dim=(-1, -3))


def resize_density(density: Float[Tensor, "b 1 h w"], size: tuple[int, int]) -> Float[Tensor, "b 1 hh ww"]:
    """Resize maps bilinearly to ``size`` = (H, W), each rescaled so that it keeps its sum."""
    check_tensor(density, "density", shape=(None, 1, None, None))
    resized = F.interpolate(density, size=size, mode="bilinear", align_corners=False)
    before = density.sum(dim=(-2, -1), keepdim=True)
    after = resized.sum(dim=(-2, -1), keepdim=True)
    return resized * torch.where(after > 0, before / after.clamp(min=torch.finfo(after.dtype).tiny), 1.0)
