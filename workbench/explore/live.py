"""Progress inside a notebook: a curve that grows while a model trains."""

from collections.abc import Mapping
from typing import Any

from workbench.explore.base import png
from workbench.plots.basic import new_figure, show_history


class LiveHistory:
    """Draws the history of a training of ``epochs`` again after each epoch: pass it as ``on_epoch``.

    It updates one picture in place, so an executed notebook holds its last state and nothing else. ``baseline`` is the
    MAE of predicting the training mean, drawn as a line.
    """

    def __init__(self, epochs: int, *, baseline: float | None = None) -> None:
        self.epochs = epochs
        self.baseline = baseline
        self.rows: list[Mapping[str, Any]] = []
        self._handle: Any = None

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Add an epoch's row of the history and draw."""
        from IPython.display import Image, display

        self.rows.append(row)
        image = Image(self.picture(), retina=True, alt=f"validation MAE up to epoch {len(self.rows)}")
        if self._handle is None:
            self._handle = display(image, display_id=True)
        if self._handle is not None:  # None outside a notebook
            self._handle.update(image)

    def picture(self) -> bytes:
        """The curve so far, as PNG."""
        figure = new_figure(6, 2.8, layout="constrained")
        ax = show_history(figure.subplots(), self.rows, baseline=self.baseline)
        ax.set(xlim=(1, max(self.epochs, 2)), title=f"epoch {len(self.rows)} of {self.epochs}")
        return png(figure, dpi=144)
