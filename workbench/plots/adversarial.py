"""Figures of attacks, margins and robustness: axes in, axes out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
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
        title = f"{label} → {answer} ✗" if wrong else f"{label} → {answer}"
        ax.set_title(title, color=RED if wrong else "black", fontsize=10)
    return axes


def show_margins(
    ax: Axes, margins: Mapping[str, ArrayLike], *, epsilon: float | None = None, most: float = 0.5, bins: int = 40
) -> Axes:
    """Draw the distribution of margins of several models as outlines (LA fig. 9 and 10).

    The axis ends at ``most``, and margins above it are in the last bin. ``epsilon``, the radius of the training, is
    drawn as a line.
    """
    edges = np.linspace(0, most, bins + 1)
    for (label, values), color, style in zip(margins.items(), CYCLE, STYLES, strict=False):
        kept = np.minimum(np.asarray(values, dtype=float), most * (1 - 1e-9))
        name = f"{label} (median {np.median(kept):.3f})"
        ax.hist(kept, edges.tolist(), histtype="step", color=color, linewidth=1.6, linestyle=style, label=name)
    if epsilon is not None:
        ax.axvline(epsilon, color="black", linewidth=0.8, linestyle=":")
        ax.text(epsilon, 0.98, " ε of training", transform=ax.get_xaxis_transform(), va="top", fontsize=8)
    ax.set(xlabel="margin (largest change of a pixel)", ylabel="images", xlim=(0, most))
    ax.margins(y=0.25)
    ax.legend(frameon=False, fontsize=8)
    return ax


def show_accuracy(ax: Axes, curves: Mapping[str, Sequence[Mapping[str, Any]]], *, title: str = "") -> Axes:
    """Draw accuracy against epsilon with its confidence interval, from rows of ``accuracy_curve``."""
    for (label, rows), color, style in zip(curves.items(), CYCLE, STYLES, strict=False):
        x, share, low, high = (np.array([row[key] for row in rows]) for key in ("epsilon", "share", "low", "high"))
        ax.plot(x, share, color=color, linestyle=style, marker="o", markersize=3, label=label)
        ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    ax.set(xlabel="ε (largest change of a pixel)", ylabel="accuracy", ylim=(0, 1.02), title=title)
    ax.legend(frameon=False, fontsize=8)
    return ax


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
        x, more, fewer = (np.array([row[key] for row in rows]) for key in ("epsilon", "more", "fewer"))
        ax.plot(x, more, "o-", color=color, markersize=3, label=f"{label}, more")
        ax.plot(x, -fewer, "s--", color=color, markersize=3, label=f"{label}, fewer")
    ax.axhline(0, color="black", linewidth=0.6)
    ax.margins(y=0.3)
    ax.set(xlabel="ε (largest change of a pixel)", ylabel="change of the count (people)")
    ax.legend(frameon=False, fontsize=7, ncols=2, loc="upper left")
    return ax
