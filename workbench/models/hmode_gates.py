"""The small networks of HMoDE: density heads, gating nets and the attention net, with their variants."""

import torch
from torch import Tensor, nn

from workbench.checks import check_choice, check_whole
from workbench.models.layers import convolutions, normalisation, scale_width

BODIES = ("conv", "residual", "multiscale")


class Residual(nn.Module):
    """A residual block: two 3 x 3 convolutions beside a 1 x 1 projection, a ReLU after their sum (He et al., 2016)."""

    def __init__(self, channels: int, out: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, padding=1),
            *normalisation(norm, out),
            nn.ReLU(inplace=True),
            nn.Conv2d(out, out, 3, padding=1),
            *normalisation(norm, out),
        )
        self.projection = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The block."""
        return torch.relu(self.body(x) + self.projection(x))


class MultiScale(nn.Module):
    """Four branches side by side with kernels 1, 3, 5 and 7, the larger ones after a 1 x 1 reduction (SANet, 2018)."""

    def __init__(self, channels: int, out: int, norm: str) -> None:
        super().__init__()
        reduced = max(1, out // 2)
        widths = [out // 4 + (k < out % 4) for k in range(4)]
        branches = []
        for kernel, width in zip((1, 3, 5, 7), widths, strict=True):
            if not width:
                continue
            first = [] if kernel == 1 else [nn.Conv2d(channels, reduced, 1), nn.ReLU(inplace=True)]
            entry = channels if kernel == 1 else reduced
            last = nn.Conv2d(entry, width, kernel, padding=kernel // 2)
            branches.append(nn.Sequential(*first, last, *normalisation(norm, width), nn.ReLU(inplace=True)))
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """The branches, concatenated."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def body(kind: str, plan: tuple[int, ...], channels: int, *, width: float, norm: str) -> tuple[nn.Module, int]:
    """What comes before the last convolution: 3 x 3 convolutions of ``plan``, or one block as wide as its widest."""
    check_choice(kind, BODIES, "kind of a gating or attention net")
    if kind == "conv":
        return convolutions(plan, channels, width=width, norm=norm)
    out = scale_width(plan[0], width)
    block: nn.Module = (Residual if kind == "residual" else MultiScale)(channels, out, norm)
    return block, out


class GatingNet(nn.Module):
    """Convolutions with ReLU and a 1 x 1 convolution with ReLU to one map a weight, as the paper and its code have it.

    Args:
        channels: of the feature.
        weights: number of maps.
        plan: channels of the hidden convolutions.
        kind: "conv", "residual" or "multiscale" (Table V).
        width: factor on the hidden channels.
        norm: normalisation of the hidden layers.
    """

    def __init__(
        self, channels: int, weights: int, plan: tuple[int, ...], *, kind: str, width: float, norm: str
    ) -> None:
        super().__init__()
        self.body, hidden = body(kind, plan, channels, width=width, norm=norm)
        self.out = nn.Conv2d(hidden, weights, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, weights, h, w), before the softmax, not below zero."""
        return torch.relu(self.out(self.body(feature)))


class AttentionNet(nn.Module):
    """Convolutions, the last to one map, and a sigmoid (sec. III-B-1).

    Args:
        channels: of the feature.
        layers: number of convolutions, the last one included: 3, 6 or 9 in Table VII.
        kind: "conv", "residual" or "multiscale".
        width: factor on the hidden channels.
        norm: normalisation of the hidden layers.
    """

    def __init__(self, channels: int, *, layers: int, kind: str, width: float, norm: str) -> None:
        super().__init__()
        check_whole(layers, "attention_layers", least=2)
        wide = layers // 2
        plan = (256,) * wide + (128,) * (layers - 1 - wide)
        self.body, hidden = body(kind, plan, channels, width=width, norm=norm)
        self.out = nn.Conv2d(hidden, 1, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, 1, h, w) in [0, 1]."""
        return torch.sigmoid(self.out(self.body(feature)))


class DensityHead(nn.Module):
    """Two 1 x 1 convolutions, a ReLU between them; what makes the map non-negative comes after."""

    def __init__(self, channels: int, *, width: float) -> None:
        super().__init__()
        hidden = scale_width(64, width)
        self.hidden = nn.Conv2d(channels, hidden, 1)
        self.out = nn.Conv2d(hidden, 1, 1)

    def features(self, x: Tensor) -> Tensor:
        """The hidden layer, (B, 64 width, h, w)."""
        return torch.relu(self.hidden(x))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, h, w)."""
        return self.out(self.features(x))
