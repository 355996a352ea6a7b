"""MCNN: three columns with kernels of three sizes, for heads of three sizes."""

import torch
from torch import Tensor, nn

from workbench.models.base import CountingModel
from workbench.models.layers import convolutions, initialise


class MCNN(CountingModel):
    """The multi-column network; stride 4.

    Args:
        width: factor on the numbers of channels; 1 is the paper's.
        norm: "none" (the paper's), "batch" or "group".
        activation: see :class:`~workbench.models.base.CountingModel`.

    Reference:
        Zhang et al., "Single-Image Crowd Counting via Multi-Column Convolutional Neural Network", CVPR 2016, fig. 3.
    """

    def __init__(self, *, width: float = 1.0, norm: str = "none", activation: str | None = None) -> None:
        super().__init__(stride=4, activation=activation)
        columns, channels = [], 0
        for first, then, base in ((9, 7, 16), (7, 5, 20), (5, 3, 24)):
            head, out = convolutions([base], 3, width=width, norm=norm, kernel=first)
            rest, out = convolutions(["M", 2 * base, "M", base, base // 2], out, width=width, norm=norm, kernel=then)
            columns.append(nn.Sequential(head, rest))
            channels += out
        self.columns = nn.ModuleList(columns)
        self.head = nn.Conv2d(channels, 1, 1)
        initialise(self)

    def features_to_map(self, images: Tensor) -> Tensor:
        """The three columns side by side, then one 1 x 1 convolution."""
        return self.head(torch.cat([column(images) for column in self.columns], dim=1))
