"""Heads on the features of a backbone that is not trained, for images and for features that were kept on the disk."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.checks import check_choice, check_whole
from workbench.models.backbones import Backbone, open_backbone
from workbench.models.base import CountingModel
from workbench.models.layers import convolutions, initialise, scale_width
from workbench.tensor_checks import check_tensor

HEADS = ("plain", "columns")


class OnFeatures(CountingModel):
    """The base of models on a backbone's features: takes images or kept features, standardises the features.

    Kept features are one tensor at the largest stride: the cells of each finer stride lie in its channels
    (``pixel_unshuffle``), the finest stride's first. A frozen backbone is opened with the first image. Its weights do
    not belong to the model: a file of the model holds the head alone.
    """

    centre: Tensor
    spread: Tensor
    backbone: Backbone | None
    name: str
    freeze: bool
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def attach(self, backbone: str, weights: str | None, strides: Sequence[int], freeze: bool) -> None:
        """Set the backbone, see :class:`Frozen`."""
        bare = Backbone(backbone, strides)
        self.name, self.weights_of, self.strides, self.channels = backbone, weights, bare.strides, bare.channels
        self.freeze = freeze
        self.backbone = None if freeze else open_backbone(backbone, strides, weights)
        if self.backbone is not None:
            self.backbone.requires_grad_(True)
        self.frozen: dict[str, Backbone] = {}  # in a dict, so that it is not moved, trained or saved with this module
        self.register_buffer("centre", torch.zeros(sum(self.channels)))
        self.register_buffer("spread", torch.ones(sum(self.channels)))

    def stages(self, images: Tensor) -> list[Tensor]:
        """The standardised features of each stride, the finest first.

        Args:
            images: (B, 3, H, W) in [0, 1]; or kept features, (B, C, h, w).
        """
        packed = [count * (self.strides[-1] // s) ** 2 for count, s in zip(self.channels, self.strides, strict=True)]
        if images.shape[1] == sum(packed):
            check_tensor(images, "images", shape=(None, sum(packed), None, None))
            parts = images.split(packed, dim=1)
            found = [F.pixel_shuffle(x, self.strides[-1] // s) for x, s in zip(parts, self.strides, strict=True)]
        else:
            found = self.compute(images)
        means, spreads = (values.view(-1, 1, 1).split(self.channels) for values in (self.centre, self.spread))
        return [(x - mean) / spread for x, mean, spread in zip(found, means, spreads, strict=True)]

    def compute(self, images: Tensor) -> list[Tensor]:
        """The backbone's features of images."""
        check_tensor(images, "images", shape=(None, 3, None, None))
        below, right = (-side % self.multiple for side in images.shape[-2:])
        grey = torch.tensor([0.485, 0.456, 0.406]).to(images).view(3, 1, 1)  # as CountingModel, the mean colour
        padded = F.pad(images - grey, (0, right, 0, below)) + grey
        if self.backbone is not None:
            return self.backbone(padded)
        if not self.frozen:
            self.frozen[self.name] = open_backbone(self.name, self.strides, self.weights_of)
        frozen = self.frozen[self.name].to(padded)
        with torch.no_grad():
            return frozen(padded)

    @torch.no_grad()
    def standardise(self, features: Float[Tensor, "b c h w"]) -> None:
        """Shift and scale each channel so that it has mean 0 and variance 1 over ``features``, which were kept.

        The spreads of a backbone's channels differ by more than a factor of ten. A head on the plain features would
        learn from the widest channels first.
        """
        self.centre.zero_()
        self.spread.fill_(1)
        found = [x.transpose(0, 1).flatten(1) for x in self.stages(features)]
        self.centre.copy_(torch.cat([x.mean(dim=1) for x in found]))
        self.spread.copy_(torch.cat([x.std(dim=1) for x in found]).clamp(min=1e-3))

    def prepare(self, images: Tensor) -> Tensor:
        """Images or kept features as they are: :meth:`stages` checks them, the backbone normalises."""
        return images

    def covered(self, images: Tensor) -> Tensor:
        """A tensor of the pictures' size, to which maps are cut; kept features cover their pictures exactly."""
        if images.shape[1] == 3:
            return images
        height, width = (side * self.strides[-1] for side in images.shape[-2:])
        return images[:1, :1, :1, :1].expand(1, 1, height, width)


