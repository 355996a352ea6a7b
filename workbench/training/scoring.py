"""Every score of one network on one set of images, each beside what a trivial predictor reaches there."""

from collections.abc import Sequence

import numpy as np

from workbench.checks import check_positive
from workbench.data.dataset import CrowdDataset
from workbench.localization.chance import random_points
from workbench.localization.scores import radius_scores
from workbench.metrics import mae
from workbench.models import CountingModel
from workbench.training.evaluation import Counted, evaluate, scores
from workbench.training.predict import localize

MATCH_SCORES = ("precision", "recall", "f1")


def score_images(
    model: CountingModel, samples: CrowdDataset, *, mean: float | None = None, radius: float | None = None
) -> tuple[list[Counted], dict[str, float]]:
    """Count the people of every image, and find them.

    Args:
        model: the model.
        samples: the test images.
        mean: people in an average training image. With it the scores hold ``baseline_mae``, ``baseline_mae_sparse``
            and ``baseline_mae_dense``: those of the predictor that always answers this count.
        radius: pixels within which a predicted point may be matched to an annotated one; None leaves localization out.

    Returns:
        The images one by one, and the scores: MAE, RMSE, NAE and bias; ``mae_sparse`` and ``mae_dense`` over the thirds
        of the images with fewest and most people; with a radius ``precision``, ``recall`` and ``f1`` of the local
        maxima, and ``baseline_f1`` of random points in the right number. A score that is not defined for these images
        (NAE where nobody is in any of them) is left out.
    """
    if radius is not None:
        check_positive(radius, "radius")
    counted = evaluate(model, samples)
    found = scores(counted) | thirds(counted)
    if mean is not None:
        trivial = [row._replace(predicted=mean) for row in counted]
        always = scores(trivial) | thirds(trivial)
        found |= {f"baseline_{name}": value for name, value in always.items() if name.startswith("mae")}
    if radius is not None:
        truth = [samples.points(index) for index in range(len(samples))]
        points = localize(model, (samples[index] for index in range(len(samples))))
        matched = radius_scores([points[row.name].points for row in counted], truth, radius).detection.to_dict()
        found |= {name: matched[name] for name in MATCH_SCORES}
        found["baseline_f1"] = chance_f1(samples, radius)
    return counted, {name: float(value) for name, value in found.items() if value is not None and np.isfinite(value)}


def chance_f1(samples: CrowdDataset, radius: float) -> float:
    """F1 of as many random points in each image as it has people, within its region of interest's rows if it has one.

    Args:
        samples: the images.
        radius: pixels within which a point counts as found.
    """
    truth, drawn = [], []
    for index in range(len(samples)):
        sample = samples[index]
        first = 0 if sample.roi is None or not sample.roi.any() else int(sample.roi.any(dim=1).int().argmax())
        drawn += random_points([sample.points], [sample.size], seed=index, top=first / sample.size[0])
        truth.append(sample.points)
    return float(radius_scores(drawn, truth, radius).detection.f1 or 0.0)


def thirds(counted: Sequence[Counted]) -> dict[str, float]:
    """MAE over the thirds of the images with fewest and with most people; {} for fewer than three images."""
    if len(counted) < 3:
        return {}
    ordered = sorted(counted, key=lambda row: (row.truth, row.name))
    third = len(ordered) // 3
    parts = {"mae_sparse": ordered[:third], "mae_dense": ordered[-third:]}
    return {name: mae([row.truth for row in rows], [row.predicted for row in rows]) for name, rows in parts.items()}
