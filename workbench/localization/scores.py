"""Scores of predicted points against annotated ones: the protocols of NWPU-Crowd and UCF-QNRF, and fixed radii.

True positives, false alarms and misses are summed over all images before anything is divided (micro averages). As in
the published evaluation code, 0 / 0 counts as 0: a set without people and without predictions scores 0.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice
from workbench.io.extras import need
from workbench.localization.formats import AREA_LEVELS, Heads
from workbench.localization.matching import first_matched, match_points, matched_counts
from workbench.tensor_checks import check_tensor

if TYPE_CHECKING:
    from tqdm import tqdm

QNRF_RADII = tuple(range(1, 101))
SIGMAS = ("small", "large")
Points = Sequence[Float[Tensor, "_ 2"]]


@dataclass(frozen=True)
class Detection:
    """How many predicted points are people, how many are not, and how many people are missed."""

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        """The share of the predictions that are people."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """The share of the people that are predicted."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON and tables."""
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1, **asdict(self)}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class RadiusScores:
    """Scores at one radius: how many are found, and how far off they are.

    Attributes:
        detection: counts over all images.
        error: mean distance in image pixels of matched pairs, over all images; 0 where nothing is matched.
    """

    detection: Detection
    error: float


def radius_scores(predicted: Points, truth: Points, radius: float, *, progress: bool = False) -> RadiusScores:
    """Precision, recall and mean localization error at a fixed radius (ShanghaiTech is scored at 4 and 8 px).

    The error is measured on the largest matching that has the least total distance.

    Args:
        predicted: an image each, (N, 2), x then y, image pixels.
        truth: an image each, (M, 2).
        radius: in image pixels; a pair at exactly this distance may match.
        progress: show a progress bar.

    Raises:
        TypeError: not floating-point tensors.
        ValueError: numbers of images that differ, points that are not finite, a negative radius.
    """
    matched, distance = 0, 0.0
    for ours, theirs in _images(predicted, truth, progress, f"radius {radius:g} px"):
        matching = match_points(ours, theirs, radius, objective="distance")
        matched += len(matching)
        distance += float(matching.distance.double().sum())
    counts = detection(matched, sum(map(len, predicted)), sum(map(len, truth)))
    return RadiusScores(counts, _share(distance, matched))


def detection(matched: int, predicted: int, people: int) -> Detection:
    """The counts where ``matched`` of ``predicted`` points are matched with as many of ``people``."""
    return Detection(matched, predicted - matched, people - matched)


@dataclass(frozen=True)
class NwpuScores:
    """NWPU-Crowd's scores.

    Attributes:
        detection: counts over all images.
        by_level: name of a head-area level -> (people found, people there), for levels that occur.
    """

    detection: Detection
    by_level: dict[str, tuple[int, int]]

    @property
    def recall_by_level(self) -> dict[str, float]:
        """The share of the people of each level that are found."""
        return {name: found / there for name, (found, there) in self.by_level.items()}


def nwpu_scores(
    predicted: Points, truth: Sequence[Heads], *, sigma: str = "large", progress: bool = False
) -> NwpuScores:
    """NWPU-Crowd's protocol: a largest one-to-one matching in which each head has a radius of its own.

    There can be several largest matchings, and the recall per level may differ between them. Which one is taken does
    not depend on the order of the points.

    Args:
        predicted: an image each, (N, 2), x then y, image pixels.
        truth: an image each.
        sigma: "large" (half the box's diagonal, the headline figure) or "small" (half its shorter side).
        progress: show a progress bar.

    Reference:
        Wang, Gao, Lin and Li, "NWPU-Crowd: A Large-Scale Benchmark for Crowd Counting and Localization", TPAMI 2021.
    """
    check_choice(sigma, SIGMAS, "sigma")
    found, there = torch.zeros(len(AREA_LEVELS), dtype=torch.long), torch.zeros(len(AREA_LEVELS), dtype=torch.long)
    for ours, heads in _images(predicted, truth, progress, f"{sigma} sigma"):
        radius = heads.sigma_large if sigma == "large" else heads.sigma_small
        matching = match_points(ours, heads.points, radius)
        found += torch.bincount(heads.level[matching.truth].cpu(), minlength=len(AREA_LEVELS))
        there += torch.bincount(heads.level.cpu(), minlength=len(AREA_LEVELS))
    rows = zip(AREA_LEVELS, found.tolist(), there.tolist(), strict=True)
    counts = detection(int(found.sum()), sum(map(len, predicted)), int(there.sum()))
    return NwpuScores(counts, {name: (hits, people) for name, hits, people in rows if people})


