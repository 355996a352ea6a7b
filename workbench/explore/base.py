"""What every explorer is: widgets to work with, and a figure of the same state where there is no kernel."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import ipywidgets as widgets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DOTS_PER_INCH = 100


class Explorer:
    """Something to work with by hand: shown as its widgets, kept as a picture in an executed notebook.

    A subclass sets ``widget`` and writes :meth:`figure`.
    """

    widget: widgets.Widget

    def figure(self) -> Figure:
        """The present state as a figure of matplotlib, for a report or a slide."""
        raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The widgets, and beside them the picture for whoever cannot show widgets."""
        data = dict(self.widget._repr_mimebundle_() or {})
        picture = b64encode(png(self.figure())).decode("ascii")
        return data | {"image/png": picture, "text/plain": f"<{type(self).__name__}>"}


class Picture:
    """A picture in a notebook that is drawn again and again on one figure.

    Args:
        draw: draws the state on the empty figure.
        size: of the figure, width and height in inches.
    """

    def __init__(self, draw: Callable[[Figure], None], *, size: tuple[float, float]) -> None:
        self.draw = draw
        self.size = size
        self._figure = new_figure(size)
        layout = widgets.Layout(width=f"{size[0] * DOTS_PER_INCH:.0f}px", max_width="100%", object_fit="contain")
        self.widget = widgets.Image(format="png", layout=layout)
        self.redraw()

    def redraw(self) -> None:
        """Show the present state."""
        self._figure.clear()
        self.draw(self._figure)
        self.widget.value = png(self._figure)

    def figure(self) -> Figure:
        """The present state on a figure of its own."""
        figure = new_figure(self.size)
        self.draw(figure)
        return figure


def new_figure(size: tuple[float, float]) -> Figure:
    """A figure that pyplot knows nothing of, so that none is left open."""
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


WIDE = {"description_width": "98px"}


def slider(kind: type[widgets.Widget], name: str, **options: Any) -> Any:
    """A slider that reports while it moves, its name beside it."""
    return kind(description=name, style=WIDE, continuous_update=True, layout=_row(), **options)


def menu(name: str, options: Sequence[str], **more: Any) -> Any:
    """A menu with its name beside it."""
    return widgets.Dropdown(description=name, options=list(options), style=WIDE, layout=_row(), **more)


def buttons(options: Sequence[str]) -> Any:
    """Buttons of which one is pressed, as wide as a slider."""
    style = {"button_width": f"{300 // len(options) - 6}px"}
    return widgets.ToggleButtons(options=list(options), style=style, layout=_row())


def _row() -> widgets.Layout:
    return widgets.Layout(width="316px")
