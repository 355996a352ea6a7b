"""The explorer of locality-aware batches: bins and groups with their patches, and the zoom of one patch."""

from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from workbench.data import open_dataset
from workbench.data.patches import ImagePatches
from workbench.data.sample import Draw
from workbench.explore.base import Explorer, LivePicture, menu, slider
from workbench.plots.basic import BLUE, GREY, ORANGE, RED, show_image, show_points
from workbench.plots.locality import show_occupancy, show_zoom
from workbench.sampling.lsh import draw_projection, hash_codes
from workbench.sampling.partition import SPACINGS, Partition, partition_samples
from workbench.sampling.zoom import STEEPNESS, STRENGTH, next_zooms, zoom_rates

SHOWN_PATCHES = 10  # patches of a bin
DIVIDE = ("groups", "bins", "spacing", "projection")  # the controls that make another partition
ZOOM = ("error", "strength", "steepness")  # those of the zoom alone


class LocalityExplorer(Explorer):
    """Patches in groups by their counts and bins by their hash codes (LADP), and zooms by their errors (LADA).

    Args:
        patches: all of one size; patches of made scenes if None.

    Attributes:
        patches: the patches.
        partition: the groups and bins that the sliders ask for.
        controls: the sliders by name.
    """

    size = (10.4, 6.8)

    def __init__(self, patches: ImagePatches | None = None) -> None:
        self.patches = patches or ImagePatches(
            open_dataset("scenes", preset="small", length=30, seed=0), (64, 64), per_image=4
        )
        self.counts = self.patches.counts()
        self._images = torch.stack([self.patches[index].image for index in range(len(self.patches))])
        whole, real = widgets.IntSlider, widgets.FloatSlider
        self.controls = {
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
        self.partition: Partition
        self._divide()
        self._bins = LivePicture(self._draw_bins, size=(10.4, 3.7))
        self._zoom = LivePicture(self._draw_zoom, size=(10.4, 3.1))
        rows = [self.row("groups", "bins", "spacing"), self.row("group", "bin", "projection"), self._bins.widget]
        self.widget = widgets.VBox([*rows, self.row("patch", *ZOOM), self._zoom.widget])
        self.widget.add_class("workbench-locality")
        self.listen(self._changed)

    @property
    def place(self) -> tuple[int, int]:
        """The group and the bin that are looked at, from 0."""
        return self.controls["group"].value - 1, self.controls["bin"].value - 1

    @property
    def members(self) -> np.ndarray:
        """The numbers of the patches in the bin that is looked at."""
        group, place = self.place
        return np.flatnonzero((self.partition.group == group) & (self.partition.bin == place))

    @property
    def chosen(self) -> int:
        """The number of the patch that is zoomed: one of the bin's, or of all where the bin is empty."""
        members = self.members
        place = self.controls["patch"].value - 1
        return int(members[place % len(members)]) if len(members) else place % len(self.patches)

    @property
    def zoom(self) -> float:
        """The zoom rate of the chosen patch at the predicted count."""
        truth = self.counts[self.chosen]
        return float(next_zooms([truth], [truth * (1 + self.controls["error"].value)], **self._options)[0])

    @property
    def _options(self) -> dict[str, float]:
        return {name: self.controls[name].value for name in ("strength", "steepness")}

    def draw(self, figure: Figure) -> None:
        """Both pictures, one above the other."""
        grid = figure.add_gridspec(2, 1, height_ratios=[3.7, 3.1])
        self._draw_bins(figure.add_subfigure(grid[0]))
        self._draw_zoom(figure.add_subfigure(grid[1]))

    def _draw_bins(self, figure: Any) -> None:
        """How many patches each bin holds, and the patches of one bin; the one that is zoomed has a frame."""
        group, place = self.place
        members, chosen = self.members, self.chosen
        grid = figure.add_gridspec(2, 8, left=0.06, right=0.99, bottom=0.14, top=0.88, wspace=0.12, hspace=0.3)
        table = figure.add_subplot(grid[:, :3])
        show_occupancy(table, self.partition.occupancy, ylabel="group (by people)")
        table.add_patch(Rectangle((place - 0.5, group - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=3))
        table.set_title(f"{len(self.counts)} patches in {self.partition.filled} bins", fontsize=10)
        for number in range(SHOWN_PATCHES):
            ax = figure.add_subplot(grid[number // 5, 3 + number % 5])
            ax.set_axis_off()
            if number < len(members):
                index = int(members[number])
                ax.set_axis_on()
                show_image(ax, self._images[index])
                ax.set_title(_people(self.counts[index]), fontsize=9)
                ax.spines[:].set(color=ORANGE if index == chosen else GREY, linewidth=3 if index == chosen else 0.8)
        more = f", {SHOWN_PATCHES} of them shown" if len(members) > SHOWN_PATCHES else ""
        held = f"{len(members)} patches{more}" if len(members) else "empty"
        figure.text(0.7, 0.945, f"group {group + 1}, bin {place + 1}: {held}", ha="center", fontsize=10)

    def _draw_zoom(self, figure: Any) -> None:
        """The zoom function with the present error, the windows in the source image, the patch before and after."""
        index, zoom, error = self.chosen, self.zoom, self.controls["error"].value
        source = self.patches.dataset[index // self.patches.per_image]
        height, width = source.image.shape[-2:]
        places = {"width_ratios": [1.35, 1, 1, 1], "left": 0.06, "right": 0.99, "bottom": 0.17, "top": 0.86}
        curve, whole, *both = figure.subplots(1, 4, gridspec_kw=places)
        factors = np.linspace(-1, 1, 201)
        label = "$\\lambda$ = {strength:.2f}, $\\gamma$ = {steepness:.0f}".format(**self._options)
        show_zoom(curve, factors, {label: zoom_rates(factors, **self._options)})
        curve.legend(frameon=False, loc="upper right", fontsize=9)
        curve.plot(error, zoom_rates([error], **self._options), "o", color=RED, markersize=8)
        sign = "over" if error > 0 else "under"
        title = f"{sign}-estimated by {abs(error):.0%}: r = {zoom:.2f}" if error else "counted right"
        curve.set_title(title, fontsize=10)
        show_image(whole, source.image)
        whole.set_title("the source image", fontsize=10)
        names = ("the patch", "zoomed in" if zoom < 1 else "zoomed out" if zoom > 1 else "as it was")
        looks = zip(both, names, (1.0, zoom), (BLUE, RED), ("--", "-"), strict=True)
        for ax, name, rate, color, style in looks:
            left, top, wide, high = self.patches.place(index, (height, width), rate)
            frame = Rectangle((left, top), wide, high, fill=False, edgecolor=color, linestyle=style, linewidth=2)
            whole.add_patch(frame)
            sample = self.patches[Draw(index, 0, rate)]
            show_points(show_image(ax, sample.image), sample.points, color=color, size=30)
            ax.set_title(f"{name}: {_people(len(sample.points))}", fontsize=10)
            ax.spines[:].set(color=color, linewidth=2)

    def _divide(self) -> None:
        control = self.controls
        height, width = self._images.shape[-2:]
        codes = hash_codes(self._images, draw_projection((height, width), seed=control["projection"].value))
        options = {name: control[name].value for name in ("groups", "bins", "spacing")}
        self.partition = partition_samples(self.counts, codes.numpy(), **options)
        control["group"].max, control["bin"].max = control["groups"].value, control["bins"].value

    def _changed(self, change: Any) -> None:
        if any(change.owner is self.controls[name] for name in DIVIDE):
            self._divide()
        if not any(change.owner is self.controls[name] for name in ZOOM):
            self._bins.redraw()
        self._zoom.redraw()


def _people(number: int) -> str:
    return "1 person" if number == 1 else f"{number} people"
