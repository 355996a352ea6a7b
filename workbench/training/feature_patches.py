"""Images and patches of kept features: a training on a frozen backbone takes them in the place of pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_whole
from workbench.data.dataset import CrowdDataset
from workbench.data.patches import FixedPatches
from workbench.data.sample import CrowdSample, Draw, Window
from workbench.data.transforms import crop_sample, resize_sample
from workbench.points import crop, flip, resize
from workbench.training.features import View, check_pixels, mirror


class FeatureImages(CrowdDataset):
    """Whole pictures of another data set with their kept features; coordinates are those of the scale.

    The picture itself is left out: a sample's image is blank, of the right size.

    Args:
        dataset: where points and names come from.
        view: the features.
    """

    def __init__(self, dataset: CrowdDataset, view: View) -> None:
        self.dataset, self.view = dataset, view
        for name in dataset.names:
            if name not in view.lines:
                raise ValueError(f"{view.folder} has no features of {name}, expected those of every image")

    @property
    def names(self) -> list[str]:
        """The images' names."""
        return self.dataset.names

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of one picture at this scale."""
        return self.view.size_of(self.names[self.at(index)])

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The points in pixels of this scale."""
        return resize(self.dataset.points(index), self.dataset.size_of(index), self.size_of(index))

    def check(self) -> None:
        """Check annotations, sizes, and the pixels of the first picture."""
        self.dataset.check()
        scaled = [self.view.lines[name] for name in self.names]
        if len(self):
            check_pixels(scaled[0], self.dataset[0], self.view.folder)

    def __getitem__(self, index: int) -> CrowdSample:
        name, (height, width) = self.names[self.at(index)], self.size_of(index)
        blank = torch.zeros(1).expand(3, height, width)
        return CrowdSample(blank, self.points(index), name, features=self.view.window(name, 0, 0, width, height))


