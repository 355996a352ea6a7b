"""Point to point (P2PNet): each annotation is matched with one predicted point, and all others are background."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist
from scipy.special import expit
from torch import Tensor

from workbench.checks import check_positive
from workbench.losses.base import CrowdLoss
from workbench.losses.point_to_region import density_logits
from workbench.models.base import ModelOutput
from workbench.models.readout import ANCHORS
from workbench.points import cell_centres
from workbench.tensor_checks import check_tensor
from workbench.transport.nearest import Array, Indices, as_array


def anchors(
    size: tuple[int, int], stride: float, *, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Float[Tensor, "q 2"]:
    """The place (x, y) of each query in image pixels: row by row, the four of a cell together."""
    centres = cell_centres(size, stride, dtype=dtype, device=device)
    return (centres[:, None] + centres.new_tensor(ANCHORS)).flatten(0, 1)


def match(
    logits: Float[Tensor, "q 2"],
    predicted: Float[Tensor, "q 2"],
    points: Float[Tensor, "n 2"],
    *,
    distance_cost: float = 0.05,
    class_cost: float = 1.0,
) -> tuple[Int[Tensor, "k"], Int[Tensor, "k"]]:
    r"""The matching of least cost :math:`w_d |p_q - y_j| - w_c \mathrm{softmax}(z_q)_1`, exactly, on the CPU.

    Args:
        logits: (Q, 2), z, of nobody and of a person at each query.
        predicted: (Q, 2), p, x then y, image pixels.
        points: (N, 2), y, image pixels.
        distance_cost: w_d, a pixel.
        class_cost: w_c.

    Returns:
        The queries that are matched, in increasing order, and the annotation of each. They are min(Q, N).
    """
    pair = _matched(as_array(logits), as_array(predicted), as_array(points), distance_cost, class_cost)
    query, person = torch.from_numpy(np.stack(pair)).to(logits.device)
    return query, person


def _matched(
    logits: Array, predicted: Array, points: Array, distance_cost: float, class_cost: float
) -> tuple[Indices, Indices]:
    """:func:`match` on arrays."""
    from scipy.optimize import linear_sum_assignment  # takes a while to import

    person = expit(logits[:, 1:] - logits[:, :1])
    query, chosen = linear_sum_assignment(distance_cost * cdist(predicted, points) - class_cost * person)
    return query, chosen


def density_queries(density: Float[Tensor, "b h w"]) -> tuple[Float[Tensor, "b q 2"], Float[Tensor, "b q 2"]]:
    """The logits and offsets that a plain density is read as: a quarter of a cell's people at each anchor."""
    share = (density.flatten(1) / len(ANCHORS)).repeat_interleave(len(ANCHORS), dim=1)
    logits = density_logits(share)
    logits = torch.stack([torch.zeros_like(logits), logits], dim=2)
    return logits, torch.zeros_like(logits)


