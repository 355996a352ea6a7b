"""A fixed set of patches cut out of every image: what locality-aware batches partition."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_whole
from workbench.data.sample import CrowdDataset, CrowdSample, Window
from workbench.data.transforms import pad_sample
from workbench.points import crop


class ImagePatches(CrowdDataset):
    """The same number of patches from every image of a data set, at places that stay.

    The locality-aware paper trains on patches of 180 x 296 pixels taken "from different locations in the original
    image" (sec. 3.1, 5), as a set {x_i, y_i} that is hashed and partitioned: so patch i must be the same one whenever
    it is asked for. Item ``image * per_image + k`` is patch k of an image; its place is drawn evenly from (seed,
    image, k). Every image gives as many patches, however large it is.

    Args:
        dataset: where the images come from.
        size: (H, W) of a patch; a smaller image is padded with zeros on the right and at the bottom.
        per_image: patches from each image. The paper does not state it.
        seed: what the places are drawn from.

    Raises:
        ValueError: a size, number or seed out of range.

    Reference:
        "Locality-Aware Crowd Counting", sec. 3.1 and 5.
    """

    def __init__(
        self, dataset: CrowdDataset, size: tuple[int, int] = (180, 296), *, per_image: int = 9, seed: int = 0
    ) -> None:
        for value, name in ((size[0], "height"), (size[1], "width"), (per_image, "per_image")):
            check_whole(value, name)
        check_whole(seed, "seed", least=0)
        self.dataset = dataset
        self.patch_size = size
        self.per_image = per_image
        self.seed = seed

    @property
    def names(self) -> list[str]:
        """For instance ``IMG_7#2``: the image's name and the number of the patch."""
        return [f"{name}#{number}" for name in self.dataset.names for number in range(self.per_image)]

    def __len__(self) -> int:
        return len(self.dataset) * self.per_image

    def place(self, index: int, size: tuple[int, int]) -> Window:
        """Where patch ``index`` is cut out of its image of ``size`` = (H, W)."""
        across, down = np.random.default_rng([self.seed, *divmod(self.at(index), self.per_image)]).random(2)
        height, width = (min(patch, side) for patch, side in zip(self.patch_size, size, strict=True))
        return int(across * (size[1] - width + 1)), int(down * (size[0] - height + 1)), width, height

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The people of one patch, in its own coordinates."""
        image = self.at(index) // self.per_image
        return self._cut(self.dataset.points(image), index, self.dataset.size_of(image))

    def counts(self) -> list[int]:
        """The number of people in every patch; each image's annotation is read once."""
        counts = []
        for image in range(len(self.dataset)):
            points, size = self.dataset.points(image), self.dataset.size_of(image)
            for number in range(self.per_image):
                counts.append(len(self._cut(points, image * self.per_image + number, size)))
        return counts

    def __getitem__(self, index: int) -> CrowdSample:
        index = self.at(index)
        window = self.dataset.window(index // self.per_image, lambda size: self.place(index, size))
        return pad_sample(window, self.patch_size)

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of a patch."""
        return self.patch_size

    def _cut(self, points: Float[Tensor, "n 2"], index: int, size: tuple[int, int]) -> Float[Tensor, "m 2"]:
        left, top, width, height = self.place(index, size)
        # as crop_sample: a window that reaches the image's own border takes in who stands on it
        return crop(points, left, top, width + (left + width == size[1]), height + (top + height == size[0]))
