"""What every model is: a module from images in [0, 1] to a density map of people per cell."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.checks import check_choice, check_positive
from workbench.models.published import published_names
from workbench.models.readout import READOUTS, start_readout
from workbench.tensor_checks import check_tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softplus": F.softplus,
    "abs": torch.abs,
    "relu": torch.relu,
    "none": lambda maps: maps,
}


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
        logits: (B, 1, H, W), of a person in the cell; the density is then 1 where the logit is above 0, else 0.
        zero_logits: (B, 2, H, W), of an empty cell and of one that is not.
        bin_logits: (B, K, H, W), of the numbers of people in a cell that is not empty.
        point_logits: (B, 4 H W, 2), of nobody and of a person at each query: row by row, the four of a cell together.
        point_offsets: (B, 4 H W, 2), x and y in pixels from a query's anchor to the person.
    """

    density: Tensor
    experts: Tensor | None = None
    groups: Tensor | None = None
    gates: tuple[tuple[Tensor, ...], ...] = ()
    levels: tuple[tuple[tuple[int, ...], ...], ...] = ()
    attention: Tensor | None = None
    branch: Tensor | None = None
    logits: Tensor | None = None
    zero_logits: Tensor | None = None
    bin_logits: Tensor | None = None
    point_logits: Tensor | None = None
    point_offsets: Tensor | None = None

    def maps(self) -> Float[Tensor, "b n h w"]:
        """Every density map side by side: experts, groups, and the final one last."""
        return torch.cat([part for part in (self.experts, self.groups, self.density) if part is not None], dim=1)


