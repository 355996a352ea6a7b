"""A map with people on it that one edits by hand, for the explorers of transport and of losses."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import anywidget
import torch
import traitlets
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive
from workbench.density import density_map
from workbench.explore.base import Explorer, module
from workbench.explore.examples import EXAMPLES, STRIDE, Example
from workbench.plots.transport import COLUMN_COLORS
from workbench.points import cell_centres
from workbench.tensor_checks import check_not_negative, check_points, check_tensor

TOOLS = ("heads", "paint", "erase")
OWN = "your own"


class GroundCanvas(anywidget.AnyWidget):
    """The canvas in the browser (ground.js): it draws the frame that Python sends, and sends back the edits."""

    _esm = module("canvas.js", "ground_drawing.js", "ground.js")
    frame = traitlets.Dict().tag(sync=True)
    colors = traitlets.List(list(COLUMN_COLORS)).tag(sync=True)
    tool = traitlets.Enum(TOOLS, "heads").tag(sync=True)
    brush = traitlets.Float(10.0).tag(sync=True)
    picture = traitlets.Bytes(b"").tag(sync=True)


class Ground:
    """Density and heads, edited on a canvas or from Python.

    Args:
        density: (H, W), people per cell.
        points: (N, 2), image pixels.
        stride: side of a cell in image pixels.
        on_change: called after every edit; it should call :meth:`show`.
        title: above the map.

    Attributes:
        picture: (3, H, W) or (1, H, W) in [0, 1] below the density, or None.
        stroke: people that the brush adds at each place.
        canvas: the widget.
    """

    density: Tensor
    points: Tensor

    def __init__(
        self,
        density: Float[Tensor, "h w"],
        points: Float[Tensor, "n 2"],
        *,
        stride: float,
        on_change: Callable[[], None],
        title: str = "density and heads",
    ) -> None:
        check_positive(stride, "stride")
        self.stride = float(stride)
        self.on_change = on_change
        self.title = title
        self.picture: Tensor | None = None
        self.stroke = 0.1
        self.canvas = GroundCanvas()
        self._answers: dict[str, Any] = {"client": "", "answers": 0}
        self._number = 0
        self._take(density, points)
        self.canvas.on_msg(self._edited)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the map in cells."""
        height, width = self.density.shape
        return height, width

    @property
    def extent(self) -> tuple[float, float]:
        """(height, width) of the map in image pixels."""
        return self.size[0] * self.stride, self.size[1] * self.stride

    def set(
        self,
        density: Float[Tensor, "h w"],
        points: Float[Tensor, "n 2"],
        picture: Float[Tensor, "c hh ww"] | None = None,
    ) -> None:
        """Take another density, other heads and a picture below them (or none).

        Raises:
            TypeError: not floating-point tensors.
            ValueError: wrong shapes, NaN or infinite values, a negative density, heads outside the map.
        """
        self._take(density, points)
        self.picture = picture
        self.canvas.picture = b"" if picture is None else picture_bytes(picture)
        self.on_change()

    def paint(self, at: Float[Tensor, "k 2"], *, erase: bool = False) -> None:
        """Add ``stroke`` people in a Gaussian around each place; the brush is two standard deviations wide.

        Args:
            at: (K, 2), image pixels.
            erase: multiply the density by one minus a Gaussian of height 1 instead.
        """
        check_points(at, "at", size=self.extent)
        at = at.to(self.density)
        sigma = self.canvas.brush / 2
        if erase:
            apart = torch.cdist(cell_centres(self.size, self.stride, dtype=at.dtype), at)
            kept = (1 - torch.exp(-apart.square() / (2 * sigma**2))).prod(dim=1)
            self.density = self.density * kept.reshape(self.size)
        else:
            self.density = self.density + self.stroke * density_map(at, self.size, sigma=sigma, stride=self.stride)
        self.on_change()

    def show(self, status: str, *, plan: dict[str, Any] | None = None) -> None:
        """Send the present state to the canvas.

        Args:
            status: a sentence below the map, read aloud by screen readers.
            plan: "leaving" (H, W), "arriving" (N,), "weights" (N,), "links" (K, 3) rows of cell, head and mass in
                descending mass, and "width", image pixels of a line that moves one person; None for the map alone.
        """
        self._number += 1
        named = {"size": list(self.size), "stride": self.stride, "title": self.title, "status": status}
        values: dict[str, Any] = {"density": self.density, "heads": self.points}
        numbers = {"top": self.top, "width": 1.0, "number": self._number, "plan": plan is not None}
        if plan is not None:
            values |= {name: plan[name] for name in ("leaving", "arriving", "weights", "links")}
            numbers["width"] = float(plan["width"])
        sent = {name: value.to(torch.float32).contiguous().numpy().tobytes() for name, value in values.items()}
        self.canvas.frame = named | numbers | sent | self._answers

    @property
    def top(self) -> float:
        """The density that has the darkest colour, people per cell."""
        return max(float(self.density.max()), 1e-6)

    def _take(self, density: Tensor, points: Tensor) -> None:
        check_tensor(density, "density", shape=(None, None))
        check_not_negative(density, "density")
        height, width = density.shape
        check_points(points, size=(height * self.stride, width * self.stride))
        self.density, self.points = density.detach().double().cpu(), points.detach().double().cpu()

    def _edited(self, _: Any, message: dict[str, Any], __: Any = None) -> None:
        """Take an edit of the browser: other heads, places of the brush, or both."""
        self._answers = {"client": str(message["client"]), "answers": int(message["number"])}
        if "heads" in message:
            points = torch.tensor(message["heads"], dtype=torch.float64).reshape(-1, 2)
            check_points(points, "heads", size=self.extent)
            self.points = points
        if "at" in message:
            at = torch.tensor(message["at"], dtype=torch.float64).reshape(-1, 2)
            self.paint(at, erase=bool(message.get("erase", False)))
        else:
            self.on_change()