@dataclass(kw_only=True, eq=False, repr=False)
class FeaturePatches(CrowdDataset):
    """Random patches of kept features, on the grid of the largest stride.

    Asked by a :class:`~workbench.data.sample.Draw`, as :class:`~workbench.data.patches.TrainingPatches` is. The scale
    is one of ``images``, each as likely as the others. A patch that is larger than the picture is padded with zeros.

    Args:
        images: the pictures at each scale, the first one that of :attr:`~workbench.training.features.Kept.scale`.
        size: (H, W) of a patch in pixels, multiples of the largest stride.
        channels: of each stride.
        flip: mirror every second patch, by chance.
        turned: the mirrored pictures at each scale; empty where the maps are mirrored instead.

    Raises:
        ValueError: the size is no multiple of the largest stride.
    """

    images: Mapping[float, FeatureImages] = field(kw_only=False)
    size: tuple[int, int] = field(kw_only=False)
    channels: Sequence[int]
    flip: bool = True
    turned: Mapping[float, FeatureImages] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scale = next(iter(self.images))
        self.base = self.images[self.scale]
        self.strides = self.base.view.strides
        self.patch_size = self.size
        for side in self.size:
            if side % self.strides[-1]:
                raise ValueError(f"crop is {self.size}, expected multiples of the largest stride {self.strides[-1]}")

    @property
    def names(self) -> list[str]:
        """The images' names."""
        return self.base.names

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The people of the whole image, in pixels of the first scale."""
        return self.base.points(index)

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.base.size_of(index)

    def __getitem__(self, item: int | Draw) -> CrowdSample:
        draw = item if isinstance(item, Draw) else Draw(item, 0)
        index = self.at(draw.index)
        if draw.zoom != 1:
            raise ValueError(f"draw.zoom is {draw.zoom!r}, expected 1: only patches at fixed places zoom")
        chances = np.random.default_rng([draw.seed, index]).random(4)
        scale = list(self.images)[int(chances[0] * len(self.images))]
        return self.patch(index, scale, self.spot(index, scale, chances[1:3]), self.flip and bool(chances[3] < 0.5))

    def spot(self, image: int, scale: float, chances: Float[np.ndarray, "2"]) -> Window:
        """Where a patch lies at ``scale``: about the centre of the place that ``chances`` name at the first scale."""
        sizes = zip(self.base.size_of(image), self.size, self.images[scale].size_of(image), chances[::-1], strict=True)
        (top, height), (left, width) = (self._placed(*one, scale == self.scale) for one in sizes)
        return left, top, width, height

    def _placed(self, base: int, patch: int, most: int, chance: float, own: bool) -> tuple[int, int]:
        """Start and side of a patch along one axis: ``base`` pixels at the first scale, ``most`` at the wanted one."""
        grid = self.strides[-1]
        side = min(patch, most)
        start = int(chance * (max(base - patch, 0) // grid + 1)) * grid
        if not own:
            centre = (start + min(patch, base) / 2) * most / base
            start = round((centre - side / 2) / grid) * grid
        return min(max(start, 0), most - side), side

    def cut(self, image: int, scale: float, window: Window) -> Float[Tensor, "m 2"]:
        """The people of a window, in its own coordinates."""
        left, top, width, height = window
        size = self.images[scale].size_of(image)
        # as crop_sample: a window that reaches the image's own border takes in who stands on it
        reach = width + (left + width == size[1]), height + (top + height == size[0])
        return crop(self.images[scale].points(image), left, top, *reach)

    def patch(self, image: int, scale: float, window: Window, mirrored: bool) -> CrowdSample:
        """The features and the people of a window; the picture itself is left out."""
        images, (left, top, width, height) = self.images[scale], window
        name, points = images.names[image], self.cut(image, scale, window)
        if mirrored and self.turned:
            left = images.size_of(image)[1] - left - width
            features = self.turned[scale].view.window(name, left, top, width, height)
        else:
            features = images.view.window(name, *window)
            features = mirror(features, self.channels, self.strides) if mirrored else features
        right, below = ((self.size[k] - side) // self.strides[-1] for k, side in ((1, width), (0, height)))
        blank = torch.zeros(1).expand(3, *self.size)
        points = flip(points, width) if mirrored else points
        return CrowdSample(blank, points, name, features=F.pad(features, (0, right, 0, below)))


@dataclass(kw_only=True, eq=False, repr=False)
class FixedFeaturePatches(FeaturePatches, FixedPatches):
    """The same number of patches of kept features from every image, at fixed places.

    Asked by a :class:`~workbench.data.sample.Draw`, as :class:`~workbench.data.patches.ImagePatches` is. A zoomed draw
    is cut from the nearest kept scale, about the same centre. A patch that is asked for by its number holds its
    pixels, too, for samplers that hash them.

    Args:
        per_image: patches from each image.
        seed: what the places are drawn from.
    """

    per_image: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self.per_image, "per_image")
        self._picture: tuple[int, CrowdSample] | None = None

    @property
    def names(self) -> list[str]:
        """For instance ``IMG_7#2``: the image's name and the number of the patch."""
        return [f"{name}#{number}" for name in self.base.names for number in range(self.per_image)]

    def __len__(self) -> int:
        return len(self.base) * self.per_image

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The people of one patch, in its own coordinates."""
        index = self.at(index)
        return self.cut(index // self.per_image, self.scale, self.place(index, self.scale))

    def counts(self, zoom: float = 1.0) -> list[int]:
        """The number of people in every patch at the kept scale that is nearest to one zoom."""
        scale = self.nearest(zoom)
        windows = ((index // self.per_image, scale, self.place(index, scale)) for index in range(len(self)))
        return [len(self.cut(*window)) for window in windows]

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of a patch."""
        return self.patch_size

    def nearest(self, zoom: float) -> float:
        """The kept scale at which a patch covers about ``zoom`` times the width and height."""
        return min(self.images, key=lambda scale: abs(math.log(scale * zoom / self.scale)))

    def place(self, index: int, scale: float) -> Window:
        """Where patch ``index`` lies at ``scale``."""
        image, number = divmod(index, self.per_image)
        return self.spot(image, scale, np.random.default_rng([self.seed, image, number]).random(2))

    def __getitem__(self, item: int | Draw) -> CrowdSample:
        draw = item if isinstance(item, Draw) else Draw(item, 0)
        index, scale = self.at(draw.index), self.nearest(draw.zoom)
        image, window = index // self.per_image, self.place(index, scale)
        if isinstance(item, Draw):
            mirrored = self.flip and bool(np.random.default_rng([draw.seed, index]).random() < 0.5)
            return self.patch(image, scale, window, mirrored)
        return replace(self.patch(image, scale, window, False), image=self.picture(image, window))

    def picture(self, image: int, window: Window) -> Float[Tensor, "3 h w"]:
        """The part of the picture that a window at the first scale shows."""
        if self._picture is None or self._picture[0] != image:  # samplers ask for the patches of one image in turn
            self._picture = image, resize_sample(self.base.dataset[image], self.base.size_of(image))
        cut = crop_sample(self._picture[1], *window).image
        return F.pad(cut, (0, self.size[1] - cut.shape[2], 0, self.size[0] - cut.shape[1]))


def some_features(patches: CrowdDataset, samples: int = 64) -> Float[Tensor, "b c h w"]:
    """The features of evenly spread training patches, for the mean and spread of each channel."""
    return torch.stack([patches[Draw(rank * len(patches) // samples, rank)].shown for rank in range(samples)])  # type: ignore[index]
