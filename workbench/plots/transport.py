"""Figures of transport plans: as a matrix, as links, as arrows, column by column. Axes in, axes out.

Columns (annotations) have one colour each, the same in every figure: see :func:`column_color`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from torch import Tensor

from workbench.checks import check_positive
from workbench.plots.basic import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, show_density
from workbench.tensor_checks import check_not_negative, check_points, check_tensor

COLUMN_COLORS = (BLUE, RED, GREEN, PURPLE, ORANGE, "#56B4E9", GREY)


def column_color(column: int) -> str:
    """The colour of an annotation; they come round again after seven."""
    return COLUMN_COLORS[column % len(COLUMN_COLORS)]


def show_masses(
    ax: Axes,
    places: Float[Tensor, "n"],
    given: Float[Tensor, "n"],
    moved: Float[Tensor, "n"] | None = None,
    *,
    width: float | None = None,
    color: str | Sequence[str] = GREY,
    labels: tuple[str, str] = ("", ""),
) -> Axes:
    """Draw masses on a line as outlined bars, and what a plan moves of them as filled ones.

    Args:
        ax: where to.
        places: (n,), positions on the line.
        given: (n,), the masses.
        moved: (n,), the plan's marginal; the masses themselves if None.
        width: of a bar, in the unit of the places; 0.8 of the least distance between two if None.
        color: of the filled bars.
        labels: names of the outlined and of the filled bars in a legend.
    """
    moved = given if moved is None else moved
    check_tensor(places, "places", shape=(None,))
    check_tensor(given, "given", shape=(len(places),))
    check_tensor(moved, "moved", shape=(len(places),))
    if width is None:
        width = 0.8 * float(places.sort().values.diff().min()) if len(places) > 1 else 0.8
    _bars(ax.bar, places, given, moved, width, color=color, labels=labels)
    ax.set_ylim(0, None)
    return ax


def _bars(
    draw: Callable[..., Any],
    places: Any,
    given: Tensor,
    moved: Tensor,
    width: float,
    *,
    color: str | Sequence[str],
    labels: tuple[str, str] = ("", ""),
) -> None:
    """Filled bars, and over them the outlines, which so stay visible inside a higher bar."""
    draw(_array(places), _array(moved), width, color=color, label=labels[1] or None)
    look = {"facecolor": "none", "edgecolor": "black", "linewidth": 0.9}
    draw(_array(places), _array(given), width, **look, label=labels[0] or None)


def show_plan_matrix(
    ax: Axes,
    matrix: Float[Tensor, "n m"],
    a: Float[Tensor, "n"],
    b: Float[Tensor, "m"],
    *,
    title: str = "",
    most: float | None = None,
) -> AxesImage:
    """Draw a plan as an image, a column of it a line of the image, with the marginals at its sides.

    The density lies on top and the annotations at the right: outlined what is given, filled what the plan moves.

    Args:
        ax: where to.
        matrix: (n, m), the plan.
        a: (n,), mass of each cell.
        b: (m,), mass of each annotation.
        title: above everything.
        most: the mass that has the brightest colour; the plan's largest if None.

    Returns:
        The drawn plan, for a colour bar in people.
    """
    check_tensor(matrix, "matrix", shape=(None, None))
    n, m = matrix.shape
    check_tensor(a, "a", shape=(n,))
    check_tensor(b, "b", shape=(m,))
    drawn = ax.imshow(_array(matrix.T), cmap="magma", vmin=0, vmax=most, aspect="auto", interpolation="nearest")
    ax.set(xlabel="cell $i$", ylabel="annotation $j$", yticks=range(m))
    top, right = ax.inset_axes((0, 1.04, 1, 0.34), sharex=ax), ax.inset_axes((1.02, 0, 0.16, 1), sharey=ax)
    _bars(top.bar, torch.arange(n), a, matrix.sum(1), 0.8, color=GREY)
    _bars(right.barh, torch.arange(m), b, matrix.sum(0), 0.6, color=[column_color(column) for column in range(m)])
    for side in (top, right):
        side.tick_params(labelbottom=False, labelleft=False, left=False, bottom=False)
        side.spines[["top", "right"]].set_visible(False)
    top.set(title=title, ylim=(0, 1.05 * max(float(a.max()), float(matrix.sum(1).max()), 1e-12)))
    right.set_xlim(0, 1.05 * max(float(b.max()), float(matrix.sum(0).max()), 1e-12))
    return drawn


def show_plan_links(
    ax: Axes,
    matrix: Float[Tensor, "n m"],
    cells: Float[Tensor, "n"],
    points: Float[Tensor, "m"],
    *,
    width: float = 40.0,
) -> Axes:
    """Draw a plan on a line: from each cell (above) to each annotation (below) a link as wide as the mass.

    ``cells`` (n,) and ``points`` (m,) are positions; ``width`` is that of a link which moves a mass of one, in points.
    """
    check_tensor(matrix, "matrix", shape=(None, None))
    check_tensor(cells, "cells", shape=(matrix.shape[0],))
    check_tensor(points, "points", shape=(matrix.shape[1],))
    mass, above, below = _array(matrix), _array(cells), _array(points)
    for column, place in enumerate(below):
        color = column_color(column)
        ends = [((x, 1.0), (place, 0.0)) for x in above]
        links = LineCollection(ends, linewidths=width * mass[:, column], colors=color, alpha=0.55, capstyle="butt")
        ax.add_collection(links)
        ax.plot(place, 0, marker="v", markersize=9, color=color, clip_on=False)
    ax.set(ylim=(0, 1), yticks=[])
    ax.spines[["top", "left", "right"]].set_visible(False)
    return ax


def show_plan_arrows(
    ax: Axes,
    matrix: Float[Tensor, "n m"],
    cells: Float[Tensor, "n 2"],
    points: Float[Tensor, "m 2"],
    *,
    length: float = 1.0,
    most: float | None = None,
) -> Axes:
    """Draw a plan as arrows from the cells that point to the annotations and are as long as the mass (GL Fig. 2b).

    A cell that lies exactly on an annotation has no direction: a disc stands there instead.

    Args:
        ax: where to, in the coordinates of cells and points.
        matrix: (n, m), the plan.
        cells: (n, 2), centres of the cells.
        points: (m, 2), annotations.
        length: of the arrow of the mass ``most``, in the unit of the coordinates.
        most: a mass; the plan's largest if None.
    """
    check_points(cells, "cells")
    check_points(points)
    check_tensor(matrix, "matrix", shape=(len(cells), len(points)))
    check_not_negative(matrix, "matrix")
    check_positive(length, "length")
    mass, start = _array(matrix), _array(cells)
    if most is None:
        most = max(float(matrix.max()), 1e-12) if matrix.numel() else 1.0
    check_positive(most, "most")
    look: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1}
    for column, point in enumerate(_array(points)):
        color = column_color(column)
        away = point - start
        distance = np.linalg.norm(away, axis=1, keepdims=True)
        size = length * mass[:, column] / most
        here, shown = distance[:, 0] == 0, size > 0.02 * length  # a shorter arrow would be all head
        step = size[:, None] * away / np.where(distance > 0, distance, 1)
        kept = shown & ~here
        ax.quiver(*start[kept].T, *step[kept].T, color=color, width=0.008, headwidth=4, headlength=5, **look)
        disc = start[shown & here]
        ax.scatter(disc[:, 0], disc[:, 1], s=60 * mass[shown & here, column] / most, color=color)
    return ax


def show_plan_columns(ax: Axes, matrix: Float[Tensor, "n m"], *, names: Sequence[str] = ()) -> Axes:
    """Draw the columns of a plan as curves over the number of the cell (GL Fig. 2c)."""
    check_tensor(matrix, "matrix", shape=(None, None))
    for column, masses in enumerate(_array(matrix.T)):
        name = names[column] if names else f"$b_{column}$"
        ax.plot(masses, color=column_color(column), linewidth=1.2, label=name)
    ax.set(xlabel="cell $i$", ylabel="mass $P_{ij}$ (people)", xlim=(0, matrix.shape[0] - 1), ylim=(0, None))
    ax.legend(frameon=False, fontsize=8)
    return ax


def show_plan_column(
    ax: Axes,
    matrix: Float[Tensor, "n m"],
    column: int,
    size: tuple[int, int],
    points: Float[Tensor, "m 2"],
    **options: Any,
) -> AxesImage:
    """Draw one column of a plan as a map with its annotation: the density map of one person (GL Fig. 2d, e).

    ``matrix`` is (H W, m), cells row by row, and ``size`` is (H, W); options and result as of
    :func:`workbench.plots.basic.show_density`.
    """
    height, width = size
    check_tensor(matrix, "matrix", shape=(height * width, len(points)))
    drawn = show_density(ax, matrix[:, column].reshape(size), **options)
    show_annotations(ax, points[column : column + 1], first=column)
    return drawn


def show_annotations(ax: Axes, points: Float[Tensor, "m 2"], *, first: int = 0, size: float = 60) -> Axes:
    """Draw annotations as crosses in their columns' colours, edged in white."""
    for number, (x, y) in enumerate(_array(points)):
        ax.scatter(x, y, marker="P", s=size, color=column_color(first + number), edgecolors="white", linewidths=0.8)
    return ax


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
