"""What every model is: a module from images in [0, 1] to a density map of people per cell."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.checks import check_choice, check_positive
from workbench.tensor_checks import check_tensor

ACTIVATIONS = {"relu": torch.relu, "abs": torch.abs, "softplus": F.softplus}


class ModelOutput(NamedTuple):
    """What a model gives besides its density map, for training and for looking inside.

    Every map covers the image at the model's stride, in people per cell, unless it says otherwise.

    Attributes:
        density: (B, 1, H, W), the map that counts.
        experts: (B, K, H, W), the maps that were combined, the finest scale first.
        groups: (B, M, H, W), what the levels below the last one combined.
        gates: for each level of the combination, for each of its groups (B, n, H, W): the members' weights.
        levels: for each level, for each of its groups the members' places in the level below.
        attention: (B, 1, H', W') in [0, 1], at the coarser stride of the encoder.
        branch: (B, 1, H, W), a second map that is summed to local counts only.
    """

    density: Tensor
    experts: Tensor | None = None
    groups: Tensor | None = None
    gates: tuple[tuple[Tensor, ...], ...] = ()
    levels: tuple[tuple[tuple[int, ...], ...], ...] = ()
    attention: Tensor | None = None
    branch: Tensor | None = None

    def maps(self) -> Float[Tensor, "b n h w"]:
        """Every density map side by side: experts, groups, and the final one last."""
        return torch.cat([part for part in (self.experts, self.groups, self.density) if part is not None], dim=1)


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

    def forward(self, images: Float[Tensor, "b 3 h w"], *, named: bool = False) -> Tensor | ModelOutput:
        """Density maps, people per cell.

        Args:
            images: (B, 3, H, W), RGB in [0, 1].
            named: give the named result instead, see :meth:`outputs`.

        Returns:
            (B, 1, ceil(H / stride), ceil(W / stride)), not below zero.

        Raises:
            ValueError: another shape, or NaN or infinite values.
        """
        result = self.outputs(images)
        return result if named else result.density

    def outputs(self, images: Float[Tensor, "b 3 h w"]) -> ModelOutput:
        """The density map with whatever else the model has to show; arguments and errors as in :meth:`forward`."""
        density = ACTIVATIONS[self.activation](self.features_to_map(self.prepare(images)))
        return ModelOutput(cover(density, images, self.stride))

    def prepare(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 hh ww"]:
        """Images checked, normalised, and extended to sides that are multiples of ``multiple``."""
        check_tensor(images, "images", shape=(None, 3, None, None))
        height, width = images.shape[-2:]
        normalised = (images - self.mean) / self.std
        return F.pad(normalised, (0, -width % self.multiple, 0, -height % self.multiple))

    def own_names(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The tensors of a file of weights by this model's names; a model whose published names differ says so here."""
        return dict(state)

    @torch.no_grad()
    def calibrate(self, mean_density: float) -> None:
        """Start small and right in the mean.

        The head's weights are multiplied by 0.1 and its bias set so that an empty feature gives ``mean_density``
        people per cell. A map that starts at a wrong scale spends its first epochs on the mean, and a ReLU head that
        starts below zero everywhere never recovers.
        """
        start = self.start_value(mean_density)
        if self.head.bias is None:
            raise ValueError(f"{type(self).__name__}'s head has no bias, expected one to calibrate")
        self.head.weight.mul_(0.1)
        self.head.bias.fill_(start)

    def start_value(self, mean_density: float) -> float:
        """What the last layer must give for ``mean_density`` people per cell after the activation."""
        check_positive(mean_density, "mean_density")
        return math.log(math.expm1(mean_density)) if self.activation == "softplus" else mean_density


def cover(maps: Float[Tensor, "b n h w"], images: Tensor, stride: int) -> Float[Tensor, "b n hh ww"]:
    """The cells of ``maps`` that cover the images: what lies wholly on the extension is cut off."""
    height, width = images.shape[-2:]
    return maps[..., : math.ceil(height / stride), : math.ceil(width / stride)]
