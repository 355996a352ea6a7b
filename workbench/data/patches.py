"""Patches of images: random ones, a fixed set of every image, and windows zoomed about their centre."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive, check_whole
from workbench.data.dataset import CrowdDataset
from workbench.data.sample import CrowdSample, Draw, Window
from workbench.data.transforms import crop_sample, flip_sample, grey_image, pad_sample, resize_sample
from workbench.points import crop


@dataclass(kw_only=True, eq=False, repr=False)
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

    dataset: CrowdDataset = field(kw_only=False)
    size: int | tuple[int, int] = field(kw_only=False)
    flip: bool = True
    scale: tuple[float, float] | None = None
    grey: float = 0.0

    def __post_init__(self) -> None:
        size, scale = self.size, self.scale
        for side in size if isinstance(size, tuple) and len(size) == 2 else (size,):
            check_whole(side, "size")  # type: ignore[arg-type]  # a tuple of another length is refused here
        if scale is not None and not (len(scale) == 2 and 0 < scale[0] <= scale[1] < math.inf):
            raise ValueError(f"scale is {scale!r}, expected (least, most) with 0 < least <= most")
        if not 0 <= self.grey <= 1:
            raise ValueError(f"grey is {self.grey!r}, expected a share in [0, 1]")
        self.patch_size = (size, size) if isinstance(size, int) else size

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
        index, draw = _asked(self, item)
        if draw.zoom != 1:
            raise ValueError(
                f"draw.zoom is {draw.zoom!r}, expected 1: only patches at fixed places (ImagePatches) zoom"
            )
        # every draw is made whether it is used or not: an option changes what it names and nothing else
        chances = np.random.default_rng([draw.seed, index]).random(5)

        def choose(size: tuple[int, int]) -> Window:
            return _placed(self.patch_size, size, *chances[1:3])

        if self.scale is None:
            sample = self.dataset.window(index, choose)
        else:
            least, most = self.scale
            whole = self.dataset[index]
            factor = least * (most / least) ** chances[0]
            height, width = (max(1, round(side * factor)) for side in whole.size)
            sample = crop_sample(resize_sample(whole, (height, width)), *choose((height, width)))
        if self.flip and chances[3] < 0.5:
            sample = flip_sample(sample)
        if chances[4] < self.grey:
            sample = replace(sample, image=grey_image(sample.image))
        return pad_sample(sample, self.patch_size)


class FixedPatches(CrowdDataset):
    """Patches at fixed places: number i is the same one whenever it is asked for, so that samplers can remember it.

    Attributes:
        patch_size: (H, W) of every patch, pixels.
    """

    patch_size: tuple[int, int]

    def counts(self, zoom: float = 1.0) -> list[int]:
        """The number of people in every patch at one zoom."""
        raise NotImplementedError


@dataclass(kw_only=True, eq=False, repr=False)
class ImagePatches(FixedPatches):
    """The same number of patches from every image of a data set, at fixed places.

    The locality-aware paper trains on patches of 180 x 296 pixels taken "from different locations in the original
    image" (sec. 3.1, 5), as a set {x_i, y_i} that is hashed and partitioned: so patch i must be the same one whenever
    it is asked for. Item ``image * per_image + k`` is patch k of an image; its place is drawn evenly from (seed,
    image, k). Every image gives the same number of patches, however large it is.

    Asked by a :class:`~workbench.data.sample.Draw`, a patch may be mirrored, by the draw's seed, and zoomed: a smaller
    or larger window about the same centre (:func:`zoom_window`) is cut out of the source and resized to the patch.

    Args:
        dataset: where the images come from.
        size: (H, W) of a patch; a smaller image is padded with zeros on the right and at the bottom.
        per_image: patches from each image. The paper does not state it.
        seed: what the places are drawn from.
        flip: whether every second draw, by chance, is mirrored; a patch asked by its number never is.

    Raises:
        ValueError: a size, number or seed out of range.

    Reference:
        "Locality-Aware Crowd Counting", sec. 3.1 and 5.
    """

    dataset: CrowdDataset = field(kw_only=False)
    size: tuple[int, int] = field(default=(180, 296), kw_only=False)
    per_image: int = 9
    seed: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        self.patch_size = height, width = self.size
        for value, name in ((height, "height"), (width, "width"), (self.per_image, "per_image")):
            check_whole(value, name)
        check_whole(self.seed, "seed", least=0)

    @property
    def names(self) -> list[str]:
        """For instance ``IMG_7#2``: the image's name and the number of the patch."""
        return [f"{name}#{number}" for name in self.dataset.names for number in range(self.per_image)]

    def __len__(self) -> int:
        return len(self.dataset) * self.per_image

    def place(self, index: int, size: tuple[int, int], zoom: float = 1.0) -> Window:
        """Where patch ``index`` is cut out of its image of ``size`` = (H, W)."""
        across, down = np.random.default_rng([self.seed, *divmod(self.at(index), self.per_image)]).random(2)
        window = _placed(self.patch_size, size, across, down)
        return window if zoom == 1 else zoom_window(window, size, zoom)

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The people of one patch, in its own coordinates."""
        image = self.at(index) // self.per_image
        return self._cut(self.dataset.points(image), index, self.dataset.size_of(image))

    def counts(self, zoom: float = 1.0) -> list[int]:
        """The number of people in every patch at one zoom; each image's annotation is read once."""
        whole = [(self.dataset.points(image), self.dataset.size_of(image)) for image in range(len(self.dataset))]
        indices = ((index, *whole[index // self.per_image]) for index in range(len(self)))
        return [len(self._cut(points, index, size, zoom)) for index, points, size in indices]

    def __getitem__(self, item: int | Draw) -> CrowdSample:
        index, draw = _asked(self, item)
        base: tuple[int, int] = self.patch_size

        def choose(size: tuple[int, int]) -> Window:
            nonlocal base
            _, _, width, height = self.place(index, size)
            base = height, width
            return self.place(index, size, draw.zoom)

        sample = resize_sample(self.dataset.window(index // self.per_image, choose), base)
        if self.flip and isinstance(item, Draw) and np.random.default_rng([draw.seed, index]).random() < 0.5:
            sample = flip_sample(sample)
        return pad_sample(sample, self.patch_size)

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of a patch."""
        return self.patch_size

    def _cut(
        self, points: Float[Tensor, "n 2"], index: int, size: tuple[int, int], zoom: float = 1.0
    ) -> Float[Tensor, "m 2"]:
        left, top, width, height = self.place(index, size, zoom)
        # as crop_sample: a window that reaches the image's own border takes in who stands on it
        return crop(points, left, top, width + (left + width == size[1]), height + (top + height == size[0]))


def fitting_side(dataset: CrowdDataset, most: int) -> int:
    """The side of square training patches: ``most``, or less where every image is smaller.

    A patch that is larger than every image is padded with zeros, which costs time and teaches nothing. The side is a
    multiple of 32, so that the networks' strides divide it.
    """
    longest = 0
    for index in range(len(dataset)):
        longest = max(longest, *dataset.size_of(index))
        if longest >= most:
            return most
    return min(most, -(-longest // 32) * 32)


def zoom_window(window: Window, size: tuple[int, int], zoom: float) -> Window:
    """The window of a zoomed patch [LA 7]: ``zoom`` times as wide and high as ``window``, within the image.

    The centre stays where it is unless the new window would reach outside; then it moves just inside. The shape is
    kept, so a window can grow until one of its sides is the image's. Sides are whole pixels.

    Args:
        window: left, top, width and height in the image's pixels.
        size: (H, W) of the image.
        zoom: factor on the sides; 1 gives ``window`` itself.

    Raises:
        ValueError: a zoom that is not a finite number above zero.
    """
    check_positive(zoom, "zoom")
    left, top, width, height = window
    zoom = min(zoom, size[0] / height, size[1] / width)
    new_width, new_height = (max(1, round(side * zoom)) for side in (width, height))
    return (
        _moved(left + width / 2, new_width, size[1]),
        _moved(top + height / 2, new_height, size[0]),
        new_width,
        new_height,
    )


def _asked(patches: CrowdDataset, item: int | Draw) -> tuple[int, Draw]:
    """The index of a patch, counted from the start, and the draw that asks for it."""
    draw = item if isinstance(item, Draw) else Draw(item, 0)
    check_whole(draw.seed, "draw.seed", least=0)
    return patches.at(draw.index), draw


def _placed(patch: tuple[int, int], size: tuple[int, int], across: float, down: float) -> Window:
    """The window of a patch in an image of ``size``; ``across`` and ``down`` in [0, 1) say where it lies."""
    height, width = (min(side, most) for side, most in zip(patch, size, strict=True))
    return int(across * (size[1] - width + 1)), int(down * (size[0] - height + 1)), width, height


def _moved(centre: float, side: int, most: int) -> int:
    """Where a window of ``side`` begins, its centre as near to ``centre`` as fits into [0, ``most``]."""
    return max(0, min(round(centre - side / 2), most - side))
