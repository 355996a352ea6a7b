"""What the explorers share: widgets to work with, and a figure of the same state where there is no kernel."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from workbench.plots.basic import new_figure

SCREEN_DOTS_PER_INCH = 100


class Explorer:
    """Widgets that show a method by hand. An executed notebook keeps them as a picture.

    A subclass sets ``controls`` and ``widget``, and writes :meth:`draw`.

    Attributes:
        controls: the sliders, menus and buttons by name.
        widget: what is shown.
        size: of the figure, width and height in inches.
    """

    controls: dict[str, Any]
    widget: widgets.Widget
    size: tuple[float, float]

    def draw(self, figure: Figure) -> None:
        """Draw the present state on an empty figure."""
        raise NotImplementedError

    def figure(self) -> Figure:
        """The present state as a figure of matplotlib, for a report or a slide."""
        figure = new_figure(*self.size, dpi=SCREEN_DOTS_PER_INCH)
        self.draw(figure)
        return figure

    def row(self, *names: str) -> widgets.HBox:
        """Controls beside one another."""
        return widgets.HBox([self.controls[name] for name in names])

    def column(self, *names: str) -> widgets.VBox:
        """Controls below one another."""
        return widgets.VBox([self.controls[name] for name in names])

    def listen(self, changed: Callable[[Any], None]) -> None:
        """Have ``changed`` called with each change of a control; the controls get their names as style classes."""
        for name, control in self.controls.items():
            control.add_class(f"explore-{name}")
            if isinstance(control, widgets.Button):
                control.on_click(changed)
            elif not isinstance(control, widgets.Play):  # it moves a slider, which reports
                control.observe(changed, names="value")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The widgets, and beside them the picture for whoever cannot show widgets."""
        data = dict(self.widget._repr_mimebundle_() or {})
        picture = b64encode(png(self.figure())).decode("ascii")
        return data | {"image/png": picture, "text/plain": f"<{type(self).__name__}>"}


class LivePicture:
    """A picture in a notebook that ``draw`` draws again and again on one figure, ``size`` inches wide and high."""

    def __init__(self, draw: Callable[[Figure], None], *, size: tuple[float, float]) -> None:
        self.draw = draw
        self._figure = new_figure(*size, dpi=SCREEN_DOTS_PER_INCH)
        layout = widgets.Layout(width=f"{size[0] * SCREEN_DOTS_PER_INCH:.0f}px", max_width="100%", object_fit="contain")
        self.widget = widgets.Image(format="png", layout=layout)
        self.redraw()

    def redraw(self) -> None:
        """Show the present state."""
        self._figure.clear()
        self.draw(self._figure)
        self.widget.value = png(self._figure)


def module(*names: str) -> str:
    """The files of one canvas as one JavaScript module."""
    return "\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in names)


def png(figure: Figure, **options: Any) -> bytes:
    """A figure as PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", **options)
    return buffer.getvalue()


WIDE = {"description_width": "98px"}


def slider(kind: type[widgets.Widget], name: str, **options: Any) -> Any:
    """A slider that reports while it moves, its name beside it."""
    return kind(description=name, style=WIDE, continuous_update=True, layout=_row(), **options)


def play(moved: widgets.IntSlider, name: str, **options: Any) -> widgets.Play:
    """Buttons that let a slider run by itself."""
    made = widgets.Play(min=moved.min, max=moved.max, value=moved.value, description=name, show_repeat=False, **options)
    widgets.jslink((made, "value"), (moved, "value"))
    return made


def menu(name: str, options: Sequence[str], **more: Any) -> Any:
    """A menu with its name beside it."""
    return widgets.Dropdown(description=name, options=list(options), style=WIDE, layout=_row(), **more)


def buttons(options: Sequence[str]) -> Any:
    """Buttons of which one is pressed, as wide as a slider."""
    style = {"button_width": f"{300 // len(options) - 6}px"}
    return widgets.ToggleButtons(options=list(options), style=style, layout=_row())


def _row() -> widgets.Layout:
    return widgets.Layout(width="316px")
