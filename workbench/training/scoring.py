"""Every score of one network on one set of images, each beside what a trivial predictor reaches there."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from workbench.checks import check_positive
from workbench.data.dataset import CrowdDataset
from workbench.localization.chance import random_points
from workbench.localization.scores import radius_scores
from workbench.metrics import game, mae
from workbench.models import CountingModel
from workbench.models.base import ModelOutput
from workbench.training.evaluation import Counted, count_people, inference, scores
from workbench.training.predict import locate

MATCH_SCORES = ("precision", "recall", "f1")
GAMES = (1, 2, 3)


def score_images(
    model: CountingModel,
    samples: CrowdDataset,
    *,
    mean: float | None = None,
    radius: float | None = None,
    ot_m: bool = False,
) -> tuple[list[Counted], dict[str, float]]:
    """Count the people of every image, and find them.

    Args:
        model: the model.
        samples: the test images.
        mean: people in an average training image. With it the scores hold ``baseline_mae``, ``baseline_mae_sparse``
            and ``baseline_mae_dense``: those of the predictor that always answers this count.
        radius: pixels within which a predicted point may be matched to an annotated one; None leaves localization out.
        ot_m: whether people are found by OT-M, too, which takes longer than the network.

    Returns:
        The images one by one, and the scores: MAE, RMSE, NAE and bias; ``mae_sparse`` and ``mae_dense`` over the thirds
        of the images with fewest and most people; ``game_1`` to ``game_3``; of a mixture of experts ``mae_E1``,
        ``rmse_E1`` and so on of its experts' maps and ``mae_Gr1`` of its groups'. With a radius ``precision``,
        ``recall`` and ``f1`` of the local maxima, the same of OT-M with ``_ot_m`` at the end, and ``baseline_f1`` of
        random points in the right number. A score that is not defined for these images (NAE where nobody is in any of
        them) is left out.
    """
    if radius is not None:
        check_positive(radius, "radius")
    methods = {} if radius is None else {"local_maxima": ""} | ({"ot_m": "_ot_m"} if ot_m else {})
    points: dict[str, list[Tensor]] = {method: [] for method in methods}
    parts: dict[str, list[Counted]] = {}
    games = []
    parameter = next(model.parameters())
    with inference(model):
        for index in range(len(samples)):
            sample = samples[index]
            output = model.outputs(sample.shown[None].to(parameter))
            density = output.density[0, 0].float().cpu()
            for name, people in counts_of_maps(output).items():
                parts.setdefault(name, []).append(Counted(sample.name, float(sample.count), people))
            games.append(
                [game(density, sample.points, level, stride=model.stride, size=sample.size) for level in GAMES]
            )
            for method, found in points.items():
                found.append(locate(density, method, model.stride, sample.size).points)
    counted = parts.pop("")
    scored = scores(counted) | thirds(counted)
    scored |= {f"game_{level}": float(value) for level, value in zip(GAMES, np.mean(games, axis=0), strict=True)}
    for part, rows in parts.items():
        scored |= {f"{name}_{part}": value for name, value in scores(rows).items() if name in ("mae", "rmse")}
    if mean is not None:
        trivial = [row._replace(predicted=mean) for row in counted]
        always = scores(trivial) | thirds(trivial)
        scored |= {f"baseline_{name}": value for name, value in always.items() if name.startswith("mae")}
    if radius is not None:
        truth = [samples.points(index) for index in range(len(samples))]
        for method, ending in methods.items():
            matched = radius_scores(points[method], truth, radius).detection.to_dict()
            scored |= {f"{name}{ending}": matched[name] for name in MATCH_SCORES}
        scored["baseline_f1"] = chance_f1(samples, radius)
    return counted, {name: float(value) for name, value in scored.items() if value is not None and np.isfinite(value)}


def counts_of_maps(output: ModelOutput) -> dict[str, float]:
    """The count of each map of one image: "" the final one, "E1" and so on the experts, "Gr1" and so on the groups."""
    counts = {"": float(count_people(output.density))}
    for name, maps in (("E", output.experts), ("Gr", output.groups)):
        if maps is not None:
            sums = maps[0].float().sum(dim=(1, 2)).tolist()
            counts |= {f"{name}{number}": people for number, people in enumerate(sums, 1)}
    return counts


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
