"""The explorer's picture of a plan without a browser: the map with its links, and the two marginals."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from workbench.explore.plan_state import SolvedPlan, strongest
from workbench.plots.transport import column_color, show_annotations
from workbench.points import cell_centres


def draw_plan(
    figure: Figure,
    density: Tensor,
    points: Tensor,
    solved: SolvedPlan,
    *,
    stride: float,
    picture: Tensor | None = None,
) -> None:
    """Draw the state of the explorer on an empty figure.

    Args:
        figure: an empty one.
        density: (H, W), people per cell.
        points: (N, 2), image pixels.
        solved: the plan between them.
        stride: side of a cell in image pixels.
        picture: (3, H, W) below the density, or None.
    """
    figure.set_layout_engine("constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=[1.55, 1])
    left, right = figure.add_subfigure(grid[0, 0]), figure.add_subfigure(grid[0, 1])
    main = left.subplots()
    upper, lower = right.subplots(2, 1, height_ratios=[1.25, 1])
    height, width = density.shape
    extent = (0, width * stride, height * stride, 0)
    top = max(float(density.max()), 1e-6)
    if picture is not None:
        main.imshow(picture.permute(1, 2, 0).squeeze(-1).numpy(), extent=extent, alpha=0.45)
    shade = density.numpy() / top
    options: dict[str, Any] = {"extent": extent, "cmap": "Blues", "vmin": 0, "interpolation": "nearest"}
    main.imshow(shade, **options, vmax=1.0, alpha=0.85 if picture is None else 0.75 * shade)
    _links(main, solved, points, (height, width), stride, 0.8 * stride / top)
    show_annotations(main, points)
    main.set(xlim=extent[:2], ylim=extent[2:], xlabel="$x$ (image pixels)", ylabel="$y$ (image pixels)")
    main.set_title(_title(solved), fontsize=10)
    drawn = upper.imshow(solved.plan.row_marginal.reshape(height, width).numpy(), **options, vmax=top)
    upper.set(xticks=[], yticks=[], title="what leaves each cell")
    right.colorbar(drawn, ax=upper, label="people per cell")
    heads = range(len(solved.b))
    lower.bar(heads, solved.plan.column_marginal.numpy(), 0.7, color=[column_color(head) for head in heads])
    lower.bar(heads, solved.b.numpy(), 0.7, facecolor="none", edgecolor="black", linewidth=0.9)
    lower.set(xlabel="head (outline: annotated)", ylabel="people", title="what arrives at each head", xticks=[])
    lower.spines[["top", "right"]].set_visible(False)


def _links(ax: Axes, solved: SolvedPlan, points: Tensor, size: tuple[int, int], stride: float, width: float) -> None:
    """Lines as wide as the mass; ``width`` is that of one person in image pixels."""
    rows, columns, mass = strongest(solved.plan.matrix)
    cells = cell_centres(size, stride, dtype=points.dtype)
    # in points: the axes are about 4.9 inches high
    scale = 4.9 * 72 / (size[0] * stride)
    links = LineCollection(
        [(cells[row].tolist(), points[column].tolist()) for row, column in zip(rows, columns, strict=True)],
        linewidths=(scale * width * mass).tolist(),
        colors=[column_color(int(column)) for column in columns],
        alpha=0.7,
    )
    ax.add_collection(links)


def _title(solved: SolvedPlan) -> str:
    setting = solved.setting
    tau = "balanced" if setting.tau is None else f"$\\tau$ = {setting.tau:.3g}"
    how = "converged" if setting.iterations is None else f"{setting.iterations} iterations"
    cost = f"$\\langle C, P \\rangle$ = {solved.transport_cost:.4g}"
    return f"{setting.cost}, $\\varepsilon$ = {setting.epsilon:.3g}, {tau}, {how}: {cost}"
