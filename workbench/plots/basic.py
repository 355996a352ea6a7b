"""Figures: axes in, axes out, never ``show()``.

Colours are readable for colour-blind people: Okabe and Ito's palette for lines and points, matplotlib's viridis and
magma for maps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from torch import Tensor

from workbench.metrics import count_pairs, mae

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#555555"


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """A figure of ``width`` x ``height`` inches that pyplot knows nothing of, so that none is left open."""
    figure = Figure(figsize=(width, height), **options)
    FigureCanvasAgg(figure)
    return figure


def show_image(ax: Axes, image: Float[Tensor, "c h w"], title: str = "") -> Axes:
    """Draw an image of (3, H, W) or (1, H, W) in [0, 1], in its own pixel coordinates."""
    height, width = image.shape[-2:]
    pixels = image.detach().cpu().permute(1, 2, 0).squeeze(-1).numpy()
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0), interpolation="nearest")
    ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], title=title)
    return ax


def show_points(
    ax: Axes, points: Float[Tensor, "n 2"], *, color: str = ORANGE, label: str = "", size: float = 14
) -> Axes:
    """Draw people as circles that leave the head visible."""
    x, y = points.detach().cpu().unbind(1)
    line = min(1.2, size**0.5 / 3)  # a small circle with a thick line would hide the head
    ax.scatter(x, y, s=size, facecolors="none", edgecolors=color, linewidths=line, label=label or None)
    return ax


def show_map(ax: Axes, values: Shaped[Tensor, "h w"], *, stride: float = 1, title: str = "", **look: Any) -> AxesImage:
    """Draw a number a cell in image pixels; ``look`` holds colours and limits, as of matplotlib's ``imshow``.

    ``values`` are (H, W), ``stride`` is the side of a cell in image pixels. Returns the map, for a colour bar.
    """
    height, width = values.shape
    extent = (0, width * stride, height * stride, 0)
    drawn = ax.imshow(values.detach().cpu().numpy(), extent=extent, interpolation="nearest", **look)
    ax.set(xticks=[], yticks=[], title=title)
    return drawn


def show_density(
    ax: Axes, density: Float[Tensor, "h w"], *, stride: float = 1, title: str = "", most: float | None = None
) -> AxesImage:
    """Draw a density map by :func:`show_map`; ``most`` people per cell have the brightest colour."""
    return show_map(ax, density, stride=stride, title=title, cmap="magma", vmin=0, vmax=most)


def show_counts(
    ax: Axes, truth: Sequence[float], predicted: Sequence[float], *, label: str = "", color: str = BLUE
) -> Axes:
    """Draw predicted against true counts, an image a point (LA fig. 2)."""
    true, guess = count_pairs(truth, predicted)
    most = max(float(true.max()), float(guess.max()), 1.0) * 1.05
    ax.axline((0, 0), slope=1, color=GREY, linewidth=0.8, linestyle="--")
    name = f"{label} (MAE {mae(true, guess):.2f})" if label else f"MAE {mae(true, guess):.2f}"
    ax.scatter(true, guess, s=12, alpha=0.7, color=color, label=name, edgecolors="none")
    ax.set(xlabel="people annotated", ylabel="people predicted", xlim=(0, most), ylim=(0, most))
    ax.legend(frameon=False, loc="upper left")
    return ax


def show_history(ax: Axes, history: Sequence[Mapping[str, Any]], *, baseline: float | None = None) -> Axes:
    """Draw the validation MAE by epoch, and where given the MAE of predicting the training mean."""
    epochs = [row["epoch"] for row in history]
    ax.plot(epochs, [row["val_mae"] for row in history], color=BLUE, marker="o", markersize=3, label="validation")
    if baseline is not None:
        ax.axhline(baseline, color=GREY, linestyle="--", linewidth=1, label="predicting the training mean")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel="MAE (people)", ylim=(0, None))
    ax.legend(frameon=False)
    return ax


def show_count_histogram(ax: Axes, counts: Sequence[float], *, bins: int = 30, color: str = BLUE) -> Axes:
    """Draw how many images have how many people, the number of images on a logarithmic axis (LA fig. 1)."""
    ax.hist(np.asarray(counts), bins=bins, color=color)
    ax.set(xlabel="people in the image", ylabel="images", yscale="log")
    return ax


def show_runs(
    ax: Axes, values: Mapping[str, ArrayLike], *, xlabel: str, mark: str | None = None, color: str = BLUE
) -> Axes:
    """Draw groups of networks from the top down: each network a dot, their mean a line.

    ``values`` holds a number a network, by the group's name; ``mark`` is the group in another colour, whose mean is a
    dotted line across all.
    """
    import pandas as pd
    import seaborn as sns

    rows = [(name, float(value)) for name, numbers in values.items() for value in np.atleast_1d(np.asarray(numbers))]
    frame = pd.DataFrame(rows, columns=["name", "value"])
    palette = {name: ORANGE if name == mark else color for name in values}
    drawn = {"x": "value", "y": "name", "hue": "name", "palette": palette, "legend": False, "ax": ax}
    sns.stripplot(frame, **drawn, alpha=0.6, size=6, jitter=False)  # jitter would draw from the global generator
    sns.pointplot(frame, **drawn, errorbar=None, linestyle="none", marker="|", markersize=16, markeredgewidth=2.5)
    if mark in values:
        ax.axvline(frame.loc[frame["name"] == mark, "value"].mean(), color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xlabel=xlabel, ylabel="")
    return ax
