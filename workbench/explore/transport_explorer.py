"""The explorer of transport plans: heads and density by hand, the plan at once."""

from typing import Any

import ipywidgets as widgets
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator
from torch import Tensor

from workbench.explore.base import buttons, menu, slider
from workbench.explore.examples import STRIDE
from workbench.explore.ground import TOOLS, GroundExplorer
from workbench.explore.plan_state import PlanSetting, SolvedPlan, solve, strongest
from workbench.plots.basic import show_image, show_map
from workbench.plots.transport import column_color, show_annotations
from workbench.points import cell_centres
from workbench.transport import COSTS

AXES_HEIGHT = 4.9 * 72  # of the map in the figure, in points: the links' width in pixels follows


class TransportExplorer(GroundExplorer):
    """A map of density and heads with the transport plan between them, ``solved``.

    Arguments and errors are those of :class:`workbench.explore.ground.GroundExplorer`; ``setting`` is where the sliders
    begin.
    """

    size = (10, 5.6)
    solved: SolvedPlan | None = None

    def __init__(
        self,
        density: Float[Tensor, "h w"] | None = None,
        points: Float[Tensor, "n 2"] | None = None,
        *,
        stride: float = STRIDE,
        picture: Float[Tensor, "c hh ww"] | None = None,
        setting: PlanSetting | None = None,
    ) -> None:
        super().__init__(density, points, stride=stride, picture=picture, title="Transport plan")
        self.controls = _controls(setting or PlanSetting(), list(self.examples))
        columns = [
            self.column("epsilon", "tau", "eta", "iterations"),
            self.column("cost", "marginals", "plan", "example"),
            self.column("tool", "brush", "stroke", "clear"),
        ]
        layout = widgets.Layout(flex_flow="row wrap", max_width="1010px")
        self.widget = widgets.VBox([widgets.HBox(columns, layout=layout), self.ground.canvas])
        self.widget.add_class("workbench-transport")
        self.listen(self._changed)
        self._disable()
        self.begin(next(iter(self.examples)))

    @property
    def setting(self) -> PlanSetting:
        """What the sliders say."""
        control = self.controls
        return PlanSetting(
            cost=control["cost"].value,
            eta=tuple(control["eta"].value),
            epsilon=control["epsilon"].value,
            tau=None if control["marginals"].value == "balanced" else control["tau"].value,
            iterations=None if control["plan"].value == "converged" else control["iterations"].value,
        )

    def clear(self) -> None:
        """Take all density away and leave the heads."""
        self.ground.density = torch.zeros_like(self.ground.density)
        self.update()

    def update(self) -> None:
        """Solve and show."""
        ground = self.ground
        solved = solve(ground.density, ground.points, self.setting, stride=ground.stride, previous=self.solved)
        self.solved = solved
        rows, columns, mass = strongest(solved.plan.matrix)
        plan: dict[str, Any] = {
            "leaving": solved.plan.row_marginal,
            "arriving": solved.plan.column_marginal,
            "weights": solved.b,
            "links": torch.stack([rows.to(mass), columns.to(mass), mass], dim=1),
            "width": self._link_width,
        }
        ground.show(solved.status, plan=plan)

    def draw(self, figure: Figure) -> None:
        """The map with its links, what leaves each cell, and what arrives at each head."""
        assert self.solved is not None
        ground, solved = self.ground, self.solved
        figure.set_layout_engine("constrained")
        grid = figure.add_gridspec(1, 2, width_ratios=[1.55, 1])
        left, right = figure.add_subfigure(grid[0, 0]), figure.add_subfigure(grid[0, 1])
        main = left.subplots()
        upper, lower = right.subplots(2, 1, height_ratios=[1.25, 1])
        look: dict[str, Any] = {"stride": ground.stride, "cmap": "Blues", "vmin": 0, "vmax": ground.top}
        alpha: Any = 0.85
        if ground.picture is not None:
            show_image(main, ground.picture).images[-1].set_alpha(0.45)
            alpha = (0.75 * ground.density / ground.top).numpy()
        show_map(main, ground.density, **look, alpha=alpha)
        self._draw_links(main)
        show_annotations(main, ground.points)
        main.xaxis.set_major_locator(AutoLocator())
        main.yaxis.set_major_locator(AutoLocator())
        height, width = ground.extent
        main.set(xlim=(0, width), ylim=(height, 0), xlabel="$x$ (image pixels)", ylabel="$y$ (image pixels)")
        main.set_title(solved.title, fontsize=10)
        leaving = solved.plan.row_marginal.reshape(ground.size)
        drawn = show_map(upper, leaving, **look, title="what leaves each cell")
        right.colorbar(drawn, ax=upper, label="people per cell")
        heads = range(len(solved.b))
        lower.bar(heads, solved.plan.column_marginal.numpy(), 0.7, color=[column_color(head) for head in heads])
        lower.bar(heads, solved.b.numpy(), 0.7, facecolor="none", edgecolor="black", linewidth=0.9)
        lower.set(xlabel="head (outline: annotated)", ylabel="people", title="what arrives at each head", xticks=[])
        lower.spines[["top", "right"]].set_visible(False)

    def _draw_links(self, ax: Axes) -> None:
        """Lines as wide as the mass."""
        assert self.solved is not None
        rows, columns, mass = strongest(self.solved.plan.matrix)
        points = self.ground.points
        cells = cell_centres(self.ground.size, self.ground.stride, dtype=points.dtype)
        scale = AXES_HEIGHT / self.ground.extent[0]
        links = LineCollection(
            [(cells[row].tolist(), points[column].tolist()) for row, column in zip(rows, columns, strict=True)],
            linewidths=(scale * self._link_width * mass).tolist(),
            colors=[column_color(int(column)) for column in columns],
            alpha=0.7,
        )
        ax.add_collection(links)

    @property
    def _link_width(self) -> float:
        """Image pixels of a line that moves one person."""
        return 0.8 * self.ground.stride / self.ground.top

    def _changed(self, change: Any) -> None:
        """A control was used; of the button it is told the button, of the others the change."""
        control, canvas = self.controls, self.ground.canvas
        if change is control["clear"]:
            self.clear()
        elif change.owner is control["example"]:
            self.begin(change.new)
        elif change.owner in (control["tool"], control["brush"], control["stroke"]):
            canvas.tool, canvas.brush = control["tool"].value, control["brush"].value
            self.ground.stroke = control["stroke"].value
        else:
            self._disable()
            self.update()

    def _disable(self) -> None:
        """Switch off the sliders that the menus leave without effect."""
        control = self.controls
        control["tau"].disabled = control["marginals"].value == "balanced"
        control["iterations"].disabled = control["plan"].value == "converged"
        control["eta"].disabled = control["cost"].value in ("euclidean", "squared")


def _controls(setting: PlanSetting, examples: list[str]) -> dict[str, Any]:
    """The sliders and menus by name, in the order of the Tab key."""
    log: dict[str, Any] = {"base": 10.0, "step": 0.05, "readout_format": ".3g"}
    tau = 0.5 if setting.tau is None else setting.tau
    marginals = ("unbalanced", "balanced")
    plan = ("converged", "iterations")
    return {
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
