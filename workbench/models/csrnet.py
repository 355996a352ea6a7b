"""CSRNet: the first ten convolutions of VGG-16, then dilated convolutions instead of more pooling."""

from torch import Tensor, nn

from workbench.models.base import CountingModel
from workbench.models.layers import VGG16, convolutions, initialise


class CSRNet(CountingModel):
    """The congested-scene network, configuration B (dilation 2); stride 8.

    Args:
        width: factor on the numbers of channels; 1 is the paper's, 0.125 trains on a laptop's CPU.
        norm: "none" (the paper's), "batch" or "group". A network trained from scratch wants one.
        activation: see :class:`~workbench.models.base.CountingModel`.

    Reference:
        Li, Zhang and Chen, "CSRNet: Dilated Convolutional Neural Networks for Understanding the Highly Congested
        Scenes", CVPR 2018, table 3.
    """

    def __init__(self, *, width: float = 1.0, norm: str = "none", activation: str | None = None) -> None:
        super().__init__(stride=8, activation=activation)
        self.features, channels = convolutions(VGG16[:13], 3, width=width, norm=norm)
        self.backend, channels = convolutions(
            (512, 512, 512, 256, 128, 64), channels, width=width, norm=norm, dilation=2
        )
        self.head = nn.Conv2d(channels, 1, 1)
        initialise(self)

    def features_to_map(self, images: Tensor) -> Tensor:
        """Front end, back end, one 1 x 1 convolution."""
        return self.head(self.backend(self.features(images)))
