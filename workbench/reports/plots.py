"""Figures of the report: the networks that were trained, and what they say of the papers' claims."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from workbench.plots.basic import BLUE, GREEN, GREY, RED, show_runs
from workbench.reports.claims import Evidence
from workbench.reports.paper_tables import Column, PaperTable, TableValue

if TYPE_CHECKING:
    from pandas import DataFrame

LONGEST_LABEL = 72
"""Letters; a longer label would leave no room for the figure."""
LINE = 40
"""Letters of a line beside an axis of a small figure."""
CLAIM_LINE = 64
"""Letters of a line of a claim."""
VERDICT_COLOURS = {
    "holds": BLUE,
    "does not hold": RED,
    "no difference": GREEN,
    "undecided": GREY,
    "not judged": "0.75",
}
LINEAR = 10.0
"""Per cent: larger advantages are drawn on a logarithmic scale, so that small ones can be seen beside them."""


def printable_label(text: str) -> str:
    """A name from a record as a figure can take it: not too long, on one line, and no formula."""
    line = " ".join(text.split())
    line = line if len(line) <= LONGEST_LABEL else f"{line[: LONGEST_LABEL - 1]}…"
    return line.replace("$", r"\$")


def show_networks(ax: Axes, frame: "DataFrame") -> Axes:
    """Each network's MAE and the means, by method, the best one on top; the columns are "method" and "MAE"."""
    order = frame.groupby("method")["MAE"].mean().sort_values().index
    show_runs(ax, {name: frame.loc[frame["method"] == name, "MAE"] for name in order}, xlabel="test MAE (people)")
    ax.set_yticks(range(len(order)), [printable_label(str(name)) for name in order])
    ax.grid(axis="x", color="0.9")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def show_claims(ax: Axes, evidence: Sequence[Evidence]) -> Axes:
    """The advantage of each claim's first side, as a share of the second's mean, with its interval: a forest plot.

    Right of zero the first side is better, whether low or high values are the better ones. The shaded band is the
    margin within which a difference counts as none. Reference records are filled dots, the reader's own runs rings. The
    first claim is on top; each may have one or two pieces of evidence.
    """
    from matplotlib.lines import Line2D

    shown = [(one, one.verdict) for one in evidence if one.verdict is not None and one.second]
    texts = {one.claim.id: one.claim.text.rstrip(".") for one, _ in shown}
    places = {name: -number for number, name in enumerate(texts)}
    both = len({one.origin for one, _ in shown}) > 1
    for one, verdict in shown:
        scale = (-100 if one.claim.better == "lower" else 100) / abs(one.second or 1)
        place = places[one.claim.id] + (0 if not both else 0.16 if one.origin == "reference" else -0.16)
        colour = VERDICT_COLOURS[verdict.word]
        if verdict.pairs > 1:  # a single pair has no interval
            ax.plot([verdict.low * scale, verdict.high * scale], [place, place], color=colour, lw=2.2)
        face = colour if one.origin == "reference" else "white"
        ax.plot(verdict.effect * scale, place, "o", color=colour, mfc=face, mew=1.6, ms=6.5)
        margin = 100 * one.claim.margin
        ax.fill_between([-margin, margin], places[one.claim.id] - 0.4, places[one.claim.id] + 0.4, color="0.92", lw=0)
    ax.axvline(0, color="0.4", lw=1)
    ax.set_yticks(list(places.values()), [fill(text, CLAIM_LINE) for text in texts.values()])
    ax.set(xlabel="advantage of the first side (% of the second side's mean)", ylim=(0.6 - len(places), 0.6))
    ax.margins(x=0.04)
    if max(map(abs, ax.dataLim.intervalx)) > LINEAR:
        ax.set_xscale("symlog", linthresh=LINEAR)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:+g}" if x else "0")
    words = [word for word in VERDICT_COLOURS if word in {verdict.word for _, verdict in shown}]
    marks = [Line2D([], [], color=VERDICT_COLOURS[word], lw=2.2, label=word) for word in words]
    for origin, face in (("reference", GREY), ("own", "white")):
        if both and any(one.origin == origin for one, _ in shown):
            label = {"reference": "reference records", "own": "own runs"}[origin]
            marks.append(Line2D([], [], ls="none", marker="o", color=GREY, mfc=face, label=label))
    if marks:
        ax.legend(handles=marks, fontsize=8, frameon=False, ncols=len(marks), loc="lower right", bbox_to_anchor=(1, 1))
    ax.grid(axis="x", color="0.88")
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


class Ranking(NamedTuple):
    """What a table prints and what was measured, for the methods that have both.

    Attributes:
        printed: the column of the paper.
        measured: the column beside it.
        values: method -> its printed and its measured value, in the order of the printed ones.
    """

    printed: Column
    measured: Column
    values: dict[str, tuple[TableValue, TableValue]]

    @property
    def agreement(self) -> float:
        """Kendall's rank correlation of the two orders."""
        printed, measured = ([value.mean for value in column] for column in zip(*self.values.values(), strict=True))
        return float(stats.kendalltau(printed, measured).statistic)

    @property
    def apart(self) -> float:
        """The range of the measured means in their mean standard deviation; 0 of single runs."""
        measured = [value for _, value in self.values.values()]
        spread = float(np.mean([value.spread or 0 for value in measured]))
        return float(np.ptp([value.mean for value in measured])) / spread if spread else 0.0


def rank_table(table: PaperTable) -> Ranking | None:
    """The two columns of one metric in which most methods have both a printed and a measured value.

    Reference records come before the reader's own runs. Of equal numbers of methods, the metric is taken whose measured
    means lie farthest apart in standard deviations. A row that nobody printed, of a network of ours, stands beside the
    first printed row of its method.

    Returns:
        None where fewer than three methods have both.
    """
    found = []
    for one, left in enumerate(table.columns):
        for other, right in enumerate(table.columns):
            if left.measured or not right.measured or left.metric != right.metric:
                continue
            printed = {row.method: row.values[one] for row in reversed(table.rows) if row.values[one]}
            values: dict[str, tuple[TableValue, TableValue]] = {}
            for row in table.rows:
                value, measured = row.values[one] or printed.get(row.method), row.values[other]
                if value and measured and all(measured != known for _, known in values.values()):  # each run once
                    values[" ".join(filter(None, [row.method, row.backbone]))] = value, measured
            values = dict(sorted(values.items(), key=lambda item: item[1][0].mean))
            found.append(Ranking(left, right, values))
    enough = [one for one in found if len(one.values) > 2]
    return max(enough, key=lambda one: (one.measured.origin == "reference", len(one.values), one.apart), default=None)


def show_ranking(axes: Sequence[Axes], ranking: Ranking) -> None:
    """The printed values on the first axes, the measured ones on the second, one line a method."""
    for number, (ax, column) in enumerate(zip(axes, ranking[:2], strict=True)):
        for place, values in enumerate(ranking.values.values()):
            mean, spread = values[number].mean, values[number].spread
            ax.errorbar(mean, place, xerr=spread, fmt="o", color=(GREY, BLUE)[number], capsize=2)
        whose = f"measured ({column.origin})" if column.measured else "printed"
        ax.set_xlabel(fill(f"{whose} {column.metric}, {column.where}", LINE))
        ax.margins(0.1)
        ax.grid(axis="x", color="0.92")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(ranking.values)), list(ranking.values))
    axes[0].invert_yaxis()
    axes[1].tick_params(labelleft=False)
