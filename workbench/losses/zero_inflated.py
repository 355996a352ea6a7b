"""Zero-inflated Poisson regression of the counts of blocks (ZIP)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive
from workbench.losses.base import CrowdLoss
from workbench.models.base import ModelOutput
from workbench.models.readout import CENTRES, rate
from workbench.points import dot_maps
from workbench.tensor_checks import check_tensor

LOG_GUARD = 1e-8  # the published likelihood adds this inside its logarithms
LEAST_PEOPLE = 1e-6
"""People in a block at which a plain density is read at least: at zero its logit is infinite."""
POOLED_SIDES = ((1, 0.25), (2, 0.5), (4, 1.0))
"""Sides of the squares of blocks over which the absolute errors are taken, and their weights."""


def log_likelihood(
    counts: Float[Tensor, "b h w"], zero_logits: Float[Tensor, "b 2 h w"], rates: Float[Tensor, "b h w"]
) -> Float[Tensor, "b h w"]:
    r"""The logarithm of the zero-inflated Poisson probability of each count.

    .. math:: P(0) = \pi_0 + \pi_1 e^{-\lambda}, \quad P(y) = \pi_1 \frac{\lambda^y e^{-\lambda}}{y!}, \quad
              \pi = \mathrm{softmax}(z)

    Args:
        counts: (B, H, W), y, whole numbers.
        zero_logits: (B, 2, H, W), z, of an empty block and of one that is not.
        rates: (B, H, W), lambda, above zero.
    """
    empty, filled = F.log_softmax(zero_logits, dim=1).unbind(1)
    nobody = torch.logaddexp(empty, filled - rates)
    some = filled + counts * rates.log() - rates - torch.lgamma(counts + 1)
    return torch.where(counts == 0, nobody, some)


def guarded_log_likelihood(counts: Tensor, zero_logits: Tensor, rates: Tensor) -> Float[Tensor, "b h w"]:
    """As published: with 1e-8 inside the logarithms and without the factorial."""
    empty, filled = torch.softmax(zero_logits, dim=1).unbind(1)
    nobody = (empty + filled * torch.exp(-rates) + LOG_GUARD).log()
    some = (filled + LOG_GUARD).log() + counts * (rates + LOG_GUARD).log() - rates
    return torch.where(counts == 0, nobody, some)


def density_zip(density: Float[Tensor, "b h w"]) -> tuple[Float[Tensor, "b 2 h w"], Float[Tensor, "b h w"]]:
    r"""The logits and rates that a plain density d is read as.

    Those of an ordinary Poisson count of mean d, split at zero: :math:`\pi_1 = 1 - e^{-d}` and
    :math:`\lambda = d / \pi_1`, so that :math:`\pi_1 \lambda = d`. The density is read as 1e-6 at least.
    """
    d = density.clamp(min=LEAST_PEOPLE)
    filled = d + torch.log(-torch.expm1(-d))  # log(expm1(d)) that does not overflow
    return torch.stack([torch.zeros_like(filled), filled], dim=1), -d / torch.expm1(-d)


def multi_scale_error(density: Float[Tensor, "b h w"], counts: Float[Tensor, "b h w"]) -> Float[Tensor, "s b"]:
    """The weighted absolute errors of each image, of means over squares of 1, 2 and 4 blocks, see ``POOLED_SIDES``.

    The mean over a square of s x s blocks holds 1 / s^2 of its people. So an error that is the same for all blocks of
    an image weighs 1/4, 1/8 and 1/16 at the three scales. Blocks beyond the last whole square are left out, as
    published.
    """
    error = density - counts
    sums = [
        weight * F.avg_pool2d(error[:, None], side).abs().sum(dim=(1, 2, 3))
        for side, weight in POOLED_SIDES
        if side <= min(error.shape[-2:])
    ]
    return torch.stack(sums)


class ZeroInflatedLoss(CrowdLoss):
    r"""The likelihood of each block's count under a zero-inflated Poisson distribution, and three auxiliary terms.

    With :math:`\pi = \mathrm{softmax}` of ``zero_logits`` and :math:`\lambda = \sum_k \mathrm{softmax}(z)_k c_k` of
    ``bin_logits`` z with the centres c, a block has :math:`\pi_1 \lambda` people. The loss is a sum over the blocks:

    .. math:: -\sum_i \log P(y_i; \pi_i, \lambda_i) + \log y_i!
              + \sum_{y_i > 0} \mathrm{CE}(z_i, \mathrm{bin}(y_i)) + \mathrm{MS}
              + \Big| \sum_i \pi_{1i} \lambda_i - m \Big|

    with P in :func:`log_likelihood` and the multi-scale error MS in :func:`multi_scale_error`. The bins are counts of
    1, 2, ... up to K and more; y is the number of people in the block. Since lambda lies between the first and the last
    centre, no block can hold more people than the last one, 4.3 by default, and only :math:`\pi` tells that it is
    empty.

    Without ``bin_logits`` the rates are those of a plain density, see :func:`density_zip`, and there is no
    cross-entropy. This serves comparisons.

    The published code (``convention="official"``) adds 1e-8 inside the logarithms of the likelihood. So the gradient is
    almost zero where the model is certain and wrong.

    Terms: ``likelihood``, ``bins``, ``scales``, ``count``.

    Args:
        stride: side of a block in image pixels.
        convention: "paper" or "official".
        centres: mean number of people in the blocks of each bin. They should be those of the training set, and the
            same as the model's read-out has.
        bin_weight: weight of the cross-entropy.
        scale_weight: weight of the multi-scale error.
        count_weight: weight of the count.

    Raises:
        ValueError: at a call: weights that are no whole numbers.

    Reference:
        Ma, Sanchez and Guha, "ZIP: Scalable Crowd Counting via Zero-Inflated Poisson Modeling", 2025.
    """

    readout = "zero_inflated"
    maps = ("zero_logits", "bin_logits")
    whole = True

    def __init__(
        self,
        *,
        stride: int = 8,
        convention: str = "paper",
        centres: Sequence[float] = CENTRES,
        bin_weight: float = 1.0,
        scale_weight: float = 1.0,
        count_weight: float = 1.0,
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        for value in centres:
            check_positive(value, "centres")
        if not len(centres) or list(centres) != sorted(set(centres)):
            raise ValueError(f"centres is {tuple(centres)}, expected at least one number, in increasing order")
        weights = {"bin_weight": bin_weight, "scale_weight": scale_weight, "count_weight": count_weight}
        for name, weight in weights.items():
            check_positive(weight, name, zero=True)
        self.centres = tuple(centres)
        self.bin_weight = bin_weight
        self.scale_weight = scale_weight
        self.count_weight = count_weight

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """Four terms, ``likelihood``, ``bins``, ``scales`` and ``count``."""
        images, _, height, width = result.density.shape
        counts = dot_maps(points, (height, width), self.stride, weights)
        zero_logits, rates = density_zip(result.density[:, 0])
        if result.zero_logits is not None:
            check_tensor(result.zero_logits, "zero_logits", shape=(images, 2, height, width), values=False)
            zero_logits = result.zero_logits
        cross = counts.new_zeros(images)
        if result.bin_logits is not None:
            shape = (images, len(self.centres), height, width)
            check_tensor(result.bin_logits, "bin_logits", shape=shape, values=False)
            rates = rate(result.bin_logits, self.centres)[:, 0]
            bins = (counts.long() - 1).clamp(0, len(self.centres) - 1)
            entropy = F.cross_entropy(result.bin_logits, bins, reduction="none")
            cross = torch.where(counts > 0, entropy, 0).sum(dim=(1, 2))
        density = torch.softmax(zero_logits, dim=1)[:, 1] * rates
        if self.convention == "official":
            likelihood = guarded_log_likelihood(counts, zero_logits, rates)
        else:
            likelihood = log_likelihood(counts, zero_logits, rates) + torch.lgamma(counts + 1)
        return {
            "likelihood": -likelihood.sum(dim=(1, 2)).mean(),
            "bins": self.bin_weight * cross.mean(),
            "scales": self.scale_weight * multi_scale_error(density, counts).sum(dim=0).mean(),
            "count": self.count_weight * (density - counts).sum(dim=(1, 2)).abs().mean(),
        }
