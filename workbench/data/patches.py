"""Random training patches, each decided by its draw alone."""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_whole
from workbench.data.sample import CrowdBatch, CrowdDataset, CrowdSample, Draw, collate
from workbench.data.transforms import crop_sample, flip_sample, grey_image, pad_sample, resize_sample

__all__ = ["CrowdBatch", "TrainingPatches", "collate"]


class TrainingPatches(CrowdDataset):
    """A data set whose items are random square patches of another one's.

    An item is asked by a :class:`~workbench.data.sample.Draw`, or by a whole number, which stands for the draw with
    seed 0. Scale, place, mirroring and colour all come from a generator of the draw's own, so an item is the same in
    any worker process and after a resumed run.

    Args:
        dataset: where the images come from.
        size: side of a patch in pixels; a smaller image is padded with zeros on the right and at the bottom.
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
        size: int,
        *,
        flip: bool = True,
        scale: tuple[float, float] | None = None,
        grey: float = 0.0,
    ) -> None:
        check_whole(size, "size")
        if scale is not None and not (len(scale) == 2 and 0 < scale[0] <= scale[1] < math.inf):
            raise ValueError(f"scale is {scale!r}, expected (least, most) with 0 < least <= most")
        if not 0 <= grey <= 1:
            raise ValueError(f"grey is {grey!r}, expected a share in [0, 1]")
        self.dataset = dataset
        self.size = size
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
        return self.patch(self.dataset[index], np.random.default_rng([draw.seed, index]))

    def patch(self, sample: CrowdSample, rng: np.random.Generator) -> CrowdSample:
        """One random patch of ``sample``."""
        # every draw is made whether it is used or not: an option changes what it names and nothing else
        magnitude, across, down, mirrored, colourless = rng.random(5)
        if self.scale is not None:
            least, most = self.scale
            factor = least * (most / least) ** magnitude
            height, width = (max(1, round(side * factor)) for side in sample.size)
            sample = resize_sample(sample, (height, width))
        height, width = (min(self.size, side) for side in sample.size)
        left = int(across * (sample.size[1] - width + 1))
        top = int(down * (sample.size[0] - height + 1))
        sample = crop_sample(sample, left, top, width, height)
        if self.flip and mirrored < 0.5:
            sample = flip_sample(sample)
        if colourless < self.grey:
            sample = replace(sample, image=grey_image(sample.image))
        return pad_sample(sample, (self.size, self.size))
