"""Every score that a comparison of counting networks may want, of one network on one set of images."""

from collections.abc import Iterable, Sequence

import numpy as np

from workbench.checks import check_positive
from workbench.data.dataset import CrowdDataset
from workbench.localization.scores import radius_scores
from workbench.metrics import mae
from workbench.models import CountingModel
from workbench.training.evaluation import Counted, evaluate, scores
from workbench.training.predict import localize


def benchmark_scores(
    model: CountingModel, samples: CrowdDataset, *, radius: float | None = None
) -> tuple[list[Counted], dict[str, float]]:
    """Count the people of every image, and find them.

    Args:
        model: the model.
        samples: the test images.
        radius: pixels within which a predicted point may be matched to an annotated one; None leaves localization out.

    Returns:
        The images one by one, and the scores: MAE, RMSE, NAE and bias; ``mae_sparse`` and ``mae_dense`` over the thirds
        of the images with fewest and most people; precision, recall and F1 of the local maxima at ``radius``.
    """
    counted = evaluate(model, samples)
    found = {name: value for name, value in scores(counted).items() if np.isfinite(value)}
    found |= thirds(counted)
    if radius is not None:
        check_positive(radius, "radius")
        points = localize(model, (samples[index] for index in range(len(samples))))
        truth = [samples.points(index) for index in range(len(samples))]
        detection = radius_scores([points[row.name].points for row in counted], truth, radius).detection
        found |= {name: value for name, value in detection.to_dict().items() if name in ("precision", "recall", "f1")}
    return counted, {name: float(value) for name, value in found.items() if value is not None}


def thirds(counted: Sequence[Counted]) -> dict[str, float]:
    """MAE over the thirds of the images with fewest and with most people; {} for fewer than three images."""
    if len(counted) < 3:
        return {}
    ordered = sorted(counted, key=lambda row: (row.truth, row.name))
    third = len(ordered) // 3
    return {"mae_sparse": _mae(ordered[:third]), "mae_dense": _mae(ordered[-third:])}


def _mae(rows: Iterable[Counted]) -> float:
    rows = list(rows)
    return mae([row.truth for row in rows], [row.predicted for row in rows])
