"""The explorer of locality-aware batches: bins and groups with their patches, and the zoom of one patch."""

from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from workbench.data import open_dataset
from workbench.data.patches import ImagePatches
from workbench.data.sample import Draw
from workbench.explore.base import Explorer, Picture, menu, new_figure, slider
from workbench.explore.locality_figure import draw_partition, draw_zoom
from workbench.sampling.lsh import draw_projection, hash_codes
from workbench.sampling.partition import SPACINGS, Partition, partition_samples
from workbench.sampling.zoom import STEEPNESS, STRENGTH, next_zooms


class LocalityExplorer(Explorer):
    """Patches in groups by their counts and bins by their hash codes (LADP), and zooms by their errors (LADA).

    Args:
        patches: all of one size; patches of made scenes if None.

    Attributes:
        patches: the patches.
        partition: the groups and bins that the sliders ask for.
        controls: the sliders by name.
    """

    def __init__(self, patches: ImagePatches | None = None) -> None:
        self.patches = patches or ImagePatches(
            open_dataset("scenes", preset="small", length=30, seed=0), (64, 64), per_image=4
        )
        self.counts = self.patches.counts()
        self._images = torch.stack([self.patches[index].image for index in range(len(self.patches))])
        self.controls = self._controls()
        self.partition: Partition
        self._divide()
        self._bins = Picture(self._draw_bins, size=(10.4, 3.7))
        self._zoom = Picture(self._draw_zoom, size=(10.4, 3.1))
        names = list(self.controls)
        rows = [widgets.HBox([self.controls[name] for name in part]) for part in (names[:3], names[3:6], names[6:])]
        self.widget = widgets.VBox([*rows[:2], self._bins.widget, rows[2], self._zoom.widget])
        self.widget.add_class("workbench-locality")
        for name, control in self.controls.items():
            control.observe(self._turned, names="value")
            control.add_class(f"explore-{name}")

    @property
    def chosen(self) -> int:
        """The number of the patch that is zoomed: one of the bin's, or of all where the bin is empty."""
        members = self.members
        place = self.controls["patch"].value - 1
        return int(members[place % len(members)]) if len(members) else place % len(self.patches)

    @property
    def members(self) -> np.ndarray:
        """The numbers of the patches in the bin that is looked at."""
        group, place = self.controls["group"].value - 1, self.controls["bin"].value - 1
        return np.flatnonzero((self.partition.group == group) & (self.partition.bin == place))

    @property
    def zoom(self) -> float:
        """The zoom rate of the chosen patch at the predicted count."""
        truth = self.counts[self.chosen]
        control = self.controls
        options = {"strength": control["strength"].value, "steepness": control["steepness"].value}
        return float(next_zooms([truth], [truth * (1 + control["error"].value)], **options)[0])

    def figure(self) -> Figure:
        """Both pictures of the present state, one above the other."""
        figure = new_figure((10.4, 6.8))
        grid = figure.add_gridspec(2, 1, height_ratios=[3.7, 3.1])
        self._draw_bins(figure.add_subfigure(grid[0]))
        self._draw_zoom(figure.add_subfigure(grid[1]))
        return figure

    def _draw_bins(self, figure: Any) -> None:
        place = self.controls["group"].value - 1, self.controls["bin"].value - 1
        draw_partition(figure, self.partition, place, self._images, self.counts, self.members, self.chosen)

    def _draw_zoom(self, figure: Any) -> None:
        index = self.chosen
        source = self.patches.dataset[index // self.patches.per_image]
        height, width = source.image.shape[-2:]
        windows = [self.patches.place(index, (height, width), zoom) for zoom in (1.0, self.zoom)]
        shown = [self.patches[Draw(index, 0, zoom)] for zoom in (1.0, self.zoom)]
        control = self.controls
        draw_zoom(
            figure,
            source,
            windows,
            shown,
            error=control["error"].value,
            zoom=self.zoom,
            strength=control["strength"].value,
            steepness=control["steepness"].value,
        )

    def _divide(self) -> None:
        control = self.controls
        height, width = self._images.shape[-2:]
        codes = hash_codes(self._images, draw_projection((height, width), seed=control["projection"].value))
        options = {name: control[name].value for name in ("groups", "bins", "spacing")}
        self.partition = partition_samples(self.counts, codes.numpy(), **options)
        control["group"].max, control["bin"].max = control["groups"].value, control["bins"].value

    def _turned(self, change: Any) -> None:
        divides = [self.controls[name] for name in ("groups", "bins", "spacing", "projection")]
        zooms = [self.controls[name] for name in ("error", "strength", "steepness")]
        if change.owner in divides:
            self._divide()
        if change.owner not in zooms:
            self._bins.redraw()
        self._zoom.redraw()

    def _controls(self) -> dict[str, Any]:
        whole, real = widgets.IntSlider, widgets.FloatSlider
        return {
            "groups": slider(whole, "groups G", value=6, min=1, max=10),
            "bins": slider(whole, "bins B", value=10, min=1, max=16),
            "spacing": menu("bins of one", SPACINGS),
            "group": slider(whole, "look at group", value=1, min=1, max=6),
            "bin": slider(whole, "look at bin", value=9, min=1, max=10),
            "projection": slider(whole, "projection", value=0, min=0, max=20),
            "patch": slider(whole, "patch of bin", value=1, min=1, max=10),
            "error": slider(real, "error α", value=0.3, min=-1, max=1, step=0.05),
            "strength": slider(real, "strength λ", value=STRENGTH, min=0.1, max=1.5, step=0.05),
            "steepness": slider(real, "steepness γ", value=STEEPNESS, min=1, max=40, step=1),
        }
