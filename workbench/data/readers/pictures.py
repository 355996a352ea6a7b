"""CIFAR-10 and STL-10 for the adversarial half, through torchvision, from files that lie there already."""

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from workbench.checks import check_whole
from workbench.data.files.folders import check_root
from workbench.data.splits import check_split, hold_out_of_each

Part = tuple[UInt8[np.ndarray, "n 3 h w"], Int[np.ndarray, "n"], list[str]]
"""Pictures, labels and the classes' names of one official part."""


class LabelledPicture(NamedTuple):
    """A picture and its class; a ``DataLoader`` stacks them to one of images (B, 3, H, W) and labels (B,)."""

    image: Float[Tensor, "3 h w"]
    label: int


class LabelledPictures(Dataset[LabelledPicture]):
    """Pictures with classes, read by torchvision; nothing is downloaded.

    torchvision compares every file's digest with the published one before it opens the file. So only the authors' own
    pickles of CIFAR-10 are ever loaded.

    Args:
        root: the folder that holds the unpacked set; None for the place that ``workbench data list`` names.
        split: "train", "val", "trainval" or "test".
        validation: share of every class of the training part that is held out for validation.
        seed: of that random choice.

    Attributes:
        pixels: (N, 3, H, W), 8 bits.
        labels: (N,), whole numbers.
        classes: the classes' names.

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
            pixels, labels, self.classes = self.read(place, train=split != "test")
        except RuntimeError as error:  # torchvision's word for missing and for damaged
            raise FileNotFoundError(
                f"{place} does not hold {self.title} whole: {error} (see data/README.md; nothing is downloaded here)"
            ) from error
        if split in ("train", "val"):
            kept, held = hold_out_of_each(labels, validation, seed)
            chosen = held if split == "val" else kept
            pixels, labels = pixels[chosen], labels[chosen]
        self.pixels = torch.from_numpy(np.ascontiguousarray(pixels))
        self.labels = torch.from_numpy(labels)

    def read(self, root: Path, *, train: bool) -> Part:
        """The official training part, or the test part."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> LabelledPicture:
        return LabelledPicture(self.pixels[index].float() / 255, int(self.labels[index]))


class CIFAR10(LabelledPictures):
    """CIFAR-10: 60,000 pictures, 32 x 32, of ten classes; ``root`` holds ``cifar-10-batches-py``.

    Reference:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    name = "cifar10"
    title = "CIFAR-10"

    def read(self, root: Path, *, train: bool) -> Part:
        """The training part, or the test part."""
        from torchvision.datasets import CIFAR10 as Files  # seconds to import

        found: Any = Files(str(root), train=train, download=False)
        return found.data.transpose(0, 3, 1, 2), np.asarray(found.targets, dtype=np.int64), list(found.classes)


class STL10(LabelledPictures):
    """STL-10: 13,000 pictures, 96 x 96, of ten classes; ``root`` holds ``stl10_binary``.

    Reference:
        Coates, Lee and Ng, "An Analysis of Single Layer Networks in Unsupervised Feature Learning", AISTATS 2011.
    """

    name = "stl10"
    title = "STL-10"

    def read(self, root: Path, *, train: bool) -> Part:
        """The training part, or the test part."""
        from torchvision.datasets import STL10 as Files  # seconds to import

        found: Any = Files(str(root), split="train" if train else "test", download=False)
        return found.data, np.asarray(found.labels, dtype=np.int64), list(found.classes)
