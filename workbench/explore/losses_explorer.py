"""The explorer of losses: the same density and heads under each of them, and where descent leads."""

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from workbench.explore.base import Explorer, Picture, buttons, menu, slider
from workbench.explore.examples import EXAMPLES, STRIDE, Example
from workbench.explore.ground import TOOLS, Ground
from workbench.explore.losses_figure import draw_losses
from workbench.explore.losses_state import Descents, Verdict, judge, named_losses
from workbench.losses import CrowdLoss

SHOWN = ("l2", "bayesian", "dm_count", "generalized")  # what fits beside one another on a screen
OWN = "your own"
STARTS = ("flat", "the density")


class LossesExplorer(Explorer):
    """One density and the same heads under several losses: terms, gradients, and descent on the density itself.

    Args:
        losses: names, or losses built for the map's stride; or a mapping of titles to losses.
        density: (H, W), people per cell; with ``points``, instead of an example.
        points: (N, 2), image pixels.
        stride: side of a cell in image pixels.
        steps: of the descent.

    Attributes:
        losses: by name.
        ground: density and heads, see :class:`workbench.explore.ground.Ground`.
        verdicts: what each loss says of them.
        controls: the sliders and menus by name.
    """

    def __init__(
        self,
        losses: Sequence[str | CrowdLoss] | Mapping[str, CrowdLoss] = SHOWN,
        density: Float[Tensor, "h w"] | None = None,
        points: Float[Tensor, "n 2"] | None = None,
        *,
        stride: float = STRIDE,
        steps: int = 120,
    ) -> None:
        if (density is None) != (points is None):
            raise ValueError("density and points are given one without the other, expected both or neither")
        self.losses = named_losses(losses, stride)
        self.examples = dict(EXAMPLES)
        if density is not None and points is not None:
            own = Example(density, points, None)
            self.examples = {OWN: lambda: own}
        self.steps = steps
        first = next(iter(self.examples.values()))()
        self.verdicts: dict[str, Verdict] = {}
        self.ground = Ground(first.density, first.points, stride=stride, on_change=self.update)
        self.controls = self._controls()
        self._judge()
        size = (2.5 * len(self.losses) + 0.3, 5.6)
        self.picture = Picture(self._draw, size=size)
        left = widgets.VBox([self.ground.canvas, *self.controls.values()], layout=widgets.Layout(flex="0 0 345px"))
        # the picture shrinks rather than go below the map
        shrinking = {"flex": "1 1 0", "width": "auto", "min_width": "0", "max_width": f"{100 * size[0]:.0f}px"}
        self.picture.widget.layout = widgets.Layout(**shrinking)
        columns = widgets.Layout(flex_flow="row nowrap", align_items="flex-start")
        self.widget = widgets.HBox([left, self.picture.widget], layout=columns)
        self.widget.add_class("workbench-losses")
        self._show()

    def begin(self, name: str) -> None:
        """Load an example by its name, one of ``examples``.

        Raises:
            ValueError: there is no such example.
        """
        if name not in self.examples:
            raise ValueError(f"example is {name!r}, expected one of {', '.join(map(repr, self.examples))}")
        self.ground.set(*self.examples[name]())

    def descend(self, steps: int) -> dict[str, Float[Tensor, "h w"]]:
        """The density of each loss after so many steps of descent, shown as well."""
        self.controls["step"].value = min(steps, self.steps)
        return self.descents.after(steps)

    def update(self) -> None:
        """Density or heads are other ones: judge them, and take the descent back to its start."""
        self._judge()
        if self.controls["step"].value:
            self.controls["step"].value = 0  # shows, too
        else:
            self.picture.redraw()
        self._show()

    def figure(self) -> Figure:
        """The present state as a figure of matplotlib."""
        return self.picture.figure()

    def _judge(self) -> None:
        density, points = self.ground.density, self.ground.points
        self.verdicts = {name: judge(loss, density, points) for name, loss in self.losses.items()}
        start = density
        if self.controls["start"].value == "flat":
            start = torch.full_like(density, max(len(points), 1) / density.numel())
        self.descents = Descents(self.losses, points, start, steps=self.steps)

    def _show(self) -> None:
        given = f"{float(self.ground.density.sum()):.2f} people in the density, {len(self.ground.points)} annotated."
        self.ground.show(given)

    def _draw(self, figure: Figure) -> None:
        step = self.controls["step"].value
        options: dict[str, Any] = {"stride": self.ground.stride, "step": step}
        draw_losses(figure, self.verdicts, self.descents.after(step), self.ground.points, **options)

    def _controls(self) -> dict[str, Any]:
        play = widgets.Play(min=0, max=self.steps, step=3, interval=200, description="descend", show_repeat=False)
        made: dict[str, Any] = {
            "example": menu("load", list(self.examples)),
            "tool": buttons(TOOLS),
            "start": menu("descend from", STARTS),
            "play": play,
            "step": slider(widgets.IntSlider, "steps", value=0, min=0, max=self.steps),
        }
        widgets.jslink((play, "value"), (made["step"], "value"))
        for name, control in made.items():
            control.add_class(f"explore-{name}")
        made["example"].observe(lambda change: self.begin(change.new), names="value")
        made["tool"].observe(lambda change: setattr(self.ground.canvas, "tool", change.new), names="value")
        made["start"].observe(lambda _: self.update(), names="value")
        made["step"].observe(lambda _: self.picture.redraw(), names="value")
        return made
