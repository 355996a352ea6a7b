"""One-to-one matching of predicted points with annotated ones, exact.

A k-d tree finds the pairs that are near enough to match. A maximum matching of them is a maximum flow from predictions
to heads, found by Dinic's algorithm. It needs a second where scipy's bipartite matching needs minutes, once the
radius is a few times the distance between heads. The search at a larger radius starts from the matching at a smaller.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from workbench.checks import check_choice, check_positive
from workbench.tensor_checks import check_not_negative, check_points, check_tensor

OBJECTIVES = ("cardinality", "distance")


@dataclass(frozen=True)
class Matching:
    """Which predicted point was matched with which annotated one.

    Attributes:
        predicted: (k,), indices of predicted points.
        truth: (k,), indices of the annotated points that they are matched with.
        distance: (k,), image pixels.
        sizes: number of predicted and of annotated points.
    """

    predicted: Int[Tensor, "k"]
    truth: Int[Tensor, "k"]
    distance: Float[Tensor, "k"]
    sizes: tuple[int, int]

    @property
    def false_alarms(self) -> Int[Tensor, "f"]:
        """Indices of the predicted points that are matched with nobody."""
        return _others(self.predicted, self.sizes[0])

    @property
    def misses(self) -> Int[Tensor, "u"]:
        """Indices of the annotated points that no prediction is matched with."""
        return _others(self.truth, self.sizes[1])

    def __len__(self) -> int:
        return len(self.predicted)


def _others(taken: Tensor, size: int) -> Tensor:
    left = torch.ones(size, dtype=torch.bool, device=taken.device)
    left[taken] = False
    return left.nonzero().squeeze(1)


@dataclass(frozen=True)
class Candidates:
    """Pairs of a predicted and an annotated point, with their distances in image pixels."""

    predicted: NDArray[np.int32]
    truth: NDArray[np.int32]
    distance: NDArray[np.float64]
    sizes: tuple[int, int]

    def keep(self, kept: NDArray[np.bool_] | NDArray[np.int64] | slice) -> "Candidates":
        """The pairs at an index, a mask or a slice."""
        return Candidates(self.predicted[kept], self.truth[kept], self.distance[kept], self.sizes)


def match_points(
    predicted: Float[Tensor, "n 2"],
    truth: Float[Tensor, "m 2"],
    radius: float | Float[Tensor, "m"],
    *,
    objective: str = "cardinality",
) -> Matching:
    """Match predicted with annotated points one to one, as many as can be.

    A pair may match where its distance is at most the annotated point's radius. There can be several maximum
    matchings. "cardinality" gives any of them; precision and recall are the same for all. "distance" gives the one with
    the least total distance, which the mean localization error needs.

    Args:
        predicted: (N, 2), x then y, image pixels.
        truth: (M, 2), likewise.
        radius: in image pixels, one number or one an annotated point.
        objective: "cardinality" or "distance".

    Raises:
        TypeError: not floating-point tensors.
        ValueError: wrong shapes, values that are not finite, a negative radius, an unknown objective.
    """
    check_choice(objective, OBJECTIVES, "objective")
    reach = _radii(predicted, truth, radius)
    # sorted by place, so that the choice among largest matchings does not depend on the order of the points
    rows, columns = _by_place(predicted), _by_place(truth, reach)
    pairs = candidate_pairs(predicted[rows], truth[columns], reach[columns])
    if objective == "distance":
        chosen = _cheapest(pairs, pairs.distance)
    else:
        chosen = np.flatnonzero(augment(pairs)[pairs.predicted] == pairs.truth)
    return Matching(
        rows[torch.from_numpy(pairs.predicted[chosen]).to(rows)],
        columns[torch.from_numpy(pairs.truth[chosen]).to(columns)],
        torch.from_numpy(pairs.distance[chosen]).to(predicted),
        pairs.sizes,
    )


def _by_place(points: Tensor, *more: Tensor) -> Int[Tensor, "n"]:
    """The order of points by x, then y, then ``more``."""
    keys = [key.detach().cpu().double().numpy() for key in (*reversed(more), *points.flip(1).unbind(1))]
    return torch.from_numpy(np.lexsort(keys)).to(points.device)


def matched_counts(
    predicted: Float[Tensor, "n 2"], truth: Float[Tensor, "m 2"], radii: Sequence[float]
) -> Int[np.ndarray, "r"]:
    """The size of a maximum matching at each radius; arguments and errors as in :func:`match_points`.

    A matching at one radius is valid at every larger one, where it is only extended.
    """
    for radius in radii:
        check_positive(radius, "radius", zero=True)
    counts = np.zeros(len(radii), dtype=np.int64)
    if not len(radii):
        return counts
    pairs = candidate_pairs(predicted, truth, float(max(radii)))
    pairs = pairs.keep(np.argsort(pairs.distance, kind="stable"))
    partner = np.full(pairs.sizes[0], -1, dtype=np.int32)
    used = count = 0
    for place in np.argsort(radii, kind="stable"):
        within = int(np.searchsorted(pairs.distance, radii[place], side="right"))
        if within > used and count < min(pairs.sizes):
            partner, used = augment(pairs.keep(slice(within)), partner), within
            count = int((partner >= 0).sum())
        counts[place] = count
    return counts


def first_matched(
    predicted: Float[Tensor, "n 2"], scores: Float[Tensor, "n"], truth: Float[Tensor, "m 2"], radius: float
) -> Int[np.ndarray, "n"]:
    """For each prediction in falling order of its score, 1 if it makes the largest matching one larger, else 0.

    The sum of the first k is the size of a maximum matching of the k predictions of the highest scores, for every k at
    once: sets of predictions that can be matched form a matroid, where the best set by score is the greedy one. Equal
    scores keep the order of the predictions.
    """
    check_tensor(scores, "scores", shape=(len(predicted),))
    pairs = candidate_pairs(predicted, truth, radius)
    order = np.argsort(-scores.detach().cpu().double().numpy(), kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    gains = np.zeros(len(order), dtype=np.int64)
    gains[rank[pairs.predicted[_cheapest(pairs, rank[pairs.predicted].astype(float))]]] = 1
    return gains


def candidate_pairs(
    predicted: Float[Tensor, "n 2"], truth: Float[Tensor, "m 2"], radius: float | Float[Tensor, "m"]
) -> Candidates:
    """All pairs whose distance is at most the radius of their annotated point."""
    from scipy.spatial import cKDTree  # half a second to import

    radii = _radii(predicted, truth, radius)
    left, right, reach = (values.detach().cpu().double().numpy() for values in (predicted, truth, radii))
    sizes = len(left), len(right)
    found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    if min(sizes):
        tree = cKDTree(left)
        # heads of about the same radius at a time: one search takes one radius
        octave = np.ceil(np.log2(np.maximum(reach, 1e-3)))
        for value in np.unique(octave):
            members = np.flatnonzero(octave == value)
            widest = reach[members].max() * (1 + 1e-9) + 1e-12
            near = tree.sparse_distance_matrix(cKDTree(right[members]), widest, output_type="ndarray")
            found.append((near["i"], members[near["j"]]))
    i, j = (np.concatenate(part).astype(np.int32) for part in zip(*found, strict=True))
    distance = np.hypot(*(left[i] - right[j]).T)
    return Candidates(i, j, distance, sizes).keep(distance <= reach[j])


def _radii(predicted: Tensor, truth: Tensor, radius: float | Tensor) -> Float[Tensor, "m"]:
    """One radius an annotated point; checks the arguments of :func:`match_points`."""
    check_points(predicted, "predicted")
    check_points(truth, "truth")
    if not isinstance(radius, Tensor):
        check_positive(radius, "radius", zero=True)
        return truth.new_full((len(truth),), radius, dtype=torch.float64)
    check_tensor(radius, "radius", shape=(len(truth),))
    check_not_negative(radius, "radius")
    return radius.to(truth.device)


def augment(pairs: Candidates, partner: NDArray[np.int32] | None = None) -> NDArray[np.int32]:
    """A maximum matching, from the matching ``partner`` on: the head of each prediction, -1 where it has none.

    Every augmenting path is a unit of flow: from the source to a free prediction, along a pair to a head, back along
    the head's own pair to its prediction, and so on to a free head and the sink. A matched point stays matched, but its
    partner may change.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    predictions, heads = pairs.sizes
    partner = np.full(predictions, -1, dtype=np.int32) if partner is None else partner.copy()
    if not len(pairs.truth):
        return partner
    source, sink = predictions + heads, predictions + heads + 1
    free, matched = (np.flatnonzero(chosen).astype(np.int32) for chosen in (partner < 0, partner >= 0))
    taken = np.zeros(heads, dtype=bool)
    taken[partner[matched]] = True
    free_heads = predictions + np.flatnonzero(~taken).astype(np.int32)
    other = partner[pairs.predicted] != pairs.truth
    edges = [
        (pairs.predicted[other], predictions + pairs.truth[other]),
        (predictions + partner[matched], matched),
        (np.full_like(free, source), free),
        (free_heads, np.full_like(free_heads, sink)),
    ]
    start, end = (np.concatenate(part) for part in zip(*edges, strict=True))
    network = csr_array((np.ones(len(start), dtype=np.int32), (start, end)), shape=(sink + 1, sink + 1))
    flow = maximum_flow(network, source, sink, method="dinic").flow.tocoo()
    gained = (flow.data > 0) & (flow.row < predictions) & (flow.col < source)  # flow is antisymmetric
    partner[flow.row[gained]] = flow.col[gained] - predictions
    return partner


def _cheapest(pairs: Candidates, cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which pairs make a maximum matching of the least total cost.

    Besides its heads, each prediction may be assigned to a dummy of its own, which costs more than any chain of
    exchanges can save. So the cheapest assignment of all predictions uses as few dummies as possible.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    predictions, heads = pairs.sizes
    if not len(pairs.truth):
        return np.zeros(0, dtype=np.int64)
    own = np.arange(predictions)
    dear = 1 + cost.max() * (min(pairs.sizes) + 1)
    weights = np.concatenate([cost, np.full(predictions, dear)]) + 1  # a stored zero would count as no pair
    start, end = np.concatenate([pairs.predicted, own]), np.concatenate([pairs.truth, heads + own])
    network = csr_array((weights, (start, end)), shape=(predictions, heads + predictions))
    row, column = min_weight_full_bipartite_matching(network)
    chosen = column < heads
    number = pairs.predicted.astype(np.int64) * heads + pairs.truth  # of each pair, to find the chosen ones again
    return np.flatnonzero(np.isin(number, row[chosen].astype(np.int64) * heads + column[chosen]))
