"""Figures of the locality-aware batches: bins, distances, zooms, training curves. Axes in, axes out."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
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
    """Draw the probability of Lemma 1 and the bound of Lemma 2 over the distance in bin widths, c / r.

    ``measured`` holds c / r -> the share of collisions and its standard error; bars of three errors are drawn.
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

    ``images`` are rows of (N, D); ``members`` are the numbers of the images of each bin.
    """
    from scipy.spatial.distance import pdist

    apart = [pdist(images[np.asarray(chosen, dtype=int)]) for chosen in members]
    apart = [values[values > 0] for values in apart]  # equal images have no logarithm of a distance
    return [float(np.log(values).mean()) if len(values) else float("nan") for values in apart]


def show_occupancy(ax: Axes, occupancy: Int[np.ndarray, "g b"], *, ylabel: str, title: str = "") -> AxesImage:
    """Draw how many samples each bin of each group holds, empty bins white; returns what a colour bar needs."""
    table = np.ma.masked_equal(occupancy, 0)
    drawn = ax.imshow(table, cmap="viridis", aspect="auto", origin="lower", interpolation="nearest")
    for (row, column), number in np.ndenumerate(occupancy):
        if number:
            color = "white" if number < 0.6 * occupancy.max() else "black"
            ax.text(column, row, str(number), ha="center", va="center", fontsize=8, color=color)
    groups, bins = occupancy.shape
    ax.set_xticks(range(bins), range(1, bins + 1))  # type: ignore[arg-type]
    ax.set_yticks(range(groups), range(1, groups + 1))  # type: ignore[arg-type]
    ax.set(xlabel="bin (by hash code)", ylabel=ylabel, title=title)
    return drawn


def show_bins(
    ax: Axes, sizes: Mapping[str, ArrayLike], distances: Mapping[str, ArrayLike], *, unit: str = "mean log distance"
) -> Axes:
    """Draw bars of how many samples each bin holds, and lines of the mean pairwise log distance in it (LA fig. 5b).

    ``sizes`` and ``distances`` hold the samples in each bin and its :func:`mean_log_distances`, by the name of a
    partition. Returns the right-hand axis with the lines, whose label is ``unit``.
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
    """Draw the mean of several runs by epoch, their range shaded (LA fig. 5a); the curves of a name have one length."""
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
    """Draw zoom rates over the scale factor (LA fig. 3): label -> the rate at each of ``factors``."""
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
    """Draw how many patches have how many people, on a logarithmic axis (LA fig. 1, 7), in bars of ``width`` people."""
    most = max(float(np.max(values)) for values in counts.values())
    edges = np.arange(0, most + 2 * width, width).tolist()
    for (name, values), color in zip(counts.items(), COLORS, strict=False):
        ax.hist(np.asarray(values), bins=edges, histtype="step", color=color, linewidth=1.6, label=name)
    ax.set(xlabel=xlabel, ylabel="patches", yscale="log", xlim=(0, edges[-1]))
    ax.legend(frameon=False)
    return ax
