"""The pictures of the explorer of locality-aware batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle
from torch import Tensor

from workbench.data.sample import CrowdSample, Window
from workbench.plots.basic import BLUE, GREY, ORANGE, RED, show_image, show_points
from workbench.plots.locality import show_zoom
from workbench.sampling.partition import Partition
from workbench.sampling.zoom import zoom_rates

SHOWN = 10  # patches of a bin


def draw_partition(
    figure: Any,
    partition: Partition,
    place: tuple[int, int],
    images: Tensor,
    counts: Sequence[int],
    members: np.ndarray,
    chosen: int,
) -> None:
    """Draw how many patches each bin holds, and the patches of one bin.

    Args:
        figure: an empty figure or part of one.
        partition: groups and bins.
        place: (group, bin) that is looked at, from 0.
        images: (N, 3, H, W), all patches.
        counts: (N,), people in each.
        members: the patches of the bin.
        chosen: the one that is zoomed, framed.
    """
    grid = figure.add_gridspec(2, 8, left=0.06, right=0.99, bottom=0.14, top=0.88, wspace=0.12, hspace=0.3)
    table = figure.add_subplot(grid[:, :3])
    occupancy = partition.occupancy
    table.imshow(np.ma.masked_equal(occupancy, 0), cmap="viridis", aspect="auto", origin="lower")
    for (row, column), number in np.ndenumerate(occupancy):
        if number:
            color = "white" if number < 0.6 * occupancy.max() else "black"
            table.text(column, row, str(number), ha="center", va="center", fontsize=8, color=color)
    table.add_patch(Rectangle((place[1] - 0.5, place[0] - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=3))
    table.set_xticks(range(partition.bins), range(1, partition.bins + 1))
    table.set_yticks(range(partition.groups), range(1, partition.groups + 1))
    table.set(xlabel="bin (by hash code)", ylabel="group (by people)")
    table.set_title(f"{len(counts)} patches in {partition.filled} bins", fontsize=10)
    for number in range(SHOWN):
        ax = figure.add_subplot(grid[number // 5, 3 + number % 5])
        ax.set_axis_off()
        if number < len(members):
            index = int(members[number])
            ax.set_axis_on()
            show_image(ax, images[index])
            ax.set_title(_people(counts[index]), fontsize=9)
            for spine in ax.spines.values():
                spine.set(color=ORANGE if index == chosen else GREY, linewidth=3 if index == chosen else 0.8)
    more = f", {SHOWN} of them shown" if len(members) > SHOWN else ""
    name = f"group {place[0] + 1}, bin {place[1] + 1}"
    held = f"{len(members)} patches{more}" if len(members) else "empty"
    figure.text(0.7, 0.945, f"{name}: {held}", ha="center", fontsize=10)


def draw_zoom(
    figure: Any,
    source: CrowdSample,
    windows: Sequence[Window],
    shown: Sequence[CrowdSample],
    *,
    error: float,
    zoom: float,
    strength: float,
    steepness: float,
) -> None:
    """Draw the zoom function with the present error, the windows in the source image, the patch before and after.

    Args:
        figure: an empty figure or part of one.
        source: the image that the patch is cut out of.
        windows: of the patch and of the zoomed one, in the source's pixels.
        shown: the patch and the zoomed one.
        error: the scale factor alpha.
        zoom: the rate.
        strength: lambda.
        steepness: gamma.
    """
    ratios = {"width_ratios": [1.35, 1, 1, 1]}
    axes = figure.subplots(1, 4, gridspec_kw=ratios | {"left": 0.06, "right": 0.99, "bottom": 0.17, "top": 0.86})
    factors = np.linspace(-1, 1, 201)
    label = f"$\\lambda$ = {strength:.2f}, $\\gamma$ = {steepness:.0f}"
    show_zoom(axes[0], factors, {label: zoom_rates(factors, strength=strength, steepness=steepness)})
    axes[0].legend(frameon=False, loc="upper right", fontsize=9)
    axes[0].plot(error, zoom_rates([error], strength=strength, steepness=steepness), "o", color=RED, markersize=8)
    sign = "over" if error > 0 else "under"
    axes[0].set_title(
        f"{sign}-estimated by {abs(error):.0%}: r = {zoom:.2f}" if error else "counted right", fontsize=10
    )
    show_image(axes[1], source.image)
    axes[1].set_title("the source image", fontsize=10)
    for (left, top, width, height), color, style in zip(windows, (BLUE, RED), ("--", "-"), strict=True):
        frame = Rectangle((left, top), width, height, fill=False, edgecolor=color, linestyle=style, linewidth=2)
        axes[1].add_patch(frame)
    names = ("the patch", "zoomed in" if zoom < 1 else "zoomed out" if zoom > 1 else "as it was")
    for ax, sample, name, color in zip(axes[2:], shown, names, (BLUE, RED), strict=True):
        show_points(show_image(ax, sample.image), sample.points, color=color, size=30)
        ax.set_title(f"{name}: {_people(len(sample.points))}", fontsize=10)
        for spine in ax.spines.values():
            spine.set(color=color, linewidth=2)


def _people(number: int) -> str:
    return "1 person" if number == 1 else f"{number} people"
