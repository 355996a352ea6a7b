"""The explorer of a mixture of density experts: gate maps on a picture, weights at the pixel under the pointer."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import anywidget
import ipywidgets as widgets
import numpy as np
import torch
import traitlets
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from workbench.data import open_dataset
from workbench.explore.base import Explorer, module, slider
from workbench.explore.ground import picture_bytes
from workbench.models.base import CountingModel, ModelOutput
from workbench.plots.basic import show_density, show_image
from workbench.plots.hmode import SCALES, show_weights
from workbench.plots.transport import COLUMN_COLORS
from workbench.training.evaluation import inference


class ExpertsCanvas(anywidget.AnyWidget):
    """The canvas in the browser (experts.js): a picture, maps, and the weights at one pixel."""

    _esm = module("canvas.js", "experts.js")
    maps = traitlets.Dict().tag(sync=True)


class Panel(NamedTuple):
    """A map of the mixture, (H, W): people per cell or, where ``gate`` has a name, the weights of ``member`` in [0, 1].

    ``color`` is the member's number, which chooses its colour.
    """

    title: str
    values: Float[Tensor, "h w"]
    gate: str = ""
    member: str = ""
    color: int = 0


class ExpertsExplorer(Explorer):
    """A mixture's experts, output and gate maps on a picture, with the weights at the pixel under the pointer.

    Args:
        model: with gates, such as HMoDE; :func:`small_mixture` if None (half a minute for its training, once).
        images: (3, H, W) in [0, 1] each; :func:`busy_scenes` if None.

    Attributes:
        panels: the maps of the picture that is shown.
        controls: the slider that chooses the picture.
    """

    def __init__(
        self, model: CountingModel | None = None, images: Sequence[Float[Tensor, "3 h w"]] | None = None
    ) -> None:
        self.model = model or small_mixture()
        self.images = busy_scenes() if images is None else list(images)
        if not self.images:
            raise ValueError("images is empty, expected at least one")
        self.canvas = ExpertsCanvas()
        self.panels: list[Panel]
        self.controls = {"picture": slider(widgets.IntSlider, "picture", value=1, min=1, max=len(self.images))}
        self.listen(lambda _: self.update())
        self.widget = widgets.VBox([self.row("picture"), self.canvas])
        self.widget.add_class("workbench-experts")
        self.update()

    @property
    def image(self) -> Float[Tensor, "3 h w"]:
        """The picture that is shown."""
        return self.images[self.controls["picture"].value - 1]

    def update(self) -> None:
        """Run the model on the picture and show its maps."""
        with inference(self.model):
            result = self.model.outputs(self.image[None])
        if not result.gates or result.experts is None:
            raise ValueError(f"model is a {type(self.model).__name__} without gates, expected a mixture of experts")
        self.panels = list(_panels(result))
        self.rows = 1 + len(self.panels) // 5
        self.size = (10.4, 2.3 * self.rows)
        height, width = self.image.shape[-2:]
        picture = {"picture": picture_bytes(self.image), "title": "the picture", "width": width, "height": height}
        colors = {"colors": [*SCALES, *COLUMN_COLORS], "viridis": _table("viridis"), "magma": _table("magma")}
        panels = [_sent(panel) for panel in self.panels]
        self.canvas.maps = {"panels": panels, "stride": self.model.stride, **picture, **colors}

    def draw(self, figure: Figure) -> None:
        """The picture and every map, without the pointer."""
        axes = figure.subplots(self.rows, 5, squeeze=False).flatten()
        figure.set_layout_engine("constrained")
        show_image(axes[0], self.image, "the picture")
        for ax in axes[1 + len(self.panels) :]:
            ax.axis("off")
        for ax, panel in zip(axes[1:], self.panels, strict=False):
            stride = self.image.shape[-1] / panel.values.shape[-1]
            drawn = (show_weights if panel.gate else show_density)(ax, panel.values, stride=stride, title=panel.title)
            figure.colorbar(drawn, ax=ax, shrink=0.62, label="weight" if panel.gate else "people per cell")


def small_mixture() -> CountingModel:
    """A narrow HMoDE, trained on made scenes for three epochs; it is trained once and kept with the runs."""
    from workbench.io.project import runs_folder
    from workbench.study.recipes import network_config
    from workbench.training.experiment import open_model, run_once

    config = network_config("L2", seed=0, length=48, epochs=3, model="hmode")
    _, folder = run_once(config, runs_folder() / "experiments")
    return open_model(folder / "weights.pt")


def busy_scenes(number: int = 4) -> list[Float[Tensor, "3 h w"]]:
    """The pictures of those of 40 test scenes that hold most people."""
    dataset = open_dataset("scenes", preset="small", split="test", length=40)
    fullest = sorted(range(len(dataset)), key=lambda index: -len(dataset.points(index)))
    return [dataset[index].image for index in fullest[:number]]


def _panels(result: ModelOutput) -> Iterator[Panel]:
    """The final map, the experts' and the weights of every gate, level by level."""
    yield Panel(f"output: {float(result.density.sum()):.1f}", result.density[0, 0].cpu())
    assert result.experts is not None
    names = [f"E{number + 1}" for number in range(result.experts.shape[1])]
    for name, values in zip(names, result.experts[0], strict=True):
        yield Panel(f"{name}: {float(values.sum()):.1f}", values.cpu())
    for level, gates in zip(result.levels, result.gates, strict=True):
        groups = []
        for number, (members, weights) in enumerate(zip(level, gates, strict=True), start=1):
            gate = f"group {number}" if len(level) > 1 else "last gate"
            for rank, member in enumerate(members):
                yield Panel(f"{gate}: {names[member]}", weights[0, rank].cpu(), gate, names[member], member)
            groups.append(f"Gr{number}")
        names = groups


def _sent(panel: Panel) -> dict[str, Any]:
    values = panel.values.to(torch.float32).contiguous()
    most = 1.0 if panel.gate else max(float(values.max()), 1e-9)
    shown = {"values": values.numpy().tobytes(), "size": list(values.shape), "most": most, "weight": bool(panel.gate)}
    return panel._asdict() | shown


def _table(name: str) -> bytes:
    """256 colours of a map of matplotlib, three bytes each."""
    return (colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes()
