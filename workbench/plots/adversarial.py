"""Figures of attacks, margins and robustness: axes in, axes out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from torch import Tensor

from workbench.plots.basic import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, show_image

CYCLE = (GREY, BLUE, ORANGE, GREEN, PURPLE, RED)
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))


def show_attacked(
    axes: Iterable[Axes], images: Float[Tensor, "b c h w"], labels: Int[Tensor, "b"], found: Int[Tensor, "b"]
) -> Iterable[Axes]:
    """Draw images in a row, each with what the model takes it for; a wrong answer is red and crossed."""
    for ax, image, label, answer in zip(axes, images, labels.tolist(), found.tolist(), strict=False):
        show_image(ax, image)
        wrong = answer != label
        ax.set_title(f"{label} → {answer} ✗" if wrong else f"{label} → {answer}", color=RED if wrong else "black")
        ax.title.set_fontsize(10)
    return axes


def show_margins(
    ax: Axes, margins: Mapping[str, ArrayLike], *, epsilon: float | None = None, most: float = 0.5, bins: int = 40
) -> Axes:
    """Draw the distribution of margins of several models as outlines (LA fig. 9 and 10).

    Args:
        ax: where to draw.
        margins: by the model's name; what lies above ``most`` is drawn in the last bin.
        epsilon: the training's radius, as a line.
        most: right end of the axis.
        bins: number of bins.
    """
    edges = np.linspace(0, most, bins + 1)
    for (label, values), color, style in zip(margins.items(), CYCLE, STYLES, strict=False):
        kept = np.minimum(np.asarray(values, dtype=float), most * (1 - 1e-9))
        ax.hist(
            kept,
            bins=edges.tolist(),
            histtype="step",
            color=color,
            linewidth=1.6,
            linestyle=style,
            label=f"{label} (median {np.median(kept):.3f})",
        )
    if epsilon is not None:
        ax.axvline(epsilon, color="black", linewidth=0.8, linestyle=":")
        ax.text(epsilon, 0.98, " ε of training", transform=ax.get_xaxis_transform(), va="top", fontsize=8)
    ax.set(xlabel="margin (largest change of a pixel)", ylabel="images", xlim=(0, most))
    ax.margins(y=0.25)
    ax.legend(frameon=False, fontsize=8)
    return ax


def show_accuracy(ax: Axes, curves: Mapping[str, Sequence[Mapping[str, Any]]], *, title: str = "") -> Axes:
    """Draw accuracy against epsilon with its confidence interval; rows as of ``accuracy_curve``."""
    for (label, rows), color, style in zip(curves.items(), CYCLE, STYLES, strict=False):
        x, share, low, high = (np.array([row[key] for row in rows]) for key in ("epsilon", "share", "low", "high"))
        ax.plot(x, share, color=color, linestyle=style, marker="o", markersize=3, label=label)
        ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    ax.set(xlabel="ε (largest change of a pixel)", ylabel="accuracy", ylim=(0, 1.02), title=title)
    ax.legend(frameon=False, fontsize=8)
    return ax


def show_bins(ax: Axes, occupancy: Int[np.ndarray, "g b"], *, title: str = "") -> AxesImage:
    """Draw how many samples lie in each bin of LADP, the empty ones white; returns what a colour bar needs."""
    table = np.ma.masked_equal(occupancy, 0)
    drawn = ax.imshow(table, cmap="viridis", aspect="auto", origin="lower", interpolation="nearest")
    for (row, column), number in np.ndenumerate(occupancy):
        if number:
            color = "white" if number < 0.6 * occupancy.max() else "black"
            ax.text(column, row, str(number), ha="center", va="center", fontsize=7, color=color)
    ax.set(
        xlabel="bin by hash code",
        ylabel="group by margin",
        title=title,
        xticks=range(occupancy.shape[1]),
        yticks=range(occupancy.shape[0]),
    )
    return drawn


def show_epsilons(ax: Axes, histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Axes:
    """Draw the mean radius of the training attack by epoch, with one standard deviation over the samples."""
    for (label, history), color in zip(histories.items(), CYCLE[1:], strict=False):
        rows = [row for row in history if row["epsilon"] > 0]
        epoch, mean, spread = (np.array([row[key] for row in rows]) for key in ("epoch", "epsilon", "epsilon_spread"))
        ax.plot(epoch, mean, color=color, marker="o", markersize=3, label=label)
        ax.fill_between(epoch, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel="$\\epsilon_i$ of the training attack", ylim=(0, None))
    ax.legend(frameon=False, fontsize=8)
    return ax


def show_people(ax: Axes, curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Axes:
    """Draw what attacks add to a counter's count (solid) and take from it (dashed) against epsilon."""
    for (label, rows), color in zip(curves.items(), CYCLE[1:], strict=False):
        x = [row["epsilon"] for row in rows]
        ax.plot(x, [row["more"] for row in rows], color=color, marker="o", markersize=3, label=f"{label}, more")
        ax.plot(
            x,
            [-row["fewer"] for row in rows],
            color=color,
            marker="s",
            markersize=3,
            linestyle="--",
            label=f"{label}, fewer",
        )
    ax.axhline(0, color="black", linewidth=0.6)
    ax.margins(y=0.3)
    ax.set(xlabel="ε (largest change of a pixel)", ylabel="change of the count (people)")
    ax.legend(frameon=False, fontsize=7, ncols=2, loc="upper left")
    return ax
