"""The compact network: about 60,000 weights at stride 4, for experiments on a laptop."""

from torch import Tensor, nn

from workbench.models.base import CountingModel
from workbench.models.layers import convolutions, initialise


class Compact(CountingModel):
    """Three small convolutions and two poolings, then five dilated convolutions and a 1 x 1 head; stride 4.

    The dilations 1, 2, 4, 2, 1 let a cell see 102 pixels without further pooling, so that neighbouring heads stay
    apart.

    Args:
        width: factor on the numbers of channels 12, 24, 24 and 32.
        norm: "batch", "group" or "none".
        activation: see :class:`~workbench.models.base.CountingModel`.
    """

    def __init__(self, *, width: float = 1.0, norm: str = "batch", activation: str | None = None) -> None:
        super().__init__(stride=4, activation=activation)
        self.features, channels = convolutions((12, "M", 24, 24, "M", 32), 3, width=width, norm=norm)
        layers: list[nn.Module] = []
        for dilation in (1, 2, 4, 2, 1):
            block, channels = convolutions((32,), channels, width=width, norm=norm, dilation=dilation)
            layers += block
        self.context = nn.Sequential(*layers)
        self.head = nn.Conv2d(channels, 1, 1)
        initialise(self)

    def features_to_map(self, images: Tensor) -> Tensor:
        """Features, dilated context, one 1 x 1 convolution."""
        return self.head(self.context(self.features(images)))
