"""Figures of the report: the networks that were trained, and what they say of the papers' claims."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.plots.basic import BLUE, GREEN, GREY, ORANGE, RED
from workbench.reports.claims import Evidence
from workbench.reports.paper_tables import PaperTable

if TYPE_CHECKING:
    from pandas import DataFrame

VERDICT_COLOURS = {
    "holds": GREEN,
    "does not hold": RED,
    "no difference": BLUE,
    "undecided": GREY,
    "not judged": "0.75",
}


def show_networks(ax: Axes, frame: "DataFrame", *, label: str = "method", value: str = "MAE") -> Axes:
    """One dot a network and a line at the mean, by method, the best one on top.

    Args:
        ax: where.
        frame: a row a network, with the columns ``label`` and ``value``.
        label: column of the method.
        value: column of the score.
    """
    import seaborn as sns

    order = frame.groupby(label)[value].mean().sort_values().index
    sns.stripplot(frame, x=value, y=label, order=order, ax=ax, color=BLUE, alpha=0.7, size=6, jitter=0.12)
    sns.pointplot(
        frame, x=value, y=label, order=order, ax=ax, color=ORANGE, estimator="mean", errorbar=None, linestyle="none",
        marker="|", markersize=18, markeredgewidth=3,
    )  # fmt: skip
    ax.set(ylabel="")
    ax.grid(axis="x", color="0.9")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def show_claims(ax: Axes, evidence: Sequence[Evidence]) -> Axes:
    """The advantage of each claim's first side, as a share of the second's mean, with its interval.

    Right of zero the first side is better, whether low or high values are the better ones.
    """
    shown = [(one, one.verdict) for one in reversed(evidence) if one.verdict is not None and one.second]
    words = set()
    for place, (one, verdict) in enumerate(shown):
        scale = (-100 if one.claim.better == "lower" else 100) / abs(one.second or 1)
        colour = VERDICT_COLOURS[verdict.word]
        if verdict.pairs > 1:  # a single pair has no interval
            ends = [verdict.low * scale, verdict.high * scale]
            ax.plot(ends, [place, place], color=colour, lw=2.4, solid_capstyle="round")
        label = None if verdict.word in words else verdict.word
        ax.plot(verdict.effect * scale, place, "o", color=colour, ms=7, ls="none", label=label)
        words.add(verdict.word)
    ax.axvline(0, color="0.4", lw=1)
    ax.set_yticks(range(len(shown)), [one.claim.text.rstrip(".") for one, _ in shown])
    ax.set(xlabel="advantage of the first side (% of the second side's mean)", ylim=(-0.6, len(shown) - 0.4))
    if shown:
        ax.legend(loc="best", fontsize=8, framealpha=0.9)
    ax.grid(axis="x", color="0.9")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def show_table(ax: Axes, table: PaperTable) -> Axes:
    """Measured against printed: the order of the methods, one dot a row of the table with both, in the first metric."""
    measured = next(index for index, column in enumerate(table.columns) if column.measured)
    metric = table.columns[measured].metric
    where = next(column.where for column in table.columns if column.measured)
    printed = next(i for i, column in enumerate(table.columns) if not column.measured and column.metric == metric)
    points = [(row, row.values[printed], row.values[measured]) for row in table.rows]
    for row, left, right in points:
        if left is not None and right is not None:
            ax.errorbar(
                left.mean, right.mean, xerr=left.spread, yerr=right.spread, fmt="o", color=BLUE, ecolor="0.7", capsize=2
            )
            label = " ".join(filter(None, [row.method, row.backbone]))
            ax.annotate(label, (left.mean, right.mean), xytext=(5, 4), textcoords="offset points", fontsize=8)
    ax.set(
        xlabel=f"printed {metric}, {table.columns[printed].where}", ylabel=f"measured {metric}, {where}",
    )  # fmt: skip
    ax.margins(0.18)
    ax.grid(color="0.92")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def new_figure(width: float, height: float) -> Figure:
    """A figure that no window shows, drawn for PNG and SVG alike."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
