"""Images with classes for the adversarial half: scikit-learn's digits, CIFAR-10 and STL-10. Nothing is downloaded."""

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.utils.data import Dataset

from workbench.checks import check_whole
from workbench.data.files.folders import check_root
from workbench.data.splits import check_split, hold_out_of_each

LabelledPart = tuple[Shaped[np.ndarray, "n c h w"], Int[np.ndarray, "n"], list[str]]
"""Images, labels and the classes' names of one official part."""

DIGITS_TEST_SHARE = 0.25  # of every class of the digits
WHITE = 16.0  # the brightest value of the stored digits


class LabelledImage(NamedTuple):
    """An image and its class; a ``DataLoader`` stacks them to one of images (B, C, H, W) and labels (B,)."""

    image: Float[Tensor, "c h w"]
    label: int


class LabelledImages(Dataset[LabelledImage]):
    """Images with classes; an item's image is in [0, 1].

    Attributes:
        images: (N, C, H, W), float32 in [0, 1] or 8 bits.
        labels: (N,), whole numbers.
        classes: the classes' names.
    """

    images: Shaped[Tensor, "n c h w"]
    labels: Int[Tensor, "n"]
    classes: list[str]

    def take(self, part: LabelledPart, split: str, validation: float, seed: int) -> None:
        """Keep what belongs to ``split`` of the official training part; of the test part everything."""
        images, labels, self.classes = part
        if split in ("train", "val"):
            kept, held = hold_out_of_each(labels, validation, seed)
            chosen = held if split == "val" else kept
            images, labels = images[chosen], labels[chosen]
        self.images, self.labels = torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> LabelledImage:
        image = self.images[index]
        return LabelledImage(image.float() / 255 if image.dtype == torch.uint8 else image, int(self.labels[index]))


class Digits(LabelledImages):
    """The digits 0 to 9: 1,797 images, (1, 8, 8), that scikit-learn ships.

    The set has no official split. A quarter of every class, always the same one, is the test part.

    Args:
        split: "train", "val", "trainval" or "test".
        validation: share of every class of the training part that is held out for validation.
        seed: of that random choice.

    Raises:
        ValueError: an unknown split, a share outside [0, 1), a negative seed.

    Reference:
        Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """

    def __init__(self, split: str = "train", *, validation: float = 0.1, seed: int = 0) -> None:
        from sklearn.datasets import load_digits  # a second to import

        check_split(split, validation)
        check_whole(seed, "seed", least=0)
        pixels, labels = load_digits(return_X_y=True)
        training, test = hold_out_of_each(labels, DIGITS_TEST_SHARE, seed=0)
        chosen = test if split == "test" else training
        images = (pixels[chosen] / WHITE).astype(np.float32).reshape(-1, 1, 8, 8)
        self.take((images, labels[chosen].astype(np.int64), list("0123456789")), split, validation, seed)


class Pictures(LabelledImages):
    """Colour pictures with classes, read by torchvision.

    torchvision compares every file's digest with the published one before it opens the file. So only the authors' own
    pickles of CIFAR-10 are ever loaded.

    Args:
        root: the folder that holds the unpacked set; None for the place that ``workbench data list`` names.
        split: as of :class:`Digits`, and so ``validation`` and ``seed``.
        validation: see ``split``.
        seed: see ``split``.

    Raises:
        FileNotFoundError: there is no such folder, or the set is not in it or not whole.
        ValueError: an option's value is out of range.
    """

    title: ClassVar[str]
    name: ClassVar[str]

    def __init__(
        self, root: str | Path | None = None, split: str = "train", *, validation: float = 0.1, seed: int = 0
    ) -> None:
        check_split(split, validation)
        check_whole(seed, "seed", least=0)
        place = check_root(root, self.name, self.title)
        try:
            part = self.read(str(place), train=split != "test")
        except RuntimeError as error:  # torchvision's word for missing and for damaged
            raise FileNotFoundError(
                f"{place} does not hold {self.title} whole: {error} (see data/README.md; nothing is downloaded here)"
            ) from error
        self.take(part, split, validation, seed)

    def read(self, root: str, *, train: bool) -> LabelledPart:
        """The official training part, or the test part."""
        raise NotImplementedError


class CIFAR10(Pictures):
    """CIFAR-10: 60,000 pictures, 32 x 32, of ten classes; ``root`` holds ``cifar-10-batches-py``.

    Reference:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    name = "cifar10"
    title = "CIFAR-10"

    def read(self, root: str, *, train: bool) -> LabelledPart:
        """The training part, or the test part."""
        from torchvision.datasets import CIFAR10 as Files  # seconds to import

        found: Any = Files(root, train=train, download=False)
        return found.data.transpose(0, 3, 1, 2), np.asarray(found.targets, dtype=np.int64), list(found.classes)


class STL10(Pictures):
    """STL-10: 13,000 pictures, 96 x 96, of ten classes; ``root`` holds ``stl10_binary``.

    Reference:
        Coates, Lee and Ng, "An Analysis of Single Layer Networks in Unsupervised Feature Learning", AISTATS 2011.
    """

    name = "stl10"
    title = "STL-10"

    def read(self, root: str, *, train: bool) -> LabelledPart:
        """The training part, or the test part."""
        from torchvision.datasets import STL10 as Files  # seconds to import

        found: Any = Files(root, split="train" if train else "test", download=False)
        return found.data, np.asarray(found.labels, dtype=np.int64), list(found.classes)
