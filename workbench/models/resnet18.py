"""ResNet-18 with the stem for pictures of 32 pixels, for CIFAR-10 and STL-10."""

from collections.abc import Sequence

from torch import Tensor, nn

from workbench.checks import check_choice
from workbench.io.extras import need
from workbench.models.classifiers import Classifier
from workbench.models.layers import normalisation

STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "stl10": ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)),
}


class ResNet18(Classifier):
    """torchvision's ResNet-18 whose first layer is a 3 x 3 convolution of stride 1, without the max-pooling.

    Args:
        classes: number of classes.
        data: whose mean and standard deviation normalise the pictures, "cifar10" or "stl10"; None for ``mean`` and
            ``std`` as given.
        mean: one a channel, for ``data=None``.
        std: one a channel, for ``data=None``.
        norm: "batch" (the published one) or "group" (for batches that LADP re-balances).

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; Madry et al., ICLR 2018.
    """

    def __init__(
        self,
        *,
        classes: int = 10,
        data: str | None = "cifar10",
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        norm: str = "batch",
    ) -> None:
        need("data")
        from torchvision.models import resnet18  # seconds to import

        check_choice(norm, ("batch", "group"), "norm")
        if data is not None:
            check_choice(data, tuple(STATISTICS), "data")
            mean, std = STATISTICS[data]
        super().__init__(mean, std, classes=classes)
        self.network = resnet18(num_classes=classes, norm_layer=lambda channels: normalisation(norm, channels)[0])
        self.network.conv1 = nn.Conv2d(len(mean), 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.network.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.network.maxpool = nn.Identity()

    def logits(self, images: Tensor) -> Tensor:
        """The residual network."""
        return self.network(images)
