"""A sheet of images with their points drawn, by which one sees exchanged axes at a glance."""

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_whole
from workbench.data.files.entries import Entry
from workbench.data.files.folders import FileDataset
from workbench.data.files.images import as_image, read_pixels
from workbench.io.files import atomic_write

SHEET_COLUMNS = 4
SHEET_PIXELS = 1_000  # of an image's longer side; a sheet shows about 350


def overlay_sheet(cls: type[FileDataset], entries: Sequence[Entry], path: str | Path, *, count: int = 12) -> None:
    """Write a PNG of up to ``count`` of the entries, from the fewest people to the most.

    Points are drawn where the annotation says, outside the image too. An image or annotation that cannot be read is
    left out.

    Raises:
        ValueError: nothing can be read, or a count below one.
        OSError: the file cannot be written.
    """
    from workbench.plots.basic import new_figure, show_image, show_points

    check_whole(count, "count")
    annotated: list[tuple[Entry, Float[Tensor, "n 2"]]] = []
    for entry in entries:
        with suppress(ValueError, OSError):
            annotated.append((entry, cls.read(entry).points))
    annotated.sort(key=lambda pair: len(pair[1]))
    readable = []
    for index in np.unique(np.linspace(0, len(annotated) - 1, count).round().astype(int)) if annotated else ():
        with suppress(ValueError, OSError):
            entry, points = annotated[index]
            pixels = read_pixels(entry.image)
            height, width = pixels.shape[:2]
            step = max(1, max(height, width) // SHEET_PIXELS)  # what is drawn, not every pixel, stays in memory
            title = f"{entry.name}: {len(points)} people"
            readable.append((title, as_image(pixels[::step, ::step]), points / step, (width, height)))
    if not readable:
        raise ValueError(f"none of the {len(entries)} images and annotations can be read, expected at least one")
    rows = math.ceil(len(readable) / SHEET_COLUMNS)
    figure = new_figure(4 * min(SHEET_COLUMNS, len(readable)), 3.4 * rows, layout="constrained")
    axes = figure.subplots(rows, min(SHEET_COLUMNS, len(readable)), squeeze=False).ravel()
    for ax in axes[len(readable) :]:
        ax.set_axis_off()
    for ax, (title, image, points, size) in zip(axes, readable, strict=False):
        show_points(show_image(ax, image, title), points, size=10)
        corners = torch.cat([points, torch.tensor([[0.0, 0.0], [*image.shape[:0:-1]]])])
        (left, top), (right, bottom) = corners.min(dim=0).values.tolist(), corners.max(dim=0).values.tolist()
        ax.set(xlim=(left, right), ylim=(bottom, top), xlabel=f"x, {size[0]} px", ylabel=f"y, {size[1]} px")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=90)
