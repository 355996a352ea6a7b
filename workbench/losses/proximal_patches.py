"""The divide stage of the proximal mapping loss: the annotation that each cell belongs to, and the cell's cost."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.transport.nearest import Array, Indices, as_array, grid, merge, nearest, neighbours

PROXIMAL_COSTS: dict[str, Callable[[Array], Array]] = {
    "exponential": lambda ratio: np.expm1(ratio) / math.expm1(1),
    "euclidean": lambda ratio: ratio,
    "squared": np.square,
    "published": np.expm1,
}
TIE = 1e-9  # pixels: above the rounding errors of distances in float64, below the precision of any annotation


@dataclass(frozen=True)
class Patches:
    """Cells divided among the annotations: K patches, and E entries of one cell in one patch each.

    Attributes:
        cell: (E,) index of each entry's cell in the flattened map.
        patch: (E,) index of its patch.
        share: (E,) part of the cell's density that belongs to the patch; None if no cell is shared.
        cost: (E,) cost c_i of the cell in its patch.
        distance: (E,) from the cell's centre to the patch's annotation, in image pixels.
        people: (K,) people of the patch, b_j.
        cells: (K,) number of entries of the patch, at least one.
    """

    cell: Int[Tensor, "e"]
    patch: Int[Tensor, "e"]
    share: Float[Tensor, "e"] | None
    cost: Float[Tensor, "e"]
    distance: Float[Tensor, "e"]
    people: Float[Tensor, "k"]
    cells: Float[Tensor, "k"]

    def split(self, density: Float[Tensor, "*b h w"]) -> Float[Tensor, "e"]:
        """The density of each entry, people."""
        flat = density.reshape(-1)
        return flat if self.share is None else flat[self.cell] * self.share

    def join(self, values: Float[Tensor, "e"], size: tuple[int, int]) -> Float[Tensor, "h w"]:
        """The map of the entries' values: for each cell the sum over its patches."""
        return values.new_zeros(math.prod(size)).index_add(0, self.cell, values).reshape(size)

    def sum(self, values: Float[Tensor, "e"]) -> Float[Tensor, "k"]:
        """The sum of entries over each patch."""
        return values.new_zeros(len(self.people)).index_add(0, self.patch, values)

    def least(self, values: Float[Tensor, "e"]) -> Float[Tensor, "k"]:
        """The smallest entry of each patch."""
        return values.new_zeros(len(self.people)).scatter_reduce(0, self.patch, values, "amin", include_self=False)

    @property
    def centred_cost(self) -> Float[Tensor, "e"]:
        """The cost minus its mean over the patch."""
        return self.cost - (self.sum(self.cost) / self.cells)[self.patch]


def divide(
    points: Float[Tensor, "n 2"],
    size: tuple[int, int],
    *,
    stride: float,
    weights: Float[Tensor, "n"],
    cost: str = "exponential",
    radius: float = 32.0,
    fair: bool = True,
    offset: float = 0.5,
) -> Patches:
    r"""[PML 2]: give each cell to its nearest annotation, and give it a cost.

    .. math:: \mathcal{X}_j = \{i \mid \|x_i - y_j\| \le \|x_i - y_k\| \; \forall k\}

    The cost grows with the distance r in units of the patch's reach: :math:`c_i = h(r_i / R_j)` with
    :math:`R_j = \max(\max_i r_i, \text{radius})` and h(t) = (exp(t) - 1) / (e - 1), t or t squared. All costs lie in
    [0, 1], so no cell's cost is more than 1 below the mean of its patch. With a larger difference, a person added on
    the cheapest cell would lower the background term by more than it raises the count term, and the people of the
    patch would grow without end.

    The equation says nothing about ties and about annotations without a cell. The rule here:

    - Annotations on one spot are one annotation of their summed weight.
    - A cell that is equally near to several spots is shared equally among them.
    - An annotation may have no cell, because others are nearer to every centre. Its people join the nearest annotation
      that has cells, in equal parts if several are equally near.

    So every person counts in some patch, and the result does not depend on the order of the annotations or on
    mirroring the image.

    Args:
        points: (N, 2) image pixels. Without any, the whole map is one patch of nobody and of cost zero.
        size: (H, W) of the map in cells.
        stride: side of a cell in image pixels.
        weights: (N,) people per annotation. The results are on its device and have its dtype.
        cost: "exponential", "euclidean" or "squared"; "published" is exp(t) - 1, up to 1.72.
        radius: smallest reach of a patch in image pixels.
        fair: True: the rule above. False: the first of equally near annotations takes the cell, and an annotation
            without a cell keeps its people, in an empty patch.
        offset: place of a cell's centre within the cell, in cells.
    """
    height, width = size
    count = height * width
    if not len(points):
        entry, nothing = torch.arange(count, device=weights.device), weights.new_zeros(count)
        one = weights.new_full((1,), count)
        return Patches(entry, torch.zeros_like(entry), None, nothing, nothing, torch.zeros_like(one), one)
    spots, people = as_array(points), as_array(weights)
    if fair:
        spots, people, _ = merge(spots, people)
    cells = grid(size, stride, offset)
    cell, patch, share, distance = _assign(spots, cells, fair)
    number = np.bincount(patch, minlength=len(spots))
    if fair and not number.all():
        kept = number > 0
        orphan, home, part, _ = _assign(spots[kept], spots[~kept], fair)
        adopted = np.bincount(home, weights=people[~kept][orphan] * part, minlength=kept.sum())
        patch, people, number = (np.cumsum(kept) - 1)[patch], people[kept] + adopted, number[kept]
    reach = np.full(len(number), radius)
    np.maximum.at(reach, patch, distance)
    price = PROXIMAL_COSTS[cost](distance / reach[patch])

    def tensor(values: Array | Indices) -> Tensor:
        return torch.as_tensor(values).to(weights)

    return Patches(
        cell=torch.as_tensor(cell, device=weights.device),
        patch=torch.as_tensor(patch, device=weights.device),
        share=None if len(cell) == count else tensor(share),
        cost=tensor(price),
        distance=tensor(distance),
        people=tensor(people),
        cells=tensor(number.clip(min=1)),
    )


def _assign(spots: Array, cells: Array, fair: bool) -> tuple[Indices, Indices, Array, Array]:
    """Entries (cell, spot, share, distance). If fair, a cell has an entry for each of its nearest spots, else one."""
    every = np.arange(len(cells))
    if len(spots) == 1:
        distance, spot = nearest(spots, cells)
        return every, spot, np.ones(len(cells)), distance
    distances, closest = neighbours(spots, cells, 2)
    distance, spot = distances[:, 0], closest[:, 0]
    tied = np.flatnonzero(distances[:, 1] <= distance + TIE)
    if not len(tied):
        return every, spot, np.ones(len(cells)), distance
    count = 2
    while True:  # ask for more neighbours until one of them is farther than the tie
        count = min(2 * count, len(spots))
        distances, closest = neighbours(spots, cells[tied], count)
        equal = distances <= distances[:, :1] + TIE
        if count == len(spots) or not equal[:, -1].any():
            break
    if not fair:
        spot[tied] = np.where(equal, closest, len(spots)).min(axis=1)
        return every, spot, np.ones(len(cells)), distance
    row, rank = np.nonzero(equal)
    alone = np.ones(len(cells), dtype=bool)
    alone[tied] = False
    return (
        np.concatenate([every[alone], tied[row]]),
        np.concatenate([spot[alone], closest[row, rank]]),
        np.concatenate([np.ones(alone.sum()), 1 / equal.sum(axis=1)[row]]),
        np.concatenate([distance[alone], distances[row, 0]]),
    )
