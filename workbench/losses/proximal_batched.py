"""The divide stage of the proximal mapping loss for a whole batch at once, without leaving the device."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.losses.proximal_patches import TIE, Patches
from workbench.points import cell_centres
from workbench.transport.batched import CHUNK_BYTES

BATCHED_COSTS: dict[str, Callable[[Tensor], Tensor]] = {
    "exponential": lambda ratio: torch.expm1(ratio) / math.expm1(1),
    "euclidean": lambda ratio: ratio,
    "squared": torch.square,
    "published": torch.expm1,
}
"""Those of ``PROXIMAL_COSTS`` on tensors."""
BYTES = 32  # of a pair of a cell and an annotation: its distance in double precision, and what is made of it


class Owners(NamedTuple):
    """Who owns the cells of a batch.

    Attributes:
        close: (B, cells, N), whether the cell belongs to the annotation.
        distance: (B, cells), to the owners in pixels.
        lead: (B, N), annotations that may own cells.
        people: (B, N), of each annotation and those on the same spot.
    """

    close: Bool[Tensor, "b n m"]
    distance: Float[Tensor, "b n"]
    lead: Bool[Tensor, "b m"]
    people: Float[Tensor, "b m"]


def divide_batch(
    points: Float[Tensor, "b n 2"],
    people: Float[Tensor, "b n"],
    real: Bool[Tensor, "b n"],
    size: tuple[int, int],
    *,
    stride: float,
    cost: str,
    radius: float,
    fair: bool,
    offset: float,
) -> tuple[Patches, Int[Tensor, "e"]]:
    """The division of a padded batch, by the rule of :func:`workbench.losses.proximal_patches.divide`.

    Args:
        points: (B, N, 2) image pixels, N at least one.
        people: (B, N) people per annotation. The results have its dtype.
        real: (B, N), which annotations are no padding.
        size: (H, W) of the maps in cells.
        stride: side of a cell in image pixels.
        cost: one of ``BATCHED_COSTS``.
        radius: smallest reach of a patch in image pixels.
        fair: whether ties are shared and annotations without a cell join others.
        offset: place of a cell's centre within the cell, in cells.

    Returns:
        The patches of all images together, whose cells are counted through the batch, and the image of each entry.
        An image of nobody is one patch. The device is read twice.
    """
    number = real.shape[1]
    cells = cell_centres(size, stride, dtype=torch.float64, device=points.device) + (offset - 0.5) * stride
    owned = owners(points.double(), people.double(), real, cells, fair=fair)
    count, weight = owned.close.sum(dim=1), owned.people
    kept = owned.lead
    if fair:
        kept = kept & (count > 0)
        weight = weight * kept + adopted(points.double(), weight * (owned.lead & ~kept), kept)
    kept = kept | (count > 0)  # that of an image of nobody
    image, cell, spot = owned.close.nonzero().unbind(1)
    label = kept.flatten().cumsum(0) - 1
    index = kept.flatten().nonzero()[:, 0]
    patch = label[image * number + spot]
    distance = owned.distance[image, cell]
    reach = distance.new_full((len(index),), radius).scatter_reduce(0, patch, distance, "amax")
    patches = Patches(
        cell=image * len(cells) + cell,
        patch=patch,
        share=(1 / owned.close.sum(dim=2)[image, cell]).to(people),
        cost=BATCHED_COSTS[cost](distance / reach[patch]).to(people),
        distance=distance.to(people),
        people=weight.flatten()[index].to(people),
        cells=count.flatten()[index].clamp(min=1).to(people),
    )
    return patches, image


def owners(
    spots: Float[Tensor, "b m 2"],
    people: Float[Tensor, "b m"],
    real: Bool[Tensor, "b m"],
    cells: Float[Tensor, "n 2"],
    *,
    fair: bool,
) -> Owners:
    """The nearest annotations of each cell: all of them if fair, else the first. Without anybody, the first column."""
    lead, first = real, torch.zeros_like(real)
    if fair:  # annotations on one spot are one
        same = (spots[:, :, None] == spots[:, None]).all(dim=3) & real[:, :, None] & real[:, None]
        leader = same.byte().argmax(dim=2)
        lead = real & (leader == torch.arange(real.shape[1], device=real.device))
        people = torch.zeros_like(people).scatter_add(1, leader, people)
    nobody = ~real.any(dim=1, keepdim=True)
    first[:, :1] = nobody
    close, least = [], []
    for part in cells.split(max(1, CHUNK_BYTES // (BYTES * real.numel()))):
        # not by matrix product, which loses half of the digits near an annotation
        distance = torch.cdist(part, spots, compute_mode="donot_use_mm_for_euclid_dist")
        distance = distance.masked_fill_(~lead[:, None], torch.inf)
        nearest = distance.amin(dim=2)
        equal = (distance <= nearest[..., None] + TIE) & lead[:, None]
        if not fair:
            equal = torch.zeros_like(equal).scatter_(2, equal.byte().argmax(dim=2, keepdim=True), True) & lead[:, None]
        close.append(equal | first[:, None])
        least.append(nearest.masked_fill(nobody, 0))
    return Owners(torch.cat(close, dim=1), torch.cat(least, dim=1), lead, people)


def adopted(
    spots: Float[Tensor, "b m 2"], orphans: Float[Tensor, "b m"], kept: Bool[Tensor, "b m"]
) -> Float[Tensor, "b m"]:
    """The people of annotations without a cell, in equal parts with the nearest annotations that have some."""
    distance = torch.cdist(spots, spots, compute_mode="donot_use_mm_for_euclid_dist")
    distance = distance.masked_fill_(~kept[:, None], torch.inf)
    home = (distance <= distance.amin(dim=2, keepdim=True) + TIE) & kept[:, None]
    part = orphans / home.sum(dim=2).clamp(min=1)
    return (part[:, None] @ home.to(part))[:, 0]
