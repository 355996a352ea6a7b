"""The explorer of transport plans: heads and density by hand, the plan at once."""

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from workbench.explore.base import Explorer, buttons, menu, new_figure, slider
from workbench.explore.examples import CONSTRUCTED, EXAMPLES, STRIDE, Example
from workbench.explore.ground import TOOLS, Ground
from workbench.explore.plan_state import PlanSetting, SolvedPlan, solve, strongest
from workbench.explore.transport_figure import draw_plan
from workbench.transport import COSTS

OWN = "your own"


class TransportExplorer(Explorer):
    """A map of density and heads with the transport plan between them.

    Args:
        density: (H, W), people per cell; with ``points``, instead of an example.
        points: (N, 2), image pixels.
        stride: side of a cell in image pixels.
        picture: (3, H, W) or (1, H, W) in [0, 1], shown below the density.
        setting: where the sliders begin.

    Attributes:
        ground: density and heads, see :class:`workbench.explore.ground.Ground`.
        solved: the plan that is shown.
        controls: the sliders and menus by name.
    """

    def __init__(
        self,
        density: Float[Tensor, "h w"] | None = None,
        points: Float[Tensor, "n 2"] | None = None,
        *,
        stride: float = STRIDE,
        picture: Float[Tensor, "c hh ww"] | None = None,
        setting: PlanSetting | None = None,
    ) -> None:
        if (density is None) != (points is None):
            raise ValueError("density and points are given one without the other, expected both or neither")
        own = None if density is None or points is None else Example(density, points, picture)
        self.examples: dict[str, Callable[[], Example]] = dict(EXAMPLES if stride == STRIDE else {})
        if own is not None:
            self.examples = {OWN: lambda: own} | self.examples
        first = next(iter(self.examples.values()))() if self.examples else EXAMPLES[CONSTRUCTED]()
        self.ground = Ground(first.density, first.points, stride=stride, on_change=self.update, title="Transport plan")
        self.picture: Tensor | None = None
        self.solved: SolvedPlan
        self.controls = _controls(setting or PlanSetting(), list(self.examples))
        self.widget = widgets.VBox([_arranged(self.controls), self.ground.canvas])
        self.widget.add_class("workbench-transport")
        for name, control in self.controls.items():
            if name == "clear":
                control.on_click(lambda _: self.clear())
            else:
                control.observe(self._turned, names="value")
        self.begin(next(iter(self.examples)))

    @property
    def setting(self) -> PlanSetting:
        """What the sliders say."""
        value = {name: control.value for name, control in self.controls.items() if name != "clear"}
        return PlanSetting(
            cost=value["cost"],
            eta=tuple(value["eta"]),
            epsilon=value["epsilon"],
            tau=None if value["marginals"] == "balanced" else value["tau"],
            iterations=None if value["plan"] == "converged" else value["iterations"],
        )

    def begin(self, name: str) -> None:
        """Load an example by its name, one of ``examples``.

        Raises:
            ValueError: there is no such example.
        """
        if name not in self.examples:
            raise ValueError(f"example is {name!r}, expected one of {', '.join(map(repr, self.examples))}")
        example = self.examples[name]()
        self.picture = example.picture
        self.ground.set(example.density, example.points, example.picture)

    def clear(self) -> None:
        """Take all density away and leave the heads."""
        self.ground.density = torch.zeros_like(self.ground.density)
        self.update()

    def update(self) -> None:
        """Solve and show."""
        ground = self.ground
        previous = getattr(self, "solved", None)
        self.solved = solve(ground.density, ground.points, self.setting, stride=ground.stride, previous=previous)
        rows, columns, mass = strongest(self.solved.plan.matrix)
        plan: dict[str, Any] = {
            "leaving": self.solved.plan.row_marginal,
            "arriving": self.solved.plan.column_marginal,
            "weights": self.solved.b,
            "links": torch.stack([rows.to(mass), columns.to(mass), mass], dim=1),
            "width": 0.8 * ground.stride / ground.top,
        }
        ground.show(self.solved.status, plan=plan)

    def figure(self) -> Figure:
        """The present state as a figure of matplotlib."""
        figure = new_figure((10, 5.6))
        draw_plan(
            figure,
            self.ground.density,
            self.ground.points,
            self.solved,
            stride=self.ground.stride,
            picture=self.picture,
        )
        return figure

    def _turned(self, change: Any) -> None:
        """A slider or a menu was used."""
        if change.owner is self.controls["example"]:
            self.begin(change.new)
            return
        control, canvas = self.controls, self.ground.canvas
        canvas.tool, canvas.brush = control["tool"].value, control["brush"].value
        self.ground.stroke = control["stroke"].value
        control["tau"].disabled = control["marginals"].value == "balanced"
        control["iterations"].disabled = control["plan"].value == "converged"
        control["eta"].disabled = control["cost"].value in ("euclidean", "squared")
        if change.owner not in (control["tool"], control["brush"], control["stroke"]):
            self.update()


def _controls(setting: PlanSetting, examples: list[str]) -> dict[str, Any]:
    """The sliders and menus by name, in the order of the Tab key."""
    log: dict[str, Any] = {"base": 10.0, "step": 0.05, "readout_format": ".3g"}
    tau = 0.5 if setting.tau is None else setting.tau
    marginals = ("unbalanced", "balanced")
    plan = ("converged", "iterations")
    made: dict[str, Any] = {
        "epsilon": slider(widgets.FloatLogSlider, "ε (blur)", value=setting.epsilon, min=-3, max=0, **log),
        "tau": slider(widgets.FloatLogSlider, "τ (binding)", value=tau, min=-2, max=1, **log),
        "eta": slider(
            widgets.FloatRangeSlider, "η (cost)", value=setting.eta, min=0.05, max=1.5, step=0.05, readout_format=".2g"
        ),
        "iterations": slider(widgets.IntSlider, "iterations", value=setting.iterations or 5, min=1, max=100),
        "cost": menu("cost", COSTS, value=setting.cost),
        "marginals": menu("marginals", marginals, value=marginals[setting.tau is None]),
        "plan": menu("plan", plan, value=plan[setting.iterations is not None]),
        "example": menu("load", examples),
        "tool": buttons(TOOLS),
        "brush": slider(widgets.FloatSlider, "brush (pixels)", value=10, min=4, max=40, step=1, readout_format=".0f"),
        "stroke": slider(widgets.FloatSlider, "paint (people)", value=0.1, min=0.02, max=1, step=0.02),
        "clear": widgets.Button(description="clear the density", layout=widgets.Layout(margin="2px 0 0 102px")),
    }
    for name, control in made.items():
        control.add_class(f"explore-{name}")
    made["tau"].disabled = setting.tau is None
    made["iterations"].disabled = setting.iterations is None
    made["eta"].disabled = setting.cost in ("euclidean", "squared")
    return made


def _arranged(controls: Mapping[str, Any]) -> widgets.HBox:
    """The controls in three columns."""
    columns = (
        ("epsilon", "tau", "eta", "iterations"),
        ("cost", "marginals", "plan", "example"),
        ("tool", "brush", "stroke", "clear"),
    )
    boxes = [widgets.VBox([controls[name] for name in names]) for names in columns]
    return widgets.HBox(boxes, layout=widgets.Layout(flex_flow="row wrap", max_width="1010px"))