class CountingModel(nn.Module):
    """A network from images to density maps. Normalisation belongs to the model: images are in [0, 1].

    A subclass sets ``head``, the last convolution, and writes :meth:`features_to_map`. An image whose side is no
    multiple of ``multiple`` is extended on the right and at the bottom with the mean colour. The map then covers it
    with ceil(H / stride) x ceil(W / stride) cells.

    Args:
        stride: side of a density cell in image pixels.
        multiple: what the sides of the network's input must be a multiple of; the stride if None.
        activation: what is applied to the last convolution: "softplus", "abs", "relu", or "none", which is CSRNet's
            published form and lets the map go below zero. A ReLU that is zero everywhere has no gradient and stays
            zero. None takes "softplus", and lets published weights set their own, see :meth:`follow`.

    Attributes:
        front: what the names of the pretrained front end begin with.
        former: the activation of weights that were written before their files named it.
        calibrated: whether the head holds trained weights, which :meth:`calibrate` would spoil.
        readout: what the head's channels are: "density", or a name of
            :data:`workbench.models.readout.READOUTS`, see :meth:`read_as`.
        validate: whether the values of the images are checked at each call. The check waits for the device.
    """

    validate = True
    front = "features."
    former = "relu"
    head: nn.Conv2d
    mean: Tensor
    std: Tensor

    def __init__(self, *, stride: int, multiple: int | None = None, activation: str | None = "relu") -> None:
        super().__init__()
        if activation is not None:
            check_choice(activation, tuple(ACTIVATIONS), "activation")
        self.stride = stride
        self.multiple = multiple or stride
        self.activation = activation or "softplus"
        self.keeps_activation = activation is not None
        self.calibrated = False
        self.readout = "density"
        # ImageNet's mean and standard deviation: what pretrained front ends were trained with
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def features_to_map(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 hh ww"]:
        """The network on normalised images whose sides are multiples of ``multiple``, up to the last convolution."""
        raise NotImplementedError

    def forward(self, images: Float[Tensor, "b c h w"], *, named: bool = False) -> Tensor | ModelOutput:
        """Density maps, people per cell.

        Args:
            images: (B, 3, H, W), RGB in [0, 1].
            named: give the named result instead, see :meth:`outputs`.

        Returns:
            (B, 1, ceil(H / stride), ceil(W / stride)), not below zero unless ``activation`` is "none".

        Raises:
            ValueError: another shape, or NaN or infinite values.
        """
        result = self.outputs(images)
        return result if named else result.density

    def outputs(self, images: Float[Tensor, "b c h w"]) -> ModelOutput:
        """The density map with whatever else the model has to show; arguments and errors as in :meth:`forward`."""
        maps = cover(self.features_to_map(self.prepare(images)), self.covered(images), self.stride)
        if self.readout != "density":
            fields: dict[str, Any] = READOUTS[self.readout].output(maps)
            return ModelOutput(**fields)
        return ModelOutput(ACTIVATIONS[self.activation](maps))

    def read_as(self, readout: str) -> None:
        """Give the model a new head with the channels of ``readout``; see :mod:`workbench.models.readout`.

        Raises:
            ValueError: ``readout`` is not known, or the model has no single head that can be exchanged.
        """
        check_choice(readout, ("density", *READOUTS), "readout")
        if readout == "density":
            return
        head = getattr(self, "head", None)
        exchanged = isinstance(head, nn.Conv2d) and type(self).outputs is CountingModel.outputs
        if head is None or not exchanged or head.out_channels != 1:
            raise ValueError(f"readout is {readout!r}, expected 'density': {type(self).__name__} has no single head")
        self.readout = readout
        size: Any = head.kernel_size
        self.head = nn.Conv2d(head.in_channels, READOUTS[readout].channels, size, padding=head.padding)  # type: ignore[arg-type]

    def covered(self, images: Tensor) -> Tensor:
        """A tensor as high and wide as the pictures, which maps are cut to: the images themselves."""
        return images

    def prepare(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 hh ww"]:
        """Images checked, normalised, and extended to sides that are multiples of ``multiple``."""
        check_tensor(images, "images", shape=(None, 3, None, None), values=self.validate)
        height, width = images.shape[-2:]
        normalised = (images - self.mean) / self.std
        # In this form torch.export can tell that the new sides are multiples
        below = ceil_div(height, self.multiple) * self.multiple - height
        right = ceil_div(width, self.multiple) * self.multiple - width
        return F.pad(normalised, (0, right, 0, below))

    @property
    def rule(self) -> dict[str, Any]:
        """What a file of weights must say besides the tensors, so that they give the same map again."""
        return {"activation": self.activation}

    def follow(self, rule: Mapping[str, Any]) -> None:
        """Compute as the network that the weights belong to: its activation, how it enlarges, and so on.

        An ``activation`` that was given when the model was built is kept.

        Raises:
            ValueError: an entry that the model does not know, or a value that is none of its choices.
        """
        unknown = sorted(set(rule) - set(self.rule))
        if unknown:
            raise ValueError(f"rule of the weights has {', '.join(unknown)}, expected {', '.join(self.rule)}")
        if "activation" in rule:
            check_choice(rule["activation"], tuple(ACTIVATIONS), "activation of the weights")
            if not self.keeps_activation:
                self.activation = rule["activation"]

    def extra_repr(self) -> str:
        """The options that no layer shows."""
        return ", ".join(f"{name}={value!r}" for name, value in {"stride": self.stride, **self.rule}.items())

    def own_names(self, state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The tensors of a file of weights by this model's names, and the rule of the network they were published for.

        A model that has published implementations says in :mod:`workbench.models.published` how they name theirs.
        """
        return published_names(state)

    def calibrate(self, mean_density: float) -> None:
        """Give the head small weights and the bias that makes the mean of the map ``mean_density``, people per cell.

        See :func:`calibrate_layer`. Calling it again with another mean gives what a first call would. A model whose
        ``head`` is no convolution is left as it is.
        """
        check_positive(mean_density, "mean_density")
        head = getattr(self, "head", None)
        if self.readout != "density":
            start_readout(self.head, READOUTS[self.readout], mean_density)
        elif isinstance(head, nn.Conv2d):
            calibrate_layer(head, mean_density, self.activation)


def ceil_div(number: int, by: int) -> int:
    """``number / by``, rounded up; whole numbers throughout, so that tracing and export follow the image's size."""
    return (number + by - 1) // by


def cover(maps: Float[Tensor, "b n h w"], images: Tensor, stride: int) -> Float[Tensor, "b n hh ww"]:
    """The cells of ``maps`` that cover the images: what lies wholly on the extension is cut off."""
    height, width = (ceil_div(side, stride) for side in images.shape[-2:])
    if torch.compiler.is_compiling():  # torch.export cannot prove that a slice's end lies within the map
        rows, columns = (torch.arange(side, device=maps.device) for side in (height, width))
        return maps.index_select(-2, rows).index_select(-1, columns)
    return maps[..., :height, :width]


@torch.no_grad()
def calibrate_layer(layer: nn.Conv2d, mean_density: float, activation: str) -> None:
    """Start a last layer near a constant map of ``mean_density``.

    The bias is set so that a feature of zeros gives ``mean_density`` after the activation. The weights are scaled so
    that features of unit size change the map by about a tenth of ``mean_density``. A map that starts at a wrong scale
    spends its first epochs on the mean.

    Args:
        layer: the last convolution.
        mean_density: wanted value after the activation, above zero.
        activation: one of ``ACTIVATIONS``.

    Raises:
        ValueError: ``mean_density`` is not above zero.
    """
    check_positive(mean_density, "mean_density")
    start, slope = mean_density, 1.0
    if activation == "softplus":
        start = mean_density + math.log(-math.expm1(-mean_density))  # inverse of softplus
        slope = -math.expm1(-mean_density)  # derivative of softplus there
    if layer.bias is not None:  # of parts that are summed only one has a bias
        layer.bias.fill_(start)
    size = layer.weight.square().mean().sqrt().clamp(min=1e-12)
    he = math.sqrt(2 / layer.weight[0].numel())
    layer.weight.mul_(0.1 * mean_density / slope * he / size)