class GroundExplorer(Explorer):
    """An explorer of density and heads on a :class:`Ground`; a subclass writes :meth:`update`.

    Args:
        density: (H, W), people per cell; with ``points``, what it begins with instead of an example.
        points: (N, 2), image pixels.
        stride: side of a cell in image pixels.
        picture: (3, H, W) or (1, H, W) in [0, 1], shown below the density.
        title: above the map.

    Attributes:
        examples: what can be loaded, by name.
        ground: density and heads.

    Raises:
        ValueError: density without points, points without density, or neither at a stride that no example has.
    """

    def __init__(
        self,
        density: Float[Tensor, "h w"] | None,
        points: Float[Tensor, "n 2"] | None,
        *,
        stride: float,
        picture: Float[Tensor, "c hh ww"] | None = None,
        title: str = "density and heads",
    ) -> None:
        if (density is None) != (points is None):
            raise ValueError("density and points are given one without the other, expected both or neither")
        self.examples = dict(EXAMPLES) if stride == STRIDE else {}
        if density is not None and points is not None:
            own = Example(density, points, picture)
            self.examples = {OWN: lambda: own} | self.examples
        if not self.examples:
            raise ValueError(f"stride is {stride!r}, expected {STRIDE:g} for the examples, or density and points")
        first = next(iter(self.examples.values()))()
        self.ground = Ground(first.density, first.points, stride=stride, on_change=self.update, title=title)

    def begin(self, name: str) -> None:
        """Load an example by its name, one of ``examples``.

        Raises:
            ValueError: there is no such example.
        """
        check_choice(name, list(self.examples), "example")
        self.ground.set(*self.examples[name]())

    def update(self) -> None:
        """Density or heads have changed: compute anew, and show."""
        raise NotImplementedError


def picture_bytes(picture: Float[Tensor, "c h w"]) -> bytes:
    """A picture of (3, H, W) or (1, H, W) in [0, 1] as PNG."""
    from PIL import Image

    pixels = (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).squeeze(-1).numpy()
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