class Frozen(OnFeatures):
    """A small head on the features of a frozen backbone.

    The features of each stride go through a 1 x 1 convolution, are resized to the head's stride and added. This equals
    one 1 x 1 convolution of all resized features, at a fraction of its time. Then comes the head:

    - "plain": a ReLU, 3 x 3, 3 x 3 with dilation 2, 1 x 1;
    - "columns": three parallel columns as in MCNN, each of two 3 x 3 convolutions, with dilation 1, 2 and 3.

    Args:
        backbone: timm's name of a model that has ``features_only``.
        weights_of: its weights: a file, "timm" for timm's hub; None takes the package of the extra ``weights``.
        strides: of the features that are used.
        stride: of the density map; not below the finest of ``strides`` divided by 2.
        head: "plain" or "columns".
        width: factor on the numbers of channels 96, 64 and 64.
        dropout: probability that a channel after the first convolution is set to zero in a training step.
        activation: see :class:`~workbench.models.base.CountingModel`.
        freeze: False trains the backbone with the head, from images.
    """

    def __init__(
        self,
        *,
        backbone: str = "tf_efficientnet_lite0",
        weights_of: str | None = None,
        strides: Sequence[int] = (8, 16),
        stride: int = 8,
        head: str = "plain",
        width: float = 1.0,
        dropout: float = 0.0,
        activation: str | None = None,
        freeze: bool = True,
    ) -> None:
        check_choice(head, HEADS, "head")
        check_whole(stride, "stride")
        super().__init__(stride=stride, multiple=max(32, *strides), activation=activation)
        self.attach(backbone, weights_of, strides, freeze)
        if self.multiple % stride or self.strides[0] > 2 * stride:
            raise ValueError(f"stride is {stride}, expected a divisor of 32, at least {self.strides[0] // 2}")
        entry = scale_width(96, width)
        self.entries = nn.ModuleList(nn.Conv2d(c, entry, 1, bias=not n) for n, c in enumerate(self.channels))
        self.dropout: nn.Module = nn.Dropout2d(dropout)
        if head == "plain":
            first, channels = convolutions((64,), entry, width=width)
            second, channels = convolutions((64,), channels, width=width, dilation=2)
            self.columns = nn.ModuleList([nn.Sequential(*first, *second)])
        else:
            columns, channels = [], 0
            for dilation, plan in ((1, (48, 24)), (2, (40, 20)), (3, (32, 16))):
                column, out = convolutions(plan, entry, width=width, dilation=dilation)
                columns.append(column)
                channels += out
            self.columns = nn.ModuleList(columns)
        self.head = nn.Conv2d(channels, 1, 1)
        for part in (self.entries, self.columns, self.head):
            initialise(part)
        for layer in self.entries:  # keeps the variance of the sum
            layer.get_parameter("weight").data.div_(len(self.channels) ** 0.5)

    def features_to_map(self, images: Tensor) -> Tensor:
        """The sum of the strides' features, the columns side by side, one 1 x 1 convolution."""
        found = [entry(x) for entry, x in zip(self.entries, self.stages(images), strict=True)]
        size = tuple(side * self.strides[0] // self.stride for side in found[0].shape[-2:])
        total = torch.stack([resized(x, size) for x in found]).sum(dim=0)
        total = self.dropout(torch.relu(total))
        return self.head(torch.cat([column(total) for column in self.columns], dim=1))


def resized(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Features at another size: averaged over cells where they become fewer, bilinear where they become more."""
    if maps.shape[-2:] == size:
        return maps
    if maps.shape[-2] > size[0]:
        return F.adaptive_avg_pool2d(maps, size)  # type: ignore[arg-type]
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
