"""The picture of the explorer of margins."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from workbench.plots.adversarial import show_margins
from workbench.plots.basic import BLUE, GREY, RED, show_image


def draw_margins(
    figure: Figure,
    *,
    digit: tuple[Tensor, int],
    direction: Tensor,
    moved: tuple[Tensor, float, int],
    ray: tuple[Tensor, Tensor],
    margin: float,
    asked: Sequence[tuple[float, bool]],
    histogram: Mapping[str, ArrayLike],
    epoch: int,
) -> None:
    """Draw a digit on its way along the sign of its gradient, the search for its margin, and the margins of all.

    Args:
        figure: an empty one.
        digit: the image (1, H, W) and its class.
        direction: the sign of the gradient, (1, H, W).
        moved: the image gone astray, by how much, and what the network takes it for.
        ray: radii (K,), and the network's probabilities there (K, classes).
        margin: of the digit; infinite where nothing was found.
        asked: radii that the search asked for, with whether the answer was right there.
        histogram: margins of all images by the name of the training.
        epoch: after which.
    """
    grid = figure.add_gridspec(
        2, 3, left=0.07, right=0.985, bottom=0.1, top=0.93, hspace=0.42, wspace=0.25, width_ratios=[1, 1, 1]
    )
    image, label = digit
    panels = [figure.add_subplot(grid[0, column]) for column in range(3)]
    show_image(panels[0], image, f"a {label}")
    panels[1].imshow(direction[0].numpy(), cmap="PuOr", vmin=-1.4, vmax=1.4, interpolation="nearest")
    panels[1].set(xticks=[], yticks=[], title="gradient's sign (purple: up)")
    picture, epsilon, answer = moved
    show_image(panels[2], picture)
    verdict = "taken for" if answer == label else "now taken for"
    color = "black" if answer == label else RED
    panels[2].set_title(f"ε = {epsilon:.2f}: {verdict} a {answer}", color=color)
    search = figure.add_subplot(grid[1, 0:2])
    radii, chances = ray
    rivals = chances.clone()
    rivals[:, label] = 0
    search.plot(radii, chances[:, label], color=BLUE, label=f"probability of {label}")
    search.plot(radii, rivals.max(dim=1).values, color=GREY, linestyle="--", label="of the strongest rival")
    for rank, (radius, right) in enumerate(asked):
        height = -0.06 - 0.24 * rank / max(len(asked) - 1, 1)
        search.plot(radius, height, "o" if right else "X", color=BLUE if right else RED, markersize=5, clip_on=False)
    search.axvline(epsilon, color="black", linewidth=1, linestyle=":")
    if math.isfinite(margin):
        search.axvline(margin, color=RED, linewidth=1.5, label=f"margin {margin:.4f}")
    else:
        search.plot([], [], color=RED, label="no margin: the answer never changes")
    search.axhline(0, color="black", linewidth=0.6)
    search.set(xlim=(0, float(radii[-1])), ylim=(-0.34, 1.03), yticks=[0, 0.5, 1], ylabel="probability")
    search.set_xlabel("ε (largest change of a pixel); below: what the search asks, from the top, ● right ✕ wrong")
    search.legend(frameon=False, fontsize=8, loc="center right")
    bars = figure.add_subplot(grid[1, 2])
    show_margins(bars, histogram, bins=25)
    bars.set_title(f"margins of all digits, epoch {epoch}", fontsize=10)
