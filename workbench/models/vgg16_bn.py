"""VGG-16 with batch normalisation and the simple decoder: one of the backbones losses are compared on."""

from workbench.models.layers import VGG16
from workbench.models.vgg19 import VGGCounter


class VGG16BNCounter(VGGCounter):
    """VGG-16-BN's thirteen convolutions with the decoder of :class:`workbench.models.vgg19.VGGCounter`; stride 8.

    Args:
        width: factor on the numbers of channels; 1 is the published one.
        norm: "batch" (the published one) or "group"; "none" leaves the normalisation out of the decoder alone.
        activation: see :class:`~workbench.models.base.CountingModel`.
    """

    def __init__(self, *, width: float = 1.0, norm: str = "none", activation: str | None = None) -> None:
        super().__init__(
            VGG16, width=width, norm=norm, encoder_norm="group" if norm == "group" else "batch", activation=activation
        )
