"""VGG-19 with a small decoder: the network that the Bayesian loss brought, and most losses since are compared on."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from workbench.checks import check_choice
from workbench.models.base import CountingModel
from workbench.models.layers import VGG19, convolutions, initialise


class VGGCounter(CountingModel):
    """A VGG's convolutions at 1/16, enlarged twice, and a decoder of two convolutions; stride 8.

    Args:
        plan: the convolutions, see :func:`workbench.models.layers.convolutions`.
        width: factor on the numbers of channels; 1 is the paper's.
        norm: of the decoder: "none" (the paper's), "batch" or "group".
        encoder_norm: of the encoder.
        activation: see :class:`~workbench.models.base.CountingModel`.

    Attributes:
        align_corners: whether the enlargement aligns the corners; the published networks do, and their weights set it.
    """

    former = "abs"

    def __init__(
        self, plan: Sequence[int | str], *, width: float, norm: str, encoder_norm: str, activation: str | None
    ) -> None:
        super().__init__(stride=8, multiple=16, activation=activation)
        self.align_corners = False
        self.features, channels = convolutions(plan, 3, width=width, norm=encoder_norm)
        self.decoder, channels = convolutions((256, 128), channels, width=width, norm=norm)
        self.head = nn.Conv2d(channels, 1, 1)
        initialise(self)

    def features_to_map(self, images: Tensor) -> Tensor:
        """Front end, enlargement, decoder, one 1 x 1 convolution."""
        features = F.interpolate(
            self.features(images), scale_factor=2, mode="bilinear", align_corners=self.align_corners
        )
        return self.head(self.decoder(features))

    @property
    def rule(self) -> dict[str, Any]:
        """The activation, and whether corners are aligned."""
        return {**super().rule, "align_corners": self.align_corners}

    def follow(self, rule: Mapping[str, Any]) -> None:
        """See :meth:`CountingModel.follow`; ``align_corners`` is True or False."""
        super().follow(rule)
        if "align_corners" in rule:
            check_choice(rule["align_corners"], (True, False), "align_corners of the weights")
            self.align_corners = bool(rule["align_corners"])


class VGG19Counter(VGGCounter):
    """VGG-19's sixteen convolutions with the small decoder; stride 8.

    Args:
        width: factor on the numbers of channels; 1 is the paper's.
        norm: "none" (the paper's), "batch" or "group".
        activation: see :class:`~workbench.models.base.CountingModel`. The Bayesian loss's network takes the absolute
            value, DM-Count's a ReLU; their weights set it.

    Reference:
        Ma et al., "Bayesian Loss for Crowd Count Estimation with Point Supervision", ICCV 2019, sec. 4.
    """

    def __init__(self, *, width: float = 1.0, norm: str = "none", activation: str | None = None) -> None:
        super().__init__(VGG19, width=width, norm=norm, encoder_norm=norm, activation=activation)