class PointToPointLoss(CrowdLoss):
    r"""Cross-entropy of all queries and the squared distance of the matched ones, after an optimal matching.

    Four queries a cell stand 2 px from its centre along both axes. Query q predicts the point :math:`p_q`, its place
    plus ``point_offsets``, and a person there with the probability of ``point_logits``. The annotations are matched
    one to one with queries, see :func:`match`. With the target :math:`T_q = 1` of the M matched queries, 0 of all
    others, and the background's weight :math:`w_0`,

    .. math:: \mathcal{L} = \frac{\sum_q v_q \, \mathrm{CE}(z_q, T_q)}{\sum_q v_q}
                            + \lambda \frac1N \sum_{(q, j)} b_j \|p_q - y_j\|^2, \quad
              v_q = b_{j(q)} \text{ if matched, else } w_0

    for an image of N annotations; the loss is the mean over the images. An annotation's weight :math:`b_j` counts it
    so many times.

    The published code (``convention="official"``) takes both fractions over the whole batch instead of each image.
    It also gives the term of the points a name that its weights do not have. So the offsets are not trained.

    The loss reads ``point_logits`` and ``point_offsets`` of a model's named result. A plain density is read as in
    :func:`density_queries`; this serves comparisons.

    Terms: ``classes``, ``points``.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper" or "official".
        distance_cost: of the matching, a pixel.
        class_cost: of the matching, for the probability of a person.
        background_weight: w_0.
        point_weight: lambda, a square pixel; None: 2e-4, officially 0.

    Reference:
        Song et al., "Rethinking Counting and Localization in Crowds: A Purely Point-Based Framework", ICCV 2021.
    """

    readout = "points"
    maps = ("point_logits", "point_offsets")

    def __init__(
        self,
        *,
        stride: int = 8,
        convention: str = "paper",
        distance_cost: float = 0.05,
        class_cost: float = 1.0,
        background_weight: float = 0.5,
        point_weight: float | None = None,
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        check_positive(distance_cost, "distance_cost", zero=True)
        check_positive(class_cost, "class_cost", zero=True)
        check_positive(background_weight, "background_weight")
        if point_weight is None:
            point_weight = 0.0 if convention == "official" else 2e-4
        check_positive(point_weight, "point_weight", zero=True)
        self.distance_cost = distance_cost
        self.class_cost = class_cost
        self.background_weight = background_weight
        self.point_weight = point_weight

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """Two terms, ``classes`` and ``points``."""
        density = result.density[:, 0]
        images, height, width = density.shape
        shape = (images, len(ANCHORS) * height * width, 2)
        logits, offsets = density_queries(density)
        if result.point_logits is not None:
            check_tensor(result.point_logits, "point_logits", shape=shape, values=False)
            logits = result.point_logits
        if result.point_offsets is not None:
            check_tensor(result.point_offsets, "point_offsets", shape=shape, values=False)
            offsets = result.point_offsets
        predicted = anchors((height, width), self.stride, dtype=offsets.dtype, device=offsets.device) + offsets
        target = torch.zeros(shape[:2], dtype=torch.long, device=density.device)
        query_weights = torch.full_like(logits[..., 0], self.background_weight).detach()
        image, query, person = self._matches(logits, predicted, points)
        spots, people = torch.cat(list(points))[person], torch.cat(list(weights))[person]
        target[image, query] = 1
        query_weights[image, query] = people.to(query_weights)
        error = people * (predicted[image, query] - spots).square().sum(dim=1)
        entropy = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").reshape(shape[:2])
        entropy = entropy * query_weights
        squared = error.new_zeros(images).index_add(0, image, error)
        counts = torch.tensor([len(image_points) for image_points in points])
        numbers = counts.to(density.device, non_blocking=True)
        if self.convention == "official":
            classes, away = entropy.sum() / query_weights.sum(), squared.sum() / numbers.sum().clamp(min=1)
        else:
            classes = (entropy.sum(dim=1) / query_weights.sum(dim=1)).mean()
            away = (squared / numbers.clamp(min=1)).mean()
        return {"classes": classes, "points": self.point_weight * away}

    def _matches(
        self, logits: Float[Tensor, "b q 2"], predicted: Float[Tensor, "b q 2"], points: Sequence[Tensor]
    ) -> Int[Tensor, "3 k"]:
        """The image, the query and the annotation of each match; annotations count through the whole batch."""
        queries, spots = as_array(torch.cat([logits, predicted], dim=2)), as_array(torch.cat(list(points)))
        matches, start = [], 0
        for image, image_points in enumerate(points):
            end = start + len(image_points)
            z, p = queries[image, :, :2], queries[image, :, 2:]
            pair = _matched(z, p, spots[start:end], self.distance_cost, self.class_cost)
            matches.append(np.stack([np.full_like(pair[0], image), pair[0], pair[1] + start]))
            start = end
        return torch.from_numpy(np.concatenate(matches, axis=1)).to(logits.device)
