"""Figures of the locality-aware batches: bins, distances, zooms, training curves. Axes in, axes out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from workbench.plots.basic import BLUE, GREEN, GREY, ORANGE, PURPLE, RED

COLORS = (BLUE, ORANGE, GREEN, RED, PURPLE, GREY)


def show_collisions(
    ax: Axes,
    distances: ArrayLike,
    probability: ArrayLike,
    bound: ArrayLike,
    *,
    measured: Mapping[float, tuple[float, float]] | None = None,
) -> Axes:
    """Draw the probability of Lemma 1 and the bound of Lemma 2 over the distance in bin widths.

    Args:
        ax: empty.
        distances: c / r.
        probability: at each.
        bound: at each.
        measured: c / r -> the share of collisions and its standard error, drawn with three of them.
    """
    ax.plot(distances, bound, color=GREY, linestyle="--", label="bound (Lemma 2)")
    ax.plot(distances, probability, color=BLUE, label="probability (Lemma 1)")
    if measured:
        shares, errors = zip(*measured.values(), strict=True)
        three = [3 * error for error in errors]
        ax.errorbar(list(measured), shares, three, color=ORANGE, fmt="o", markersize=4, capsize=3, label="Monte Carlo")
    ax.set(xlabel="distance / bin width, c / r", ylabel="share in one bin", xscale="log", ylim=(0, 1.05))
    ax.legend(frameon=False)
    return ax


def mean_log_distances(images: Float[np.ndarray, "n d"], members: Sequence[ArrayLike]) -> list[float]:
    """The mean logarithm of the distances between two images of a bin, NaN where it holds fewer than two.

    Args:
        images: (N, D), an image a row.
        members: the images of each bin.
    """
    from scipy.spatial.distance import pdist

    rows = []
    for chosen in members:
        apart = pdist(images[np.asarray(chosen, dtype=int)])
        apart = apart[apart > 0]  # images that are the same have no logarithm of a distance
        rows.append(float(np.log(apart).mean()) if len(apart) else float("nan"))
    return rows


def show_bins(
    ax: Axes, sizes: Mapping[str, ArrayLike], distances: Mapping[str, ArrayLike], *, unit: str = "mean log distance"
) -> Axes:
    """Draw bars of how many samples each bin holds, and lines of the mean pairwise log distance in it (LA fig. 5b).

    Args:
        ax: empty.
        sizes: name of a partition -> samples in each bin.
        distances: name -> :func:`mean_log_distances`; the same names.
        unit: label of the right-hand axis.

    Returns:
        The right-hand axis, which the lines are on.
    """
    right = ax.twinx()
    width = 0.8 / len(sizes)
    for number, (name, color) in enumerate(zip(sizes, COLORS, strict=False)):
        bars, line = np.asarray(sizes[name]), np.asarray(distances[name])
        places = np.arange(1, len(bars) + 1) + (number - (len(sizes) - 1) / 2) * width
        ax.bar(places, bars, width=width, color=color, alpha=0.45, label=f"{name}: samples")
        right.plot(np.arange(1, len(line) + 1), line, color=color, marker="o", markersize=4, label=f"{name}: distance")
    ax.set(xlabel="bin", ylabel="samples in the bin")
    right.set_ylabel(unit)
    return right


def show_curves(
    ax: Axes, curves: Mapping[str, Sequence[ArrayLike]], *, ylabel: str = "MAE of training patches (people)"
) -> Axes:
    """Draw the mean of several runs by epoch, their range shaded (LA fig. 5a).

    Args:
        ax: empty.
        curves: name -> a curve a run, all of one length.
        ylabel: with its unit.
    """
    for (name, runs), color in zip(curves.items(), COLORS, strict=False):
        values = np.asarray(runs, dtype=float)
        epochs = np.arange(1, values.shape[1] + 1)
        ax.plot(epochs, values.mean(axis=0), color=color, marker="o", markersize=3, label=name)
        if len(values) > 1:
            ax.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel=ylabel, ylim=(0, None))
    ax.legend(frameon=False)
    return ax


def show_zoom(ax: Axes, factors: ArrayLike, rates: Mapping[str, ArrayLike]) -> Axes:
    """Draw zoom rates over the scale factor (LA fig. 3).

    Args:
        ax: empty.
        factors: alpha.
        rates: label -> the rate at each.
    """
    for (name, values), color in zip(rates.items(), COLORS, strict=False):
        ax.plot(factors, values, color=color, label=name)
    ax.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xlabel="scale factor $\\alpha$ (error / people)", ylabel="zoom rate r")
    ax.legend(frameon=False)
    return ax


def show_distributions(
    ax: Axes, counts: Mapping[str, ArrayLike], *, width: float = 5, xlabel: str = "people in the patch"
) -> Axes:
    """Draw how many patches have how many people, on a logarithmic axis (LA fig. 1, 7).

    Args:
        ax: empty.
        counts: name -> the people in each patch.
        width: of a bar, in people.
        xlabel: label of the axis.
    """
    most = max(float(np.max(values)) for values in counts.values())
    edges = np.arange(0, most + 2 * width, width).tolist()
    for (name, values), color in zip(counts.items(), COLORS, strict=False):
        ax.hist(np.asarray(values), bins=edges, histtype="step", color=color, linewidth=1.6, label=name)
    ax.set(xlabel=xlabel, ylabel="patches", yscale="log", xlim=(0, edges[-1]))
    ax.legend(frameon=False)
    return ax


def show_strategies(ax: Axes, values: Mapping[str, ArrayLike], *, xlabel: str, published: bool = False) -> Axes:
    """Draw the mean of each strategy and its single runs, one below the other.

    Args:
        ax: empty.
        values: strategy -> a number a run.
        xlabel: with its unit.
        published: whether they are printed numbers, drawn in grey.
    """
    names = list(values)
    for row, name in enumerate(names):
        runs = np.atleast_1d(np.asarray(values[name], dtype=float))
        ax.barh(row, runs.mean(), color=GREY if published else BLUE, alpha=0.45)
        ax.plot(runs, np.full(len(runs), row), ".", color=GREY if published else BLUE, markersize=6)
    ax.set(xlabel=xlabel, yticks=range(len(names)), xlim=(0, None))
    ax.set_yticklabels(names)
    ax.invert_yaxis()
    return ax