@dataclass(frozen=True)
class QnrfScores:
    """UCF-QNRF's scores.

    Attributes:
        radii: (R,), image pixels.
        precision: (R,), at each radius.
        recall: (R,), at each radius.
        auc: area under the precision-recall curve, the mean over the radii.
    """

    radii: Float[np.ndarray, "r"]
    precision: Float[np.ndarray, "r"]
    recall: Float[np.ndarray, "r"]
    auc: float

    @property
    def mean_precision(self) -> float:
        """The mean over the radii."""
        return float(self.precision.mean())

    @property
    def mean_recall(self) -> float:
        """The mean over the radii."""
        return float(self.recall.mean())

    @property
    def f1(self) -> float:
        """The harmonic mean of the two means."""
        return _share(2 * self.mean_precision * self.mean_recall, self.mean_precision + self.mean_recall)

    def to_dict(self) -> dict[str, float]:
        """The reported figures."""
        return {"precision": self.mean_precision, "recall": self.mean_recall, "f1": self.f1, "auc": self.auc}


def qnrf_scores(
    predicted: Points,
    truth: Points,
    *,
    radii: Sequence[float] = QNRF_RADII,
    scores: Sequence[Float[Tensor, "_"]] | None = None,
    progress: bool = False,
) -> QnrfScores:
    """UCF-QNRF's protocol: precision and recall at each of 1, 2, ... 100 px, and their means.

    The area under the precision-recall curve needs a score for each prediction, for instance the density at each local
    maximum. The curve goes through the predictions of all images in falling order of score. Without scores the curve is
    one step, and its area is the product of precision and recall.

    Args:
        predicted: an image each, (N, 2), x then y, image pixels.
        truth: an image each, (M, 2).
        radii: in image pixels.
        scores: an image each, (N,), higher is more confident; None: no scores.
        progress: show a progress bar.

    Reference:
        Idrees et al., "Composition Loss for Counting, Density Map Estimation and Localization in Dense Crowds", ECCV
        2018, sec. 5.
    """
    if not len(radii):
        raise ValueError("radii is empty, expected at least one radius in pixels")
    matched = np.zeros(len(radii))
    for ours, theirs in _images(predicted, truth, progress, "1 to 100 px"):
        matched += matched_counts(ours, theirs, radii)
    precision = matched / max(sum(map(len, predicted)), 1)
    recall = matched / max(sum(map(len, truth)), 1)
    auc = float((precision * recall).mean())
    if scores is not None:
        auc = float(np.mean([average_precision(predicted, scores, truth, radius) for radius in radii]))
    return QnrfScores(np.asarray(radii, dtype=np.float64), precision, recall, auc)


def average_precision(predicted: Points, scores: Sequence[Float[Tensor, "_"]], truth: Points, radius: float) -> float:
    r"""The area under the precision-recall curve, :math:`\sum_k (R_k - R_{k-1}) P_k` over falling scores.

    Predictions of equal score are added together. At every threshold the matching is a largest one. ``scores`` are (N,)
    an image, higher is more confident; the other arguments are those of :func:`radius_scores`.
    """
    if len(scores) != len(predicted):
        raise ValueError(f"scores holds {len(scores)} images and predicted {len(predicted)}, expected as many")
    order, gains = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    people = 0
    for (ours, theirs), sure in zip(_images(predicted, truth, False, ""), scores, strict=True):
        check_tensor(sure, "scores", shape=(len(ours),))
        gains.append(first_matched(ours, sure, theirs, radius))
        order.append(np.sort(sure.detach().cpu().double().numpy())[::-1])
        people += len(theirs)
    ranked, gain = np.concatenate(order), np.concatenate(gains)
    place = np.argsort(-ranked, kind="stable")
    last = np.flatnonzero(np.diff(ranked[place], append=-np.inf))  # of each group of equal scores
    hits = gain[place].cumsum()[last]
    return float((np.diff(hits, prepend=0) * hits / (last + 1)).sum() / max(people, 1))


def _images(predicted: Sequence, truth: Sequence, progress: bool, name: str) -> "tqdm":
    """Pairs of predicted and true points, with a progress bar if asked for."""
    if len(predicted) != len(truth):
        raise ValueError(f"predicted holds {len(predicted)} images and truth {len(truth)}, expected as many")
    need("data")
    from tqdm import tqdm

    return tqdm(zip(predicted, truth, strict=True), total=len(truth), desc=name, unit="image", disable=not progress)
