"""What a model's last layer is read as: people per cell, or the several maps that some losses are trained on.

A read-out turns the last layer's channels into a :class:`~workbench.models.base.ModelOutput`, whose ``density`` counts.
:func:`workbench.models.build_model` takes its name, and a loss says in ``readout`` which one it needs.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

CENTRES = (1.0, 2.0, 3.0, 4.3155)
"""People in a block of each bin 1, 2, 3, 4 and more: the mean of the last one is ShanghaiTech A's, at a stride of 8."""
ANCHORS = ((-2.0, -2.0), (2.0, -2.0), (-2.0, 2.0), (2.0, 2.0))
"""(x, y) of a cell's queries from its centre, image pixels."""
OFFSET_UNIT = 100.0
"""Pixels that a query moves for one unit of the last layer."""


def logits_output(maps: Float[Tensor, "b 1 h w"]) -> dict[str, Tensor]:
    """One logit a cell; a person stands in every cell whose logit is above zero."""
    return {"density": (maps.detach() > 0).to(maps), "logits": maps}


def zero_inflated_output(maps: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
    r"""Two logits, empty and not, and one a bin; the density is :math:`\pi_1 \lambda`, see :func:`rate`."""
    zero, bins = maps[:, :2], maps[:, 2:]
    density = torch.softmax(zero, dim=1)[:, 1:] * rate(bins, CENTRES)
    return {"density": density, "zero_logits": zero, "bin_logits": bins}


def rate(bin_logits: Float[Tensor, "b k h w"], centres: Sequence[float]) -> Float[Tensor, "b 1 h w"]:
    r"""The people of a block that is not empty, :math:`\lambda = \sum_k \mathrm{softmax}(z)_k c_k`."""
    means = bin_logits.new_tensor(list(centres))[:, None, None]
    return (torch.softmax(bin_logits, dim=1) * means).sum(dim=1, keepdim=True)


def points_output(maps: Float[Tensor, "b 16 h w"]) -> dict[str, Tensor]:
    """Four queries a cell: logits of nobody and of a person, and an offset (x, y) from the query's anchor.

    A person stands at every query whose second logit is larger. Such a person counts in the query's cell.
    """
    queries = maps.unflatten(1, (len(ANCHORS), 4))
    people = (queries[:, :, 1] > queries[:, :, 0]).sum(dim=1, keepdim=True).to(maps)
    flat = queries.permute(0, 3, 4, 1, 2).flatten(1, 3)  # row by row, and the four of a cell side by side
    return {"density": people, "point_logits": flat[..., :2], "point_offsets": flat[..., 2:] * OFFSET_UNIT}


class Readout(NamedTuple):
    """One way to read the last layer.

    Attributes:
        channels: of the last layer.
        output: the fields of the named result from the last layer's maps.
        start: the bias of each channel that answers so many people per cell.
    """

    channels: int
    output: Callable[[Tensor], dict[str, Tensor]]
    start: Callable[[float], list[float]]


def log_odds(probability: float) -> float:
    """The logit of a probability, of at most one half."""
    probability = min(probability, 0.5)
    return math.log(probability / (1 - probability))


READOUTS = {
    "logits": Readout(1, logits_output, lambda mean: [log_odds(mean)]),
    "zero_inflated": Readout(
        2 + len(CENTRES), zero_inflated_output, lambda mean: [0.0, log_odds(mean / 2), *(0.0 for _ in CENTRES)]
    ),
    "points": Readout(
        4 * len(ANCHORS), points_output, lambda mean: [0.0, log_odds(mean / len(ANCHORS)), 0.0, 0.0] * len(ANCHORS)
    ),
}


@torch.no_grad()
def start_readout(layer: nn.Conv2d, readout: Readout, mean_density: float) -> None:
    """Start a last layer near the answer of ``mean_density`` people in every cell.

    The weights are scaled so that features of unit size change a channel by about a tenth.
    """
    assert layer.bias is not None
    layer.bias.copy_(layer.bias.new_tensor(readout.start(mean_density)))
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    layer.weight.mul_(0.1)
