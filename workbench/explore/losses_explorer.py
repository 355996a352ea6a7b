"""The explorer of losses: the same density and heads under each of them, and where descent leads."""

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from workbench.explore.base import LivePicture, buttons, menu, play, slider
from workbench.explore.examples import STRIDE
from workbench.explore.ground import TOOLS, GroundExplorer
from workbench.explore.losses_state import Descents, LossAt, loss_at, named_losses
from workbench.losses import CrowdLoss
from workbench.plots.basic import BLUE, GREY, RED, show_map, show_points

SHOWN_LOSSES = ("l2", "bayesian", "dm_count", "generalized")  # what fits beside one another on a screen
STARTS = ("flat", "the density")
MOST = 0.995
"""Share of the cells within the range of the colours: a single cell may lie far above all others, where a loss has
swept everybody into it or where its slope is steep."""


class LossesExplorer(GroundExplorer):
    """One density and the same heads under several losses: terms, gradients, and descent on the density itself.

    Args:
        losses: names, or losses built for the map's stride; or a mapping of titles to losses.
        density: this, ``points`` and ``stride`` as in :class:`workbench.explore.ground.GroundExplorer`.
        points: see ``density``.
        stride: see ``density``.
        steps: of the descent.

    Attributes:
        losses: by name.
        found: the terms and the gradient of each loss.
    """

    def __init__(
        self,
        losses: Sequence[str | CrowdLoss] | Mapping[str, CrowdLoss] = SHOWN_LOSSES,
        density: Float[Tensor, "h w"] | None = None,
        points: Float[Tensor, "n 2"] | None = None,
        *,
        stride: float = STRIDE,
        steps: int = 120,
    ) -> None:
        self.losses = named_losses(losses, stride)
        super().__init__(density, points, stride=stride)
        self.steps = steps
        self.found: dict[str, LossAt] = {}
        self.size = (2.5 * len(self.losses) + 0.3, 5.6)
        moved = slider(widgets.IntSlider, "steps", value=0, min=0, max=steps)
        self.controls: dict[str, Any] = {
            "example": menu("load", list(self.examples)),
            "tool": buttons(TOOLS),
            "start": menu("descend from", STARTS),
            "play": play(moved, "descend", step=3, interval=200),
            "step": moved,
        }
        self._compute()
        self.picture = LivePicture(self.draw, size=self.size)
        left = widgets.VBox([self.ground.canvas, *self.controls.values()], layout=widgets.Layout(flex="0 0 345px"))
        # the picture shrinks rather than go below the map
        shrinking = {"flex": "1 1 0", "width": "auto", "min_width": "0", "max_width": f"{100 * self.size[0]:.0f}px"}
        self.picture.widget.layout = widgets.Layout(**shrinking)
        columns = widgets.Layout(flex_flow="row nowrap", align_items="flex-start")
        self.widget = widgets.HBox([left, self.picture.widget], layout=columns)
        self.widget.add_class("workbench-losses")
        self.listen(self._changed)

    def descend(self, steps: int) -> dict[str, Float[Tensor, "h w"]]:
        """The density of each loss after so many steps of descent, shown as well."""
        self.controls["step"].value = min(steps, self.steps)
        return self.descents.after(steps)

    def update(self) -> None:
        """Density or heads have changed: compute anew, and take the descent back to its start."""
        self._compute()
        if self.controls["step"].value:
            self.controls["step"].value = 0  # shows, too
        else:
            self.picture.redraw()

    def _compute(self) -> None:
        density, points = self.ground.density, self.ground.points
        self.found = {name: loss_at(loss, density, points) for name, loss in self.losses.items()}
        start = density
        if self.controls["start"].value == "flat":
            start = torch.full_like(density, max(len(points), 1) / density.numel())
        self.descents = Descents(self.losses, points, start, steps=self.steps)
        self.ground.show(f"{float(density.sum()):.2f} people in the density, {len(points)} annotated.")

    def _changed(self, change: Any) -> None:
        if change.owner is self.controls["example"]:
            self.begin(change.new)
        elif change.owner is self.controls["tool"]:
            self.ground.canvas.tool = change.new
        elif change.owner is self.controls["start"]:
            self.update()
        else:
            self.picture.redraw()

    def draw(self, figure: Figure) -> None:
        """A column each of value and terms, gradient, and the density after descent."""
        step, points, stride = self.controls["step"].value, self.ground.points, self.ground.stride
        maps = self.descents.after(step)
        left = 0.95 / figure.get_figwidth()  # inches for the names of the terms
        places = {"left": left, "right": 0.985, "top": 0.93, "bottom": 0.06, "wspace": 0.32, "hspace": 0.3}
        axes = figure.subplots(3, len(self.found), squeeze=False, height_ratios=[0.55, 1, 1], gridspec_kw=places)
        most = max(1e-6, *(float(values.flatten().quantile(MOST)) for values in maps.values()))
        for (upper, middle, lower), (name, at) in zip(axes.T, self.found.items(), strict=True):
            _draw_terms(upper, name, at)
            limit = max(float(at.gradient.abs().flatten().quantile(MOST)), 1e-12)
            show_map(middle, at.gradient, stride=stride, cmap="PuOr", vmin=-limit, vmax=limit)
            middle.set_title(f"purple +{limit:.2g}, orange −{limit:.2g}", fontsize=9)
            show_points(middle, points, color="black", size=26)
            # by the square root: the tails of a blur are seen beside what was swept into one cell
            norm = PowerNorm(0.5, vmin=0, vmax=most, clip=True)
            show_map(lower, maps[name], stride=stride, cmap="magma", norm=norm)
            lower.set_title(f"{float(maps[name].sum()):.2f} people after step {step}", fontsize=9)
            lower.set_xlabel(f"bright: {most:.2g} people a cell (√)", fontsize=8)
            show_points(lower, points, color="#56B4E9", size=26)
        for ax, label in zip(axes[:, 0], ("terms", "gradient (a person)", "descent"), strict=True):
            ax.annotate(label, (0.012, 0.5), xycoords=("figure fraction", "axes fraction"), rotation=90, va="center")


def _draw_terms(ax: Axes, name: str, at: LossAt) -> None:
    """The terms as bars: blue raises the loss, red lowers it."""
    names, values = list(at.terms), list(at.terms.values())
    ax.barh(names, values, 0.6, color=[RED if value < 0 else BLUE for value in values])
    ax.axvline(0, color=GREY, linewidth=0.8)
    most = max(*map(abs, values), 1e-9)
    for row, value in enumerate(values):
        ax.annotate(f"{value:.3g}", (max(value, 0), row), (3, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set(xlim=(-1.05 * most if min(values) < 0 else 0, 1.5 * most), ylim=(len(names) - 0.4, -0.6), xticks=[])
    ax.tick_params(axis="y", labelsize=8, length=0)
    ax.spines[["top", "right", "bottom", "left"]].set_visible(False)
    ax.set_title(f"{name}: {at.value:.4g}", fontsize=11, fontweight="bold")
