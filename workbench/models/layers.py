"""Building blocks that several models share."""

from collections.abc import Sequence

import torch
from torch import nn

from workbench.checks import check_choice, check_positive

VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)
VGG19 = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512)


def scale_width(channels: int, width: float) -> int:
    """The number of channels of a network ``width`` times as wide."""
    check_positive(width, "width")
    return max(1, round(channels * width))


def normalisation(norm: str, channels: int) -> list[nn.Module]:
    """The normalisation layer after a convolution: "none", "batch" or "group".

    Group normalisation has at most eight groups, and at least eight channels in each. In a group of one channel the
    mean and variance would be the same for every picture, and information on the count would be lost.
    """
    check_choice(norm, ("none", "batch", "group"), "norm")
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    if norm == "group":
        groups = max(count for count in range(1, 9) if count == 1 or (channels % count == 0 and channels >= 8 * count))
        return [nn.GroupNorm(groups, channels)]
    return []


def convolutions(
    plan: Sequence[int | str],
    channels: int,
    *,
    width: float = 1.0,
    norm: str = "none",
    kernel: int = 3,
    dilation: int = 1,
) -> tuple[nn.Sequential, int]:
    """Convolutions that keep the size, each with its normalisation and a ReLU; "M" is a 2 x 2 max-pooling.

    The numbering of the layers is torchvision's (``features`` of its VGG models), so that its weights fit.

    Args:
        plan: numbers of channels (scaled by ``width``) and "M".
        channels: channels of the input.
        width: factor on the numbers of channels.
        norm: see :func:`normalisation`.
        kernel: side of the kernels.
        dilation: dilation of the kernels.

    Returns:
        The layers and the number of channels they end with.
    """
    layers: list[nn.Module] = []
    for item in plan:
        if item == "M":
            layers.append(nn.MaxPool2d(2))
            continue
        out = scale_width(int(item), width)
        padding = dilation * (kernel - 1) // 2
        layers.append(nn.Conv2d(channels, out, kernel, padding=padding, dilation=dilation))
        layers += [*normalisation(norm, out), nn.ReLU(inplace=True)]
        channels = out
    return nn.Sequential(*layers), channels


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """He initialisation of every convolution below ``module``: the features keep their scale through a deep stack."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
