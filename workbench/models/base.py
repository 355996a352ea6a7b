"""What every model is: a module from images in [0, 1] to a density map of people per cell."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.checks import check_choice, check_positive, check_tensor

ACTIVATIONS = {"relu": torch.relu, "abs": torch.abs, "softplus": F.softplus}


class CountingModel(nn.Module):
    """A network from images to density maps. Normalisation belongs to the model: images are in [0, 1].

    A subclass sets ``head``, the last convolution, and writes :meth:`features_to_map`. An image whose side is no
    multiple of ``multiple`` is extended on the right and at the bottom with the mean colour; the map then covers it
    with ceil(H / stride) x ceil(W / stride) cells.

    Args:
        stride: side of a density cell in image pixels.
        multiple: what the sides of the network's input must be a multiple of; the stride if None.
        activation: what makes the map non-negative: "relu", "abs" or "softplus".
    """

    head: nn.Conv2d
    mean: Tensor
    std: Tensor

    def __init__(self, *, stride: int, multiple: int | None = None, activation: str = "relu") -> None:
        super().__init__()
        check_choice(activation, tuple(ACTIVATIONS), "activation")
        self.stride = stride
        self.multiple = multiple or stride
        self.activation = activation
        # ImageNet's mean and standard deviation: what pretrained front ends were trained with
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def features_to_map(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 hh ww"]:
        """The network on normalised images whose sides are multiples of ``multiple``, up to the last convolution."""
        raise NotImplementedError

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 hh ww"]:
        """Density maps, people per cell.

        Args:
            images: (B, 3, H, W), RGB in [0, 1].

        Returns:
            (B, 1, ceil(H / stride), ceil(W / stride)), not below zero.

        Raises:
            ValueError: another shape, or NaN or infinite values.
        """
        check_tensor(images, "images", shape=(None, 3, None, None))
        height, width = images.shape[-2:]
        normalised = (images - self.mean) / self.std
        padded = F.pad(normalised, (0, -width % self.multiple, 0, -height % self.multiple))
        density = ACTIVATIONS[self.activation](self.features_to_map(padded))
        return density[..., : math.ceil(height / self.stride), : math.ceil(width / self.stride)]

    @torch.no_grad()
    def calibrate(self, mean_density: float) -> None:
        """Start small and right in the mean.

        The head's weights are multiplied by 0.1 and its bias set so that an empty feature gives ``mean_density``
        people per cell. A map that starts at a wrong scale spends its first epochs on the mean, and a ReLU head that
        starts below zero everywhere never recovers.
        """
        check_positive(mean_density, "mean_density")
        if self.head.bias is None:
            raise ValueError(f"{type(self).__name__}'s head has no bias, expected one to calibrate")
        self.head.weight.mul_(0.1)
        start = math.log(math.expm1(mean_density)) if self.activation == "softplus" else mean_density
        self.head.bias.fill_(start)
