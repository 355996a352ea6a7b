"""A sweep in three figures: every cell as a line through its parameters, which of them matter, learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from workbench.plots.basic import BLUE, GREY
from workbench.reports.plots import printable_label

LEAST_CELLS = 4
LEAST_FOR_IMPORTANCE = 10
LOG_RATIO = 30.0
"""A parameter whose largest value is so many times its smallest is drawn on a logarithmic axis."""
MOST_TICKS = 6


class Importance(NamedTuple):
    """How much of a score's spread each parameter explains.

    Attributes:
        shares: parameter -> the drop of R2 when its values are shuffled, in a random forest over the cells.
        r2: of the forest, over the cells that each tree was not shown; at most 0 where it explains nothing.
        cells: how many there were.
    """

    shares: dict[str, float]
    r2: float
    cells: int


def importance(rows: Sequence[Mapping[str, Any]], scores: Sequence[float]) -> Importance | None:
    """The importance of each parameter by permutation; None of fewer than :data:`LEAST_FOR_IMPORTANCE` cells.

    Args:
        rows: the parameters of each cell that differ between cells.
        scores: the score of each cell.
    """
    if len(rows) < LEAST_FOR_IMPORTANCE or not rows[0] or not np.ptp(scores):
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    names = list(rows[0])
    table = np.column_stack([_Scale([row[name] for row in rows]).places for name in names])
    forest = RandomForestRegressor(200, oob_score=True, random_state=0, min_samples_leaf=2).fit(table, scores)
    found = permutation_importance(forest, table, scores, n_repeats=20, random_state=0).importances_mean
    shares = dict(sorted(zip(names, map(float, found), strict=True), key=lambda item: -item[1]))
    return Importance(shares, float(forest.oob_score_), len(rows))


class _Scale:
    """Where the values of one parameter lie on an axis from 0 to 1, and its ticks."""

    def __init__(self, values: Sequence[Any]) -> None:
        if all(type(value) in (int, float) for value in values) and len(set(values)) > 1:
            numbers = np.array(values, dtype=float)
            self.log = bool(numbers.min() > 0 and numbers.max() / numbers.min() >= LOG_RATIO)
            seen = np.log(numbers) if self.log else numbers
            self.places = (seen - seen.min()) / np.ptp(seen)
            marks = np.unique(seen)
            marks = marks if len(marks) <= MOST_TICKS else np.linspace(seen.min(), seen.max(), MOST_TICKS)
            shown = np.exp(marks) if self.log else marks
            marks = (marks - seen.min()) / np.ptp(seen)
            self.ticks = {f"{number:.3g}": float(mark) for number, mark in zip(shown, marks, strict=True)}
        else:
            texts = [str(value) for value in values]
            known = sorted(set(texts))
            place = {text: index / max(1, len(known) - 1) for index, text in enumerate(known)}
            self.places = np.array([place[text] for text in texts])
            self.ticks = {text: place[text] for text in known[:: -(-len(known) // (3 * MOST_TICKS))]}


def show_parallel(ax: Axes, rows: Sequence[Mapping[str, Any]], scores: Sequence[float], metric: str) -> Axes:
    """A line a cell through an axis for each parameter and one for the score; dark lines have low scores."""
    names = list(rows[0])
    scales = [_Scale([row[name] for row in rows]) for name in names] + [_Scale(list(scores))]
    places = np.column_stack([scale.places for scale in scales])
    colours = score_colours(scores)
    for index in np.argsort(scores)[::-1]:  # the best on top
        ax.plot(places[index], color=colours.to_rgba(scores[index]), lw=1.4, alpha=0.8)
    for number, scale in enumerate(scales):
        ax.axvline(number, color="0.6", lw=0.8)
        for text, place in scale.ticks.items():
            ax.annotate(
                printable_label(text),
                (number, place),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=7.5,
                va="center",
                bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
            )
    ax.set_xticks(range(len(scales)), [printable_label(name) for name in [*names, metric]])
    ax.set(ylim=(-0.06, 1.06), xlim=(-0.1, len(scales) - 0.6), yticks=[])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def show_importance(ax: Axes, found: Importance) -> Axes:
    """A bar a parameter; grey where the forest explains nothing."""
    names = [printable_label(name) for name in found.shares]
    ax.barh(names, list(found.shares.values()), color=BLUE if found.r2 > 0 else GREY)
    ax.invert_yaxis()
    ax.set(xlabel="drop of R² when its values are shuffled")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def show_curves(
    ax: Axes, histories: Sequence[tuple[Sequence[Mapping[str, Any]], float | None]], column: str, metric: str
) -> Axes:
    """A line a cell: ``column`` by epoch, coloured by the cell's score; dashed and grey where there is none yet."""
    colours = score_colours([score for _, score in histories if score is not None] or [0.0])
    least = 1.0
    for rows, score in sorted(histories, key=lambda one: (one[1] is not None, -(one[1] or 0.0))):
        epochs, values = zip(*((row["epoch"], row[column]) for row in rows if column in row), strict=True)
        colour: Any = GREY if score is None else colours.to_rgba(np.array(score))
        ax.plot(
            epochs,
            values,
            marker="." if len(values) == 1 else "",
            lw=1.2,
            alpha=0.85,
            color=colour,
            ls="--" if score is None else "-",
        )
        least = min(least, *values)
    ax.set(xlabel="epoch", ylabel=printable_label(column.replace("_", " ")))
    if least > 0:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
        ax.tick_params(axis="y", which="both", labelsize=8)
    ax.grid(color="0.92")
    ax.spines[["top", "right"]].set_visible(False)
    ax.figure.colorbar(colours, ax=ax, label=metric)
    return ax


def score_colours(scores: Sequence[float]) -> ScalarMappable:
    """Colours of scores, dark where they are low."""
    return ScalarMappable(Normalize(min(scores), max(scores)), "viridis")
