"""Figures of localization: who is found, who is missed, what is a false alarm. Axes in, axes out."""

from typing import TYPE_CHECKING

from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from workbench.localization.matching import Matching
from workbench.plots.basic import BLUE, ORANGE

if TYPE_CHECKING:
    from workbench.localization.scores import QnrfScores

FOUND, MISSED, FALSE = "white", "#F0E442", "#56B4E9"


def show_matching(
    ax: Axes,
    predicted: Float[Tensor, "n 2"],
    truth: Float[Tensor, "m 2"],
    matching: Matching,
    *,
    size: float = 26,
    legend: bool = False,
) -> Axes:
    """Draw true positives as circles, misses as dots and false alarms as crosses over a picture (GL Fig. 8).

    Points are in image pixels; ``size`` is that of the marks, in square points.
    """
    found, false = (predicted[chosen].detach().cpu() for chosen in (matching.predicted, matching.false_alarms))
    missed = truth[matching.misses].detach().cpu()
    # a dark edge keeps the marks apart from bright ground
    for width, color in ((2.4, "black"), (1.2, FOUND)):
        label = f"found ({len(found)})" if color == FOUND else None
        ax.scatter(found[:, 0], found[:, 1], s=size, facecolors="none", edgecolors=color, linewidths=width, label=label)
    label = f"missed ({len(missed)})"
    ax.scatter(missed[:, 0], missed[:, 1], s=size, color=MISSED, edgecolors="black", linewidths=0.8, label=label)
    for width, color in ((2.8, "black"), (1.5, FALSE)):
        label = f"false alarm ({len(false)})" if color == FALSE else None
        ax.scatter(false[:, 0], false[:, 1], s=size, marker="x", color=color, linewidths=width, label=label)
    if legend:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, fontsize=8, facecolor="#999999")
    return ax


def show_radius_scores(ax: Axes, scores: "QnrfScores", *, label: str = "", color: str | None = None) -> Axes:
    """Draw precision (solid) and recall (dashed) against the matching radius."""
    name = f"{label}, " if label else ""
    ax.plot(scores.radii, scores.precision, color=color or BLUE, label=f"{name}precision")
    ax.plot(scores.radii, scores.recall, color=color or ORANGE, linestyle="--", label=f"{name}recall")
    ax.set(xlabel="radius (pixels)", ylabel="precision, recall", ylim=(0, 1.02), xlim=(0, float(scores.radii.max())))
    ax.legend(frameon=False, fontsize=8)
    return ax
