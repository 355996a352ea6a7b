"""Counting the people in pictures of one's own: any size, large ones tile by tile."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_whole
from workbench.localization import local_maxima
from workbench.models import CountingModel
from workbench.tensor_checks import check_tensor
from workbench.training.evaluation import inference


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture.

    Attributes:
        name: the picture's file name.
        image: (3, H, W) in [0, 1].
        density: (h, w), people per cell.
        stride: side of a cell in image pixels.
        points: (N, 2), x then y: the local maxima of the density, image pixels.
    """

    name: str
    image: Float[Tensor, "3 h w"]
    density: Float[Tensor, "hh ww"]
    stride: int
    points: Float[Tensor, "n 2"]

    @property
    def count(self) -> float:
        """The number of people: the sum of the density."""
        return float(self.density.sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"image": self.name, "count": self.count, "points": self.points.tolist()}


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


def predict_image(model: CountingModel, path: str | Path, *, tile: int = 1024, margin: int = 192) -> Prediction:
    """Count the people in a picture.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not an image, or damaged.
    """
    from workbench.data.files.images import read_image

    image = read_image(path)
    density = predict_density(model, image, tile=tile, margin=margin)
    points, _ = local_maxima(density, size=(image.shape[1], image.shape[2]))
    return Prediction(Path(path).name, image, density, model.stride, points)


def save_overlay(prediction: Prediction, path: str | Path) -> None:
    """Draw a prediction beside its picture and write it as PNG: the points on the picture, and the density."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from workbench.io.files import atomic_write
    from workbench.plots.basic import show_density, show_image, show_points

    height, width = prediction.image.shape[1:]
    figure = Figure(figsize=(12, max(2.5, 5.4 * height / width) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    title = f"{prediction.name}: {prediction.count:.1f} people, {len(prediction.points)} points"
    show_points(show_image(left, prediction.image, title), prediction.points)
    drawn = show_density(right, prediction.density, stride=prediction.stride, title="density")
    right.set(xlim=(0, width), ylim=(height, 0))
    figure.colorbar(drawn, ax=right, label=f"people per {prediction.stride} x {prediction.stride} px", shrink=0.8)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=100)
