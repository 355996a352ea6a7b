"""The explorer's picture of losses: a column each of value and terms, gradient, and descended density."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from workbench.explore.losses_state import Verdict
from workbench.plots.basic import BLUE, GREY, RED, show_points

TERM_COLORS = (BLUE, RED)  # raises the loss, lowers it


def draw_losses(
    figure: Figure,
    verdicts: Mapping[str, Verdict],
    maps: Mapping[str, Tensor],
    points: Tensor,
    *,
    stride: float,
    step: int,
) -> None:
    """Draw one column a loss on an empty figure.

    Args:
        figure: an empty one.
        verdicts: of each loss on the density as it stands.
        maps: of each loss, the density after ``step`` steps of descent.
        points: (N, 2), image pixels.
        stride: side of a cell in image pixels.
        step: how many.
    """
    places = {"left": 0.075, "right": 0.985, "top": 0.93, "bottom": 0.06, "wspace": 0.32, "hspace": 0.3}
    axes = figure.subplots(3, len(verdicts), squeeze=False, height_ratios=[0.55, 1, 1], gridspec_kw=places)
    # one scale for all, but not that of a single cell into which one of the losses has swept everybody
    most = max(float(values.flatten().quantile(0.995)) for values in maps.values())
    for column, (name, verdict) in enumerate(verdicts.items()):
        terms, gradient, density = axes[:, column]
        _draw_terms(terms, name, verdict)
        _draw_gradient(gradient, verdict.gradient, points, stride)
        after = maps[name]
        _draw_density(density, after, stride, max(most, 1e-6))
        density.set_title(f"{float(after.sum()):.2f} people after step {step}", fontsize=9)
        show_points(density, points, color="#56B4E9", size=26)
    for ax, label in zip(axes[:, 0], ("terms", "gradient (a person)", "descent"), strict=True):
        ax.annotate(label, (0.012, 0.5), xycoords=("figure fraction", "axes fraction"), rotation=90, va="center")


def _draw_terms(ax: Axes, name: str, verdict: Verdict) -> None:
    names, values = list(verdict.terms), list(verdict.terms.values())
    ax.barh(names, values, 0.6, color=[TERM_COLORS[value < 0] for value in values])
    ax.axvline(0, color=GREY, linewidth=0.8)
    most = max(*map(abs, values), 1e-9)
    for row, value in enumerate(values):
        ax.annotate(f"{value:.3g}", (max(value, 0), row), (3, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set(xlim=(-1.05 * most if min(values) < 0 else 0, 1.5 * most), ylim=(len(names) - 0.4, -0.6), xticks=[])
    ax.tick_params(axis="y", labelsize=8, length=0)
    ax.spines[["top", "right", "bottom", "left"]].set_visible(False)
    ax.set_title(f"{name}: {verdict.value:.4g}", fontsize=11, fontweight="bold")


def _draw_density(ax: Axes, density: Tensor, stride: float, most: float) -> None:
    height, width = density.shape
    # by the square root: one sees the tails of a blur beside what was swept into one cell
    norm = PowerNorm(0.5, vmin=0, vmax=most, clip=True)
    extent = (0, width * stride, height * stride, 0)
    ax.imshow(density.numpy(), cmap="magma", norm=norm, extent=extent, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.set_xlabel(f"bright: {most:.2g} people per cell (√ scale)", fontsize=8)


def _draw_gradient(ax: Axes, gradient: Tensor, points: Tensor, stride: float) -> None:
    height, width = gradient.shape
    # slopes of single cells without density can be far larger than all others
    limit = max(float(gradient.abs().flatten().quantile(0.995)), 1e-12)
    extent = (0, width * stride, height * stride, 0)
    ax.imshow(gradient.numpy(), cmap="PuOr", vmin=-limit, vmax=limit, extent=extent, interpolation="nearest")
    show_points(ax, points, color="black", size=26)
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"purple +{limit:.2g}, orange −{limit:.2g}", fontsize=9)
