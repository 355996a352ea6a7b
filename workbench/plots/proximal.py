"""Figures of the proximal mapping loss: patches, proximal maps, gradients. Axes in, axes out."""

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from torch import Tensor

from workbench.plots.basic import BLUE, GREY, ORANGE, show_map


def show_borders(
    ax: Axes, owner: Int[Tensor, "h w"], *, stride: float = 1, color: str = "white", width: float = 1.0
) -> Axes:
    """Draw the borders between the cells of different annotations in image pixels, ``width`` points wide.

    ``owner`` (H, W) is the number of the annotation that each cell belongs to.
    """
    of = owner.detach().cpu().numpy()
    upright = [[(c + 1, r), (c + 1, r + 1)] for r, c in np.argwhere(of[:, 1:] != of[:, :-1])]
    level = [[(c, r + 1), (c + 1, r + 1)] for r, c in np.argwhere(of[1:] != of[:-1])]
    segments = list(np.array([*upright, *level], dtype=float).reshape(-1, 2, 2) * stride)
    ax.add_collection(LineCollection(segments, colors=color, linewidths=width), autolim=False)
    return ax


def show_projection(
    ax: Axes,
    density: Float[Tensor, "n"],
    target: Float[Tensor, "n"],
    cost: Float[Tensor, "n"],
    *,
    title: str = "",
    legend: bool = False,
) -> Axes:
    """Draw the cells of a patch in a row: the density ``a`` as bars, arrows to ``target`` p*, the cost as a line.

    Density and target are people per cell; the cost has no unit.
    """
    a, p, c = (values.detach().cpu().numpy() for values in (density, target, cost))
    cells = np.arange(1, len(a) + 1)
    ax.bar(cells, a, width=0.8, color=BLUE, alpha=0.55, label="density $a$")
    ax.hlines(p, cells - 0.4, cells + 0.4, color=ORANGE, linewidth=2.5, label="target $p^*$")
    least, most = min(a.min(), p.min(), 0.0), max(a.max(), p.max())
    for cell, start, end in zip(cells, a, p, strict=True):
        if abs(end - start) > 0.02 * (most - least):  # shorter ones would be all head
            ax.annotate("", (cell, end), (cell, start), arrowprops={"arrowstyle": "->", "color": "black"})
    ax.plot(cells, c * most, color=GREY, linestyle=":", marker=".", label="cost $c$ (scaled)")
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set(xlabel="cell of the patch", ylabel="people per cell", title=title, xticks=cells)
    if legend:
        ax.legend(frameon=False, fontsize=8)
    return ax


def show_gradient(
    ax: Axes, gradient: Float[Tensor, "h w"], *, limit: float, stride: float = 1, title: str = ""
) -> AxesImage:
    """Draw a loss's gradient by :func:`show_map`: blue cells gain density in a step of descent, red ones lose it.

    ``limit`` is the largest absolute value of the colours.
    """
    return show_map(ax, gradient, stride=stride, title=title, cmap="RdBu_r", vmin=-limit, vmax=limit)
