"""The locality-aware paper's base model: VGG-16 that keeps its resolution after the third pooling, a grouped head."""

from torch import Tensor, nn

from workbench.checks import check_whole
from workbench.models.base import CountingModel
from workbench.models.layers import VGG16, convolutions, initialise


class DilatedVGG16(CountingModel):
    """VGG-16 whose fourth pooling has stride 1 and whose fifth is left out; stride 8.

    The convolutions after the fourth pooling are dilated by 2, so that they see as far as they did ("the technique of
    holes"). The head is a grouped 1 x 1 convolution: each group of channels gives a density map of its own, and the
    mean of the maps is the answer. The paper does not print the number of groups; 64 is that of its authors' ensemble
    of regressors (Shi et al., "Crowd Counting with Deep Negative Correlation Learning", CVPR 2018). A pooling of stride
    1 makes a map one cell smaller, so the map is extended by zeros on the right and at the bottom first. The maximum of
    values of a ReLU is not changed by a zero.

    Args:
        width: factor on the numbers of channels; 1 is the paper's.
        norm: "none" (the paper's), "batch" or "group".
        activation: see :class:`~workbench.models.base.CountingModel`.
        groups: most groups of the head; the largest number of them that divides the channels is taken.

    Reference:
        Zhou et al., "Locality-Aware Crowd Counting", sec. 4.
    """

    def __init__(
        self, *, width: float = 1.0, norm: str = "none", activation: str | None = None, groups: int = 64
    ) -> None:
        super().__init__(stride=8, activation=activation)
        check_whole(groups, "groups")
        front, channels = convolutions(VGG16[:13], 3, width=width, norm=norm)
        back, channels = convolutions(VGG16[14:], channels, width=width, norm=norm, dilation=2)
        pool = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, stride=1))
        self.features = nn.Sequential(*front, pool, *back)  # numbered as torchvision's
        groups = max(count for count in range(1, groups + 1) if channels % count == 0)
        self.head = nn.Conv2d(channels, groups, 1, groups=groups)
        initialise(self)

    def features_to_map(self, images: Tensor) -> Tensor:
        """The features, a map from each group, their mean."""
        return self.head(self.features(images)).mean(dim=1, keepdim=True)
