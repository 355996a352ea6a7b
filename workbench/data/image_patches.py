"""A fixed set of patches cut out of every image: what locality-aware batches partition."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_whole
from workbench.data.dataset import CrowdDataset
from workbench.data.sample import CrowdSample, Draw, Window
from workbench.data.transforms import flip_sample, pad_sample, resize_sample
from workbench.data.zooming import zoom_window
from workbench.points import crop


class ImagePatches(CrowdDataset):
    """The same number of patches from every image of a data set, at places that stay.

    The locality-aware paper trains on patches of 180 x 296 pixels taken "from different locations in the original
    image" (sec. 3.1, 5), as a set {x_i, y_i} that is hashed and partitioned: so patch i must be the same one whenever
    it is asked for. Item ``image * per_image + k`` is patch k of an image; its place is drawn evenly from (seed,
    image, k). Every image gives as many patches, however large it is.

    Asked by a :class:`~workbench.data.sample.Draw`, a patch may be mirrored, by the draw's seed, and zoomed (LA eq. 7):
    a smaller or larger window about the same centre is cut out of the source image and brought to the patch's size.

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

    def __init__(
        self,
        dataset: CrowdDataset,
        size: tuple[int, int] = (180, 296),
        *,
        per_image: int = 9,
        seed: int = 0,
        flip: bool = False,
    ) -> None:
        for value, name in ((size[0], "height"), (size[1], "width"), (per_image, "per_image")):
            check_whole(value, name)
        check_whole(seed, "seed", least=0)
        self.dataset = dataset
        self.patch_size = size
        self.per_image = per_image
        self.seed = seed
        self.flip = flip

    @property
    def names(self) -> list[str]:
        """For instance ``IMG_7#2``: the image's name and the number of the patch."""
        return [f"{name}#{number}" for name in self.dataset.names for number in range(self.per_image)]

    def __len__(self) -> int:
        return len(self.dataset) * self.per_image

    def place(self, index: int, size: tuple[int, int], zoom: float = 1.0) -> Window:
        """Where patch ``index`` is cut out of its image of ``size`` = (H, W)."""
        across, down = np.random.default_rng([self.seed, *divmod(self.at(index), self.per_image)]).random(2)
        height, width = self._least(size)
        window = int(across * (size[1] - width + 1)), int(down * (size[0] - height + 1)), width, height
        return window if zoom == 1 else zoom_window(window, size, zoom)

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The people of one patch, in its own coordinates."""
        image = self.at(index) // self.per_image
        return self._cut(self.dataset.points(image), index, self.dataset.size_of(image))

    def counts(self, zoom: float = 1.0) -> list[int]:
        """The number of people in every patch at one zoom; each image's annotation is read once."""
        counts = []
        for image in range(len(self.dataset)):
            points, size = self.dataset.points(image), self.dataset.size_of(image)
            for number in range(self.per_image):
                counts.append(len(self._cut(points, image * self.per_image + number, size, zoom)))
        return counts

    def __getitem__(self, item: int | Draw) -> CrowdSample:
        draw = item if isinstance(item, Draw) else Draw(item, 0)
        index = self.at(draw.index)
        check_whole(draw.seed, "draw.seed", least=0)
        base: tuple[int, int] = self.patch_size

        def choose(size: tuple[int, int]) -> Window:
            nonlocal base
            base = self._least(size)
            return self.place(index, size, draw.zoom)

        sample = resize_sample(self.dataset.window(index // self.per_image, choose), base)
        if self.flip and isinstance(item, Draw) and np.random.default_rng([draw.seed, index]).random() < 0.5:
            sample = flip_sample(sample)
        return pad_sample(sample, self.patch_size)

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of a patch."""
        return self.patch_size

    def _least(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of the patches of an image of ``size``, before they are padded."""
        height, width = (min(patch, side) for patch, side in zip(self.patch_size, size, strict=True))
        return height, width

    def _cut(
        self, points: Float[Tensor, "n 2"], index: int, size: tuple[int, int], zoom: float = 1.0
    ) -> Float[Tensor, "m 2"]:
        left, top, width, height = self.place(index, size, zoom)
        # as crop_sample: a window that reaches the image's own border takes in who stands on it
        return crop(points, left, top, width + (left + width == size[1]), height + (top + height == size[0]))
