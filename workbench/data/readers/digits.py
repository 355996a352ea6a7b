"""Handwritten digits for the adversarial half: 1,797 real images that scikit-learn ships."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from workbench.checks import check_whole
from workbench.data.splits import check_split, hold_out_of_each

TEST_SHARE = 0.25
WHITE = 16.0  # the brightest value of the stored images


class LabelledImage(NamedTuple):
    """An image and its class; a ``DataLoader`` stacks them to one of images (B, 1, 8, 8) and labels (B,)."""

    image: Float[Tensor, "1 8 8"]
    label: int


class Digits(Dataset[LabelledImage]):
    """The digits 0 to 9, (1, 8, 8) in [0, 1], with their labels.

    The set has no official split. A quarter of every class, always the same one, is the test part; ``validation``
    of every class of the rest is held out, chosen by ``seed``.

    Args:
        split: "train", "val", "trainval" or "test".
        validation: share of the training part that is held out for validation.
        seed: of that random choice.

    Attributes:
        images: (N, 1, 8, 8), float32 in [0, 1].
        labels: (N,), whole numbers.

    Raises:
        ValueError: an unknown split, a share outside [0, 1), a negative seed.

    Reference:
        Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """

    images: Float[Tensor, "n 1 8 8"]
    labels: Int[Tensor, "n"]

    def __init__(self, split: str = "train", *, validation: float = 0.1, seed: int = 0) -> None:
        from sklearn.datasets import load_digits  # a second to import

        check_split(split, validation)
        check_whole(seed, "seed", least=0)
        pixels, labels = load_digits(return_X_y=True)
        chosen, test = hold_out_of_each(labels, TEST_SHARE, seed=0)
        if split == "test":
            chosen = test
        elif split != "trainval":
            kept, held = hold_out_of_each(labels[chosen], validation, seed)
            chosen = chosen[held if split == "val" else kept]
        self.images = torch.from_numpy((pixels[chosen] / WHITE).astype(np.float32)).reshape(-1, 1, 8, 8)
        self.labels = torch.from_numpy(labels[chosen].astype(np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> LabelledImage:
        return LabelledImage(self.images[index], int(self.labels[index]))
