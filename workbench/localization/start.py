"""The start of OT-M: the map cut into pieces of one person each; and points of one place spread apart."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_whole
from workbench.tensor_checks import check_not_negative, check_tensor

CLOSE = 0.1  # cells: points nearer than this count as one place
SAME_PLACE = 1e-3  # cells: the same, for points that have been spread once


def bisection_start(density: Float[Tensor, "h w"], people: int) -> Float[Tensor, "n 2"]:
    """``people`` different points that follow the density, the same on every run.

    The map is a set of squares of even density. It is cut across its longer spread so that each side has its share of
    the people, and the sides likewise, until each piece holds one person; the point is the piece's barycentre. A cut
    may go through a square, so that several people of one cell lie apart in it.

    Args:
        density: (H, W), people per cell; its sum need not be ``people``.
        people: how many points.

    Returns:
        (N, 2), x then y, in cells: the centre of cell (r, c) is (c + 0.5, r + 0.5).

    Raises:
        ValueError: people though the density is zero everywhere.
    """
    check_tensor(density, "density", shape=(None, None))
    check_not_negative(density, "density")
    check_whole(people, "people", least=0)
    if not people:
        return density.new_zeros(0, 2)
    row, column = density.nonzero(as_tuple=True)
    if not len(row):
        raise ValueError(f"density is zero everywhere, expected some for {people} people")
    corner = torch.stack([column, row], dim=1).cpu().double().numpy()
    mass = density[row, column].detach().cpu().double().numpy()
    # left, top, right, bottom of each square
    boxes = np.concatenate([corner, corner + 1], axis=1)
    return torch.as_tensor(np.array(_cut(boxes, mass / mass.sum(), people))).to(density)


def _cut(boxes: np.ndarray, mass: np.ndarray, people: int) -> list[np.ndarray]:
    """The barycentres of ``people`` pieces of equal mass."""
    pieces, points = [(boxes, mass, people)], []
    while pieces:
        boxes, mass, people = pieces.pop()
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        middle = np.average(centre, axis=0, weights=mass)
        if people == 1:
            points.append(middle)
            continue
        side = boxes[:, 2:] - boxes[:, :2]
        spread = np.average((centre - middle) ** 2 + side**2 / 12, axis=0, weights=mass)
        axis = int(spread[1] > spread[0])
        left, right = _halves(boxes, mass, axis, (people // 2) / people)
        pieces += [(*right, people - people // 2), (*left, people // 2)]
    return points


def _halves(
    boxes: np.ndarray, mass: np.ndarray, axis: int, share: float
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The boxes on both sides of a straight cut that leaves ``share`` of the mass on the first side."""
    low, high = boxes[:, axis], boxes[:, axis + 2]
    edges = np.unique(np.concatenate([low, high]))
    # the mass up to each edge, then the place between two edges
    begun = np.bincount(np.searchsorted(edges, low), mass / (high - low), len(edges))
    ended = np.bincount(np.searchsorted(edges, high), mass / (high - low), len(edges))
    slope = np.cumsum(begun - ended)[:-1].clip(min=0)
    reached = np.concatenate([[0], np.cumsum(slope * np.diff(edges))])
    cut = np.interp(share * reached[-1], reached, edges)
    part = ((cut - low) / (high - low)).clip(0, 1)
    sides = []
    for side, held in ((2, part), (0, 1 - part)):
        moved = boxes.copy()
        moved[:, axis + side] = np.clip(cut, low, high)
        kept = held * mass > 0
        sides.append((moved[kept], (held * mass)[kept]))
    return sides[0], sides[1]


def separated(points: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
    """The same points (in cells), with points of one place spread evenly over a square around it; no two are equal."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    places = points.detach().cpu().double().numpy().copy()
    for attempt in range(30):
        if not len(places):
            break
        pairs = cKDTree(places).query_pairs(SAME_PLACE if attempt else CLOSE, output_type="ndarray")
        if not len(pairs):
            break
        links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(places), len(places)))
        _, group = connected_components(links, directed=False)
        side = 0.5**attempt  # a smaller square each time, in case two squares overlap
        for number in np.unique(group[pairs[:, 0]]):
            members = np.flatnonzero(group == number)
            square = np.array([[-0.5, -0.5, 0.5, 0.5]]) * side
            places[members] = places[members].mean(axis=0) + np.array(_cut(square, np.ones(1), len(members)))
    return torch.as_tensor(places).to(points)
