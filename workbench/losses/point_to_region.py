"""Point to region (P2R): each annotation owns the cells nearest to it, and one of them has to find it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.checks import check_positive
from workbench.losses.base import CrowdLoss, batched
from workbench.models.base import ModelOutput
from workbench.points import cell_centres
from workbench.tensor_checks import check_tensor

LEAST_PROBABILITY = 1e-6
"""Probabilities of a plain density are kept this far from 0 and 1, where a logit is infinite."""
PAIRS_AT_ONCE = 1 << 25  # entries of a block of images x cells x annotations: bounds the memory of the distances


def density_logits(density: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The logit of a cell of that probability of a person; the probability is kept within 1e-6 and 1 - 1e-6."""
    return torch.logit(density.clamp(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))


class Regions(NamedTuple):
    """The cells that each annotation owns.

    Attributes:
        owner: (B, n), the annotation of each cell; the number of annotations N where no one is near enough.
        distance: (B, n), from each cell to its nearest annotation in pixels.
        radius: (B, N), the largest distance within each region, bounded; in pixels.
    """

    owner: Int[Tensor, "b n"]
    distance: Float[Tensor, "b n"]
    radius: Float[Tensor, "b m"]


def regions(
    cells: Float[Tensor, "n 2"],
    points: Float[Tensor, "b m 2"],
    real: Bool[Tensor, "b m"],
    *,
    least: float = 8.0,
    most: float = 96.0,
) -> Regions:
    """Give each cell to its nearest annotation, if that is nearer than ``most``.

    Args:
        cells: (n, 2), x then y, image pixels.
        points: (B, N, 2), image pixels.
        real: (B, N), which of the points are annotations; the others own nothing.
        least: smallest radius in pixels.
        most: largest radius in pixels, and where regions end.
    """
    images, number = real.shape
    if not number:
        owner = torch.zeros(images, len(cells), dtype=torch.long, device=cells.device)
        return Regions(owner, cells.new_full(owner.shape, torch.inf), cells.new_zeros(images, 0))
    found, near = [], []
    for part in cells.split(max(1, PAIRS_AT_ONCE // (images * number))):
        # not by matrix product, which loses half of the digits near an annotation
        distance = torch.cdist(part, points, compute_mode="donot_use_mm_for_euclid_dist")
        least_distance, index = distance.masked_fill(~real[:, None], torch.inf).min(dim=2)
        found.append(index)
        near.append(least_distance)
    distance = torch.cat(near, dim=1)
    owner = torch.where(distance < most, torch.cat(found, dim=1), number)
    radius = cells.new_zeros(images, number + 1).scatter_reduce(1, owner, distance, "amax")[:, :number]
    return Regions(owner, distance, radius.clamp(least, most))


def region_targets(logits: Float[Tensor, "b n"], owned: Regions, scale: float = 8.0) -> Bool[Tensor, "b n"]:
    r"""One cell of each region: the one of the least :math:`8 d_i / r_j - z_i`, the first of several.

    Args:
        logits: (B, n), z.
        owned: see :func:`regions`.
        scale: factor of the distance, 8.
    """
    number = owned.radius.shape[1]
    padded = F.pad(owned.radius, (0, 1), value=1.0)
    owned_cells = owned.owner < number
    distance = torch.where(owned_cells, owned.distance, 0)
    score = scale * distance / padded.gather(1, owned.owner) - logits.detach()
    best = torch.full_like(padded, torch.inf).scatter_reduce(1, owned.owner, score, "amin")
    candidate = owned_cells & (score == best.gather(1, owned.owner))
    place = torch.arange(logits.shape[1], device=logits.device).expand_as(owned.owner)
    end = torch.full_like(place, logits.shape[1])
    first = torch.full((len(logits), number + 1), logits.shape[1], device=logits.device)
    first = first.scatter_reduce(1, owned.owner, torch.where(candidate, place, end), "amin")
    return candidate & (place == first.gather(1, owned.owner))


def point_to_region(
    logits: Float[Tensor, "b h w"],
    points: Sequence[Float[Tensor, "_ 2"]],
    confidence: Sequence[Float[Tensor, "_"]] | None = None,
    *,
    stride: float,
    keep: Bool[Tensor, "b h w"] | Float[Tensor, "b h w"] | None = None,
    offset: float = 0.5,
    least: float = 8.0,
    most: float = 96.0,
) -> Float[Tensor, "b"]:
    r"""The loss of each image, see :class:`PointToRegionLoss`.

    Args:
        logits: (B, H, W), of a person in the cell.
        points: B tensors (N_i, 2), x then y, image pixels.
        confidence: B tensors (N_i,), the weight of each annotation's region; ones if None.
        stride: side of a cell in image pixels.
        keep: (B, H, W), the cells that count; the weight of the others is zero. All of them if None. An image of
            nobody is not masked, as published.
        offset: where the centre of a cell lies in it: 0.5 cells from its corner.
        least: smallest radius of a region in pixels.
        most: largest radius in pixels.
    """
    if confidence is None:
        confidence = [logits.new_ones(len(image_points)) for image_points in points]
    places, trust, real = batched(points, confidence)
    height, width = logits.shape[-2:]
    cells = cell_centres((height, width), stride, dtype=places.dtype, device=places.device) + (offset - 0.5) * stride
    flat = logits.flatten(1)
    owned = regions(cells, places, real, least=least, most=most)
    target = region_targets(flat, owned).to(flat)
    weight = (1 + target) * F.pad(trust, (0, 1), value=1.0).gather(1, owned.owner)
    if keep is not None:
        weight = weight * keep.flatten(1).to(weight)
    # the published weight of an image of nobody is a half everywhere
    weight = torch.where(real.any(dim=1, keepdim=True), weight, 0.5)
    return (weight * F.binary_cross_entropy_with_logits(flat, target, reduction="none")).mean(dim=1)


class PointToRegionLoss(CrowdLoss):
    r"""Binary cross-entropy of the cells against one cell a person, chosen by the model within the person's region.

    The region of an annotation j is the cells that are nearer to it than to any other one and than 96 px. Its radius
    :math:`r_j` is the largest distance in it, at least 8 px. In each region the cell of the least
    :math:`8 d_{ij} / r_j - z_i` has the target :math:`T_i = 1`, with the logit z; all other cells have 0:

    .. math:: \mathcal{L} = \frac1n \sum_i (1 + T_i) \, w_{j(i)} \, \mathrm{BCE}(z_i, T_i)

    An annotation's weight :math:`w_j` is the confidence of its region, for pseudo-annotations; outside all regions it
    is one. An image of nobody has half the weight everywhere, as published. The count of a map is its number of cells
    above zero, so a cell holds one person at most. An annotation that owns no cell is not learned: two people nearer
    to each other than the cells need a smaller stride.

    The loss reads ``logits`` of a model's named result. A plain density is read as the probability of a person in the
    cell, see :func:`density_logits`; this serves comparisons, and training needs the logits.

    The published code (``convention="official"``) takes the middle of a cell's first and last pixel,
    :math:`s k + (s - 1) / 2`, for its centre, half a pixel before ours.

    Terms: ``region``.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper" or "official".
        least_radius: smallest radius of a region in pixels.
        most_radius: largest radius of a region in pixels, and where it ends.

    Reference:
        Lin, Zhao, Chan, "Point-to-Region Loss for Semi-Supervised Point-Based Crowd Counting", CVPR 2025.
    """

    readout = "logits"
    maps = ("logits",)

    def __init__(
        self, *, stride: int = 8, convention: str = "paper", least_radius: float = 8.0, most_radius: float = 96.0
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        check_positive(least_radius, "least_radius")
        check_positive(most_radius, "most_radius")
        if least_radius > most_radius:
            raise ValueError(f"least_radius is {least_radius:g}, expected at most most_radius, {most_radius:g}")
        self.least_radius = least_radius
        self.most_radius = most_radius

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """One term, ``region``."""
        logits = density_logits(result.density) if result.logits is None else result.logits
        check_tensor(logits, "logits", shape=tuple(result.density.shape), values=False)
        images = point_to_region(
            logits[:, 0],
            points,
            weights,
            stride=self.stride,
            offset=0.5 - 0.5 / self.stride if self.convention == "official" else 0.5,
            least=self.least_radius,
            most=self.most_radius,
        )
        return {"region": images.mean()}
