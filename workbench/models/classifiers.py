"""Classifiers for the adversarial half, by name: images in [0, 1] to logits, normalisation inside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.checks import check_whole
from workbench.models.layers import initialise, normalisation, scale_width
from workbench.models.weights import load_weights
from workbench.registry import build
from workbench.tensor_checks import check_tensor

CLASSIFIERS = {
    "small_cnn": "workbench.models.classifiers:SmallCNN",
    "resnet18": "workbench.models.resnet18:ResNet18",
}


def build_classifier(name: str, *, weights: str | Path | None = None, **options: Any) -> "Classifier":
    """Build a classifier by its name.

    Args:
        name: one of ``CLASSIFIERS``.
        weights: a local file of its weights; random ones if None.
        options: the classifier's own options, see its class.

    Raises:
        ValueError: the name, an option or its value is not known, or the weights do not fit.
        FileNotFoundError: no such file of weights.
    """
    model: Classifier = build(CLASSIFIERS, name, "classifier", **options)
    if weights is not None:
        load_weights(model, weights)
    return model


class Classifier(nn.Module):
    """A network from images in [0, 1] to logits; it normalises them itself, so that attacks need not know how.

    A subclass writes :meth:`logits`.

    Args:
        mean: of the data, a channel each.
        std: standard deviation of the data, a channel each.
        classes: number of classes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, classes: int) -> None:
        super().__init__()
        check_whole(classes, "classes", least=2)
        if len(mean) != len(std) or not len(mean) or min(std) <= 0:
            raise ValueError(
                f"mean has {len(mean)} and std {len(std)} entries (least {min(std, default=None)}), "
                "expected one a channel, std above zero"
            )
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def logits(self, images: Tensor) -> Tensor:
        """The network on normalised images."""
        raise NotImplementedError

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of images (B, C, H, W) in [0, 1]; raises ``ValueError`` for another shape or non-finite values."""
        check_tensor(images, "images", shape=(None, len(self.mean), None, None))
        return self.logits((images - self.mean) / self.std)


class SmallCNN(Classifier):
    """Three convolutions with a halving of the size, average and linear layer, for the digits; any size of image.

    Args:
        classes: number of classes.
        channels: 1 for grey images, 3 for colour.
        width: factor on the numbers of channels 16, 32 and 32.
        norm: "none", "batch" or "group"; see :func:`workbench.models.layers.normalisation`.
    """

    def __init__(self, *, classes: int = 10, channels: int = 1, width: float = 1.0, norm: str = "none") -> None:
        # The digits' mean and standard deviation
        super().__init__([0.305] * channels, [0.376] * channels, classes=classes)
        first, second = scale_width(16, width), scale_width(32, width)
        layers: list[nn.Module] = []
        for wide, out, stride in ((channels, first, 1), (first, second, 2), (second, second, 1)):
            layers += [nn.Conv2d(wide, out, 3, padding=1, stride=stride), *normalisation(norm, out), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.head = nn.Linear(16 * second, classes)
        initialise(self)

    def logits(self, images: Tensor) -> Tensor:
        """Convolutions, a 4 x 4 average, and one linear layer."""
        features = self.features(images)
        if features.shape[-2:] != (
            4,
            4,
        ):  # images of 8 pixels are at this size already; an average over one value costs time
            features = self.pool(features)
        return self.head(features.flatten(1))
