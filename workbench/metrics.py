"""Scores of counts and density maps: functions of arrays that return a number or a small table."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from workbench.checks import check_positive, check_whole
from workbench.tensor_checks import check_points, check_tensor

JHU_LEVELS = {"low": (0, 50), "medium": (51, 500), "high": (501, float("inf"))}
"""JHU-CROWD++'s density levels: people in the image, both ends included."""


def count_pairs(truth: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays as float64 vectors.

    Raises:
        ValueError: not two finite vectors of one length above zero.
    """
    truth = np.asarray(truth, dtype=np.float64)
    predicted = np.asarray(predicted, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != predicted.shape or not len(truth):
        raise ValueError(
            f"truth and predicted have shapes {truth.shape} and {predicted.shape}, "
            "expected two vectors of one length above zero"
        )
    if not (np.isfinite(truth).all() and np.isfinite(predicted).all()):
        raise ValueError("truth or predicted holds NaN or infinite values, expected finite counts")
    return truth, predicted


def mae(truth: ArrayLike, predicted: ArrayLike) -> float:
    r"""Mean absolute error of counts [LA 8], :math:`\frac{1}{N} \sum_i |y_i - \hat y_i|`."""
    truth, predicted = count_pairs(truth, predicted)
    return float(np.abs(truth - predicted).mean())


def rmse(truth: ArrayLike, predicted: ArrayLike) -> float:
    r"""Root mean squared error, :math:`(\frac{1}{N} \sum_i (y_i - \hat y_i)^2)^{1/2}`; many papers print it as MSE."""
    truth, predicted = count_pairs(truth, predicted)
    return float(np.sqrt(np.square(truth - predicted).mean()))


def nae(truth: ArrayLike, predicted: ArrayLike) -> float:
    r"""Mean normalised absolute error: the mean of :math:`|y_i - \hat y_i| / y_i` over the images with people in them.

    NaN if no image has people in it.
    """
    truth, predicted = count_pairs(truth, predicted)
    occupied = truth > 0
    if not occupied.any():
        return float("nan")
    return float((np.abs(truth - predicted)[occupied] / truth[occupied]).mean())


def bias(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mean signed error: above zero where a model over-estimates."""
    truth, predicted = count_pairs(truth, predicted)
    return float((predicted - truth).mean())


def per_level(
    truth: ArrayLike, predicted: ArrayLike, levels: Mapping[str, tuple[float, float]] = JHU_LEVELS
) -> dict[str, dict[str, float]]:
    """Images, MAE, RMSE and bias at each density level.

    Args:
        truth: (N,) counts.
        predicted: (N,) counts.
        levels: name -> (least, most) people in an image, both included.

    Returns:
        One row for each level that has images.

    Raises:
        ValueError: an image belongs to no level.
    """
    truth, predicted = count_pairs(truth, predicted)
    rows, placed = {}, np.zeros(len(truth), dtype=bool)
    for name, (least, most) in levels.items():
        chosen = (truth >= least) & (truth <= most)
        placed |= chosen
        if chosen.any():
            pair = truth[chosen], predicted[chosen]
            rows[name] = {"images": int(chosen.sum()), "mae": mae(*pair), "rmse": rmse(*pair), "bias": bias(*pair)}
    if not placed.all():
        raise ValueError(f"an image of {truth[~placed][0]:g} people belongs to none of the levels {dict(levels)}")
    return rows


def count_scores(truth: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """MAE, RMSE, NAE and bias together."""
    return {
        "mae": mae(truth, predicted),
        "rmse": rmse(truth, predicted),
        "nae": nae(truth, predicted),
        "bias": bias(truth, predicted),
    }


def game(
    density: Float[Tensor, "h w"],
    points: Float[Tensor, "n 2"],
    level: int,
    *,
    stride: float,
    size: tuple[float, float] | None = None,
) -> float:
    r"""Grid average mean absolute error of one image, :math:`\sum_{k=1}^{4^L} |\hat y_k - y_k|`.

    The image is cut into 2^L x 2^L equal regions. A cell that a cut crosses gives each side its share by area.

    Args:
        density: (H, W), people per cell.
        points: (N, 2), image pixels.
        level: L; 0 is the absolute error of the count.
        stride: side of a cell in image pixels.
        size: (height, width) of the image in pixels; that of the map if None.

    Returns:
        The error in people.

    Reference:
        Guerrero-Gómez-Olmedo et al., "Extremely Overlapping Vehicle Counting", IbPRIA 2015.
    """
    check_tensor(density, "density", shape=(None, None))
    check_whole(level, "level", least=0)
    check_positive(stride, "stride")
    rows, columns = density.shape
    height, width = size or (rows * stride, columns * stride)
    check_points(points, size=(height, width))
    parts = 2**level
    predicted = shares(rows, stride, height, parts) @ density.detach().cpu().double()
    predicted = predicted @ shares(columns, stride, width, parts).T
    x, y = points.detach().cpu().double().unbind(1)
    row = (y * parts / height).long().clamp(max=parts - 1)
    column = (x * parts / width).long().clamp(max=parts - 1)
    truth = torch.zeros(parts, parts, dtype=torch.float64)
    truth.index_put_((row, column), torch.ones(len(points), dtype=torch.float64), accumulate=True)
    return float((predicted - truth).abs().sum())


def mean_game(
    densities: Sequence[Float[Tensor, "_ _"]],
    points: Sequence[Float[Tensor, "_ 2"]],
    *,
    stride: float,
    levels: Sequence[int] = (0, 1, 2, 3),
    sizes: Sequence[tuple[float, float]] | None = None,
) -> dict[int, float]:
    """GAME of a data set: level -> the mean over its images. The default levels are those of TRANCOS.

    Args:
        densities: one (H, W) map an image, people per cell.
        points: one (N, 2) tensor an image, image pixels.
        stride: side of a cell in image pixels.
        levels: the levels L, see :func:`game`.
        sizes: (height, width) of each image in pixels; those of the maps if None.

    Raises:
        ValueError: no image, or different numbers of images; and what :func:`game` raises.
    """
    if not len(densities) or len(densities) != len(points) or (sizes is not None and len(sizes) != len(points)):
        raise ValueError(
            f"densities holds {len(densities)} images, points {len(points)}"
            f"{'' if sizes is None else f', sizes {len(sizes)}'}; expected equal numbers, at least one"
        )
    extents: Sequence[tuple[float, float] | None] = [None] * len(points) if sizes is None else sizes
    images = list(zip(densities, points, extents, strict=True))
    return {
        level: float(
            np.mean([game(density, people, level, stride=stride, size=size) for density, people, size in images])
        )
        for level in levels
    }


def shares(cells: int, stride: float, length: float, parts: int) -> Float[Tensor, "parts cells"]:
    """The share of each cell of an axis that lies in each of ``parts`` equal parts of ``length`` pixels.

    If the last cell reaches beyond the image, the rest of it belongs to the last part, so a cell's shares sum to one.
    """
    edges = torch.linspace(0, length, parts + 1, dtype=torch.float64)
    edges[-1] = max(length, cells * stride)
    start = torch.arange(cells, dtype=torch.float64) * stride
    overlap = torch.minimum(edges[1:, None], start + stride) - torch.maximum(edges[:-1, None], start)
    return overlap.clamp(min=0) / stride


def sparsity(density: Float[Tensor, "*shape"], threshold: float = 0.001) -> float:
    """The share of cells whose density is below ``threshold`` (GL fig. 5 and 6: 0.001)."""
    check_positive(threshold, "threshold")
    return float((density < threshold).double().mean())


def group_means(values: Sequence[float], groups: Sequence[int]) -> dict[int, float]:
    """The mean of ``values`` in each group. The mean of these gives rare groups the weight of common ones."""
    array, labels = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if array.shape != labels.shape:
        raise ValueError(f"values and groups have shapes {array.shape} and {labels.shape}, expected the same")
    return {int(group): float(array[labels == group].mean()) for group in np.unique(labels)}
