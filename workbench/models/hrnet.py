"""HRNet with the simple decoder: the strongest backbone of the proximal mapping loss's Table 2."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.checks import check_choice
from workbench.io.extras import need
from workbench.models.base import CountingModel
from workbench.models.layers import convolutions, initialise

VARIANTS = (
    "hrnet_w18_small",
    "hrnet_w18_small_v2",
    "hrnet_w18",
    "hrnet_w30",
    "hrnet_w32",
    "hrnet_w40",
    "hrnet_w44",
    "hrnet_w48",
    "hrnet_w64",
)


class HRNetCounter(CountingModel):
    """HRNet's features of strides 4 to 32 side by side at stride 8, and a decoder of two convolutions; stride 8.

    The encoder is timm's and has batch normalisation. ``weights`` takes a file of this model, or of timm's model of the
    same variant for the encoder alone.

    Args:
        variant: timm's name; "hrnet_w48" is the size that counting papers take, "hrnet_w18_small" the smallest.
        width: factor on the numbers of channels of the decoder alone.
        norm: of the decoder: "none", "batch" or "group".
        activation: see :class:`~workbench.models.base.CountingModel`.

    Reference:
        Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", IEEE TPAMI 2021.
    """

    front = "encoder."
    former = "abs"

    def __init__(
        self, *, variant: str = "hrnet_w48", width: float = 1.0, norm: str = "none", activation: str | None = None
    ) -> None:
        check_choice(variant, VARIANTS, "variant")
        super().__init__(stride=8, multiple=32, activation=activation)
        need("train")
        import timm  # seconds to import

        encoder: Any = timm.create_model(variant, pretrained=False, features_only=True, out_indices=(1, 2, 3, 4))
        self.encoder = encoder
        channels = sum(encoder.feature_info.channels())
        self.decoder, channels = convolutions((256, 128), channels, width=width, norm=norm)
        self.head = nn.Conv2d(channels, 1, 1)
        initialise(self.decoder)
        initialise(self.head)

    def features_to_map(self, images: Tensor) -> Tensor:
        """The four resolutions at the second's, decoder, one 1 x 1 convolution."""
        finest, second, *rest = self.encoder(images)
        enlarged = [F.interpolate(x, scale_factor=2**k, mode="bilinear") for k, x in enumerate(rest, start=1)]
        return self.head(self.decoder(torch.cat([F.avg_pool2d(finest, 2), second, *enlarged], dim=1)))
