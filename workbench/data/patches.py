"""Random training patches, each decided by its draw alone."""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_whole
from workbench.data.dataset import CrowdDataset
from workbench.data.sample import CrowdBatch, CrowdSample, Draw, Window, collate
from workbench.data.transforms import crop_sample, flip_sample, grey_image, pad_sample, resize_sample

__all__ = ["CrowdBatch", "TrainingPatches", "collate"]


class TrainingPatches(CrowdDataset):
    """A data set whose items are random patches of another one's.

    An item is asked by a :class:`~workbench.data.sample.Draw`, or by a whole number, which stands for the draw with
    seed 0. Scale, place, mirroring and colour all come from a generator of the draw's own, so an item is the same in
    any worker process and after a resumed run.

    Args:
        dataset: where the images come from.
        size: side of a square patch in pixels, or (H, W) of any; a smaller image is padded with zeros on the right and
            at the bottom.
        flip: mirror every second patch, by chance.
        scale: (least, most) factor by which an image is resized before it is cut, drawn evenly in its logarithm; None
            leaves it.
        grey: the share of patches that lose their colours.

    Raises:
        ValueError: a size that is not a whole number above zero, a scale or a share out of range.
    """

    def __init__(
        self,
        dataset: CrowdDataset,
        size: int | tuple[int, int],
        *,
        flip: bool = True,
        scale: tuple[float, float] | None = None,
        grey: float = 0.0,
    ) -> None:
        for side in size if isinstance(size, tuple) and len(size) == 2 else (size,):
            check_whole(side, "size")  # type: ignore[arg-type]  # a tuple of another length is refused here
        if scale is not None and not (len(scale) == 2 and 0 < scale[0] <= scale[1] < math.inf):
            raise ValueError(f"scale is {scale!r}, expected (least, most) with 0 < least <= most")
        if not 0 <= grey <= 1:
            raise ValueError(f"grey is {grey!r}, expected a share in [0, 1]")
        self.dataset = dataset
        self.size = size
        self.patch_size = (size, size) if isinstance(size, int) else size
        self.flip = flip
        self.scale = scale
        self.grey = grey

    @property
    def names(self) -> list[str]:
        """The names of the images that the patches come from."""
        return self.dataset.names

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The points of the whole image."""
        return self.dataset.points(index)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: int | Draw) -> CrowdSample:
        draw = item if isinstance(item, Draw) else Draw(item, 0)
        index = self.at(draw.index)
        check_whole(draw.seed, "draw.seed", least=0)
        if draw.zoom != 1:
            raise ValueError(
                f"draw.zoom is {draw.zoom!r}, expected 1: only patches at fixed places (ImagePatches) zoom"
            )
        rng = np.random.default_rng([draw.seed, index])
        if self.scale is not None:
            return self.patch(self.dataset[index], rng)
        chances = rng.random(5)
        window = self.dataset.window(index, lambda size: self._place(size, chances))
        return self._finish(window, chances)

    def patch(self, sample: CrowdSample, rng: np.random.Generator) -> CrowdSample:
        """One random patch of ``sample``."""
        # every draw is made whether it is used or not: an option changes what it names and nothing else
        chances = rng.random(5)
        if self.scale is not None:
            least, most = self.scale
            factor = least * (most / least) ** chances[0]
            height, width = (max(1, round(side * factor)) for side in sample.size)
            sample = resize_sample(sample, (height, width))
        return self._finish(crop_sample(sample, *self._place(sample.size, chances)), chances)

    def _place(self, size: tuple[int, int], chances: Float[np.ndarray, "5"]) -> Window:
        """Where a patch is cut out of an image of ``size`` = (H, W)."""
        height, width = (min(patch, side) for patch, side in zip(self.patch_size, size, strict=True))
        return int(chances[1] * (size[1] - width + 1)), int(chances[2] * (size[0] - height + 1)), width, height

    def _finish(self, sample: CrowdSample, chances: Float[np.ndarray, "5"]) -> CrowdSample:
        """The window mirrored, without its colours, padded, each if its chance says so."""
        if self.flip and chances[3] < 0.5:
            sample = flip_sample(sample)
        if chances[4] < self.grey:
            sample = replace(sample, image=grey_image(sample.image))
        return pad_sample(sample, self.patch_size)
