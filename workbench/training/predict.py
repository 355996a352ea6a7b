"""Where a model sees people: in pictures of one's own, large ones tile by tile, and in a data set."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from workbench.checks import check_whole
from workbench.data.files.images import read_image
from workbench.data.files.resizing import resize_rule
from workbench.data.sample import CrowdSample
from workbench.data.transforms import resize_sample
from workbench.localization import Localized, find_points
from workbench.models import CountingModel
from workbench.tensor_checks import check_tensor
from workbench.training.evaluation import inference

DRAWN = 1600  # longest side in pixels of a picture in an overlay, which is 1200 pixels wide


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture.

    Attributes:
        name: the picture's file name.
        image: (3, H, W) in [0, 1], as it was read.
        seen: (H, W) of the picture as the network was shown it, after resizing.
        density: (h, w), people per cell of the resized picture.
        stride: side of a cell in pixels of the resized picture.
        points: (N, 2), x then y, pixels of the picture as it was read.
        scores: (N,), how sure each point is, see :class:`~workbench.localization.Localized`.
    """

    name: str
    image: Float[Tensor, "3 h w"]
    seen: tuple[int, int]
    density: Float[Tensor, "hh ww"]
    stride: int
    points: Float[Tensor, "n 2"]
    scores: Float[Tensor, "n"]

    @property
    def count(self) -> float:
        """The number of people: the sum of the density."""
        return float(self.density.sum())

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture as it was read."""
        return self.image.shape[1], self.image.shape[2]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sizes = {"size": list(self.size), "seen": list(self.seen)}
        return {"image": self.name, "count": self.count, **sizes, "points": self.points.tolist()}


def predict_density(
    model: CountingModel, image: Float[Tensor, "3 h w"], *, tile: int = 1024, margin: int = 192
) -> Float[Tensor, "hh ww"]:
    """The density map of one image, tile by tile where it is larger than ``tile``.

    Each tile is computed with ``margin`` pixels around it that are then cut off, so that where the margin is at least
    the radius of the network's receptive field the tiles join without a seam.

    Args:
        model: the model.
        image: (3, H, W) in [0, 1].
        tile: side of a tile in image pixels; rounded up to what the network takes.
        margin: pixels around a tile; rounded up likewise.

    Returns:
        (ceil(H / stride), ceil(W / stride)), people per cell.
    """
    check_tensor(image, "image", shape=(3, None, None))
    check_whole(tile, "tile")
    check_whole(margin, "margin", least=0)
    stride, parameter = model.stride, next(model.parameters())
    tile, margin = (-(-value // model.multiple) * model.multiple for value in (tile, margin))
    height, width = image.shape[1:]
    density = torch.zeros(-(-height // stride), -(-width // stride), dtype=parameter.dtype)
    with inference(model):
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                y, x = max(top - margin, 0), max(left - margin, 0)
                window = image[None, :, y : top + tile + margin, x : left + tile + margin].to(parameter)
                rows, columns = (top - y) // stride, (left - x) // stride
                part = model(window)[0, 0, rows:, columns:].cpu()
                part = part[: tile // stride, : tile // stride]
                row, column = top // stride, left // stride
                density[row : row + part.shape[0], column : column + part.shape[1]] = part
    return density


def predict_image(
    model: CountingModel,
    path: str | Path,
    *,
    resize: str = "none",
    method: str = "local_maxima",
    tile: int = 1024,
    margin: int = 192,
) -> Prediction:
    """Count and find the people in a picture.

    Args:
        model: the model.
        path: the picture.
        resize: the rule for the picture's size, see :data:`workbench.data.files.resizing.RULES`: that of the images
            that the model was trained with, see :func:`workbench.training.experiment.trained_resize`.
        method: how points are found, "local_maxima" or "ot_m".
        tile: see :func:`predict_density`.
        margin: see there.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not an image, or damaged; an unknown rule or method.
    """
    options: dict[str, Any] = {"resize": resize, "method": method, "tile": tile, "margin": margin}
    return predict_pixels(model, read_image(path), Path(path).name, **options)


def predict_pixels(
    model: CountingModel,
    image: Float[Tensor, "3 h w"],
    name: str,
    *,
    resize: str = "none",
    method: str = "local_maxima",
    tile: int = 1024,
    margin: int = 192,
) -> Prediction:
    """As :func:`predict_image`, of a picture (3, H, W) in [0, 1] that is called ``name``."""
    height, width = image.shape[1:]
    sample = CrowdSample(image, torch.zeros(0, 2), name)
    shown = resize_sample(sample, resize_rule(resize)((height, width)))
    density = predict_density(model, shown.image, tile=tile, margin=margin)
    found = locate(density, method, model.stride, shown.size)
    scale = found.points.new_tensor([width / shown.size[1], height / shown.size[0]])
    return Prediction(sample.name, image, shown.size, density, model.stride, found.points * scale, found.scores)


def localize(
    model: CountingModel,
    samples: Iterable[CrowdSample],
    method: str = "local_maxima",
    *,
    progress: bool = False,
    **options: Any,
) -> dict[str, Localized]:
    """Where a model sees people in each sample: image name -> points in image pixels, with scores.

    Args:
        model: the model; its device and dtype are used.
        samples: a data set or any iterable of samples, of any sizes.
        method: "local_maxima" or "ot_m", see :mod:`workbench.localization`.
        progress: show a progress bar.
        options: of the method.

    Raises:
        ValueError: two samples of one name; an unknown method.
    """
    found: dict[str, Localized] = {}
    for sample in tqdm(samples, desc=method, unit="image", disable=not progress):
        if sample.name in found:
            raise ValueError(f"samples hold {sample.name!r} twice, expected one of each name")
        found[sample.name] = locate(predict_density(model, sample.image), method, model.stride, sample.size, **options)
    return found


def locate(density: Tensor, method: str, stride: int, size: tuple[int, int], **options: Any) -> Localized:
    """Where people are in one density map (h, w) of an image of ``size`` = (H, W)."""
    (found,) = find_points(density[None, None], method, stride=stride, sizes=[size], **options)
    return found


def save_overlay(prediction: Prediction, path: str | Path) -> None:
    """Draw a prediction beside its picture and write it as PNG: the points on the picture, and the density.

    The file has 1200 pixels by at most 1050, whatever the shape of the picture. A circle is at most half as wide as
    the median distance from a person to the next one, so that heads in a dense crowd stay visible.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from workbench.io.files import atomic_write
    from workbench.plots.basic import show_density, show_image, show_points

    height, width = prediction.size
    tall = min(max(2.5, 5.4 * height / width), 10.0)
    figure = Figure(figsize=(12, tall + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    title = f"{prediction.name}: {prediction.count:.1f} people, {len(prediction.points)} points"
    image, factor = prediction.image, min(1.0, DRAWN / max(height, width))
    if factor < 1:
        smaller = max(1, round(height * factor)), max(1, round(width * factor))
        image = F.interpolate(image[None], size=smaller, mode="area")[0]
    show_image(left, image, title)
    left.images[0].set_extent((0, width, height, 0))
    inches = min(5.4 / width, tall / height)  # of one pixel of the picture
    show_points(left, prediction.points, size=marker_size(prediction.points, 72 * inches))
    drawn = show_density(right, prediction.density, title="density")
    side = [prediction.stride * own / seen for own, seen in zip(prediction.size, prediction.seen, strict=True)]
    rows, columns = prediction.density.shape
    drawn.set_extent((0, columns * side[1], rows * side[0], 0))
    for ax in (left, right):
        ax.set(xlim=(0, width), ylim=(height, 0))
    figure.colorbar(drawn, ax=right, label=f"people per {side[1]:.3g} x {side[0]:.3g} px", shrink=0.8)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=100)


def marker_size(points: Float[Tensor, "n 2"], scale: float, *, most: float = 14.0) -> float:
    """The area of a circle, in square points, half as wide as the median distance to the nearest neighbour.

    Args:
        points: (N, 2), pixels.
        scale: typographic points a pixel.
        most: the largest area.
    """
    from scipy.spatial import cKDTree  # half a second to import

    if len(points) < 2:
        return most
    people = points.detach().cpu().numpy()
    apart = float(np.median(cKDTree(people).query(people, k=2)[0][:, 1])) * scale
    return min(most, max(0.5, (apart / 2) ** 2))
