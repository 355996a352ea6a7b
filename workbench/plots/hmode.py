"""Figures of the mixture of density experts: best scales, weight maps, a parameter's values. Axes in, axes out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from workbench.plots.basic import BLUE, GREEN, GREY, ORANGE, PURPLE, show_map

SCALES = (BLUE, ORANGE, GREEN, PURPLE)


def show_best_scale(
    ax: Axes, best: Int[Tensor, "h w"], experts: int, *, stride: float = 1, title: str = ""
) -> AxesImage:
    """Draw which expert is the best at each cell by :func:`show_map`, a colour an expert (Fig. 1)."""
    norm = BoundaryNorm(np.arange(experts + 1) - 0.5, experts)
    return show_map(ax, best, stride=stride, title=title, cmap=ListedColormap(SCALES[:experts]), norm=norm)


def scale_legend(experts: int) -> list[Patch]:
    """The handles of a legend for :func:`show_best_scale`, the finest scale first."""
    return [Patch(facecolor=SCALES[k], label=f"$E_{k + 1}$") for k in range(experts)]


def show_weights(ax: Axes, weights: Float[Tensor, "h w"], *, stride: float = 1, title: str = "") -> AxesImage:
    """Draw a gate's weights by :func:`show_map`, from 0 to 1 (Fig. 8)."""
    return show_map(ax, weights, stride=stride, title=title, cmap="viridis", vmin=0, vmax=1)


def show_sweep(
    ax: Axes, measured: Mapping[str, Sequence[float]], *, xlabel: str, mark: str | None = None, color: str = BLUE
) -> Axes:
    """Draw the error along a parameter's values: each network a ring, a line through the means (Fig. 6)."""
    for place, values in enumerate(measured.values()):
        ax.plot([place] * len(values), values, "o", color=color, markersize=5, fillstyle="none")
    ax.plot([np.mean(values) for values in measured.values()], color=color, linewidth=1.5)
    if mark is not None and mark in measured:
        ax.axvline(list(measured).index(mark), color=GREY, linewidth=0.8, linestyle=":")
    ax.set_xticks(range(len(measured)), list(measured))
    ax.set(xlabel=xlabel, ylabel="test MAE (people)")
    return ax


def show_regions(
    ax: Axes, places: Int[Tensor, "s"], grid: tuple[int, int], side: float, *, color: str = ORANGE
) -> Axes:
    """Frame the regions that relative local counting compares, with their places in its list, in image pixels.

    ``places`` are the regions' numbers, row by row in a ``grid`` of (rows, columns), in the list's order; ``side`` is
    that of a region in image pixels.
    """
    for rank, place in enumerate(places.tolist(), start=1):
        row, column = divmod(place, grid[1])
        ax.add_patch(Rectangle((column * side, row * side), side, side, fill=False, edgecolor=color, linewidth=1.6))
        middle = ((column + 0.5) * side, (row + 0.5) * side)
        number = ax.text(*middle, str(rank), color=color, ha="center", va="center", weight="bold")
        number.set_path_effects([withStroke(linewidth=3, foreground="black")])
    return ax
