"""Looking inside a model of several density maps: what each expert, group and the final map count."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from workbench.checks import check_positive
from workbench.data.sample import CrowdSample
from workbench.density import density_map
from workbench.metrics import JHU_LEVELS, mae, per_level, rmse
from workbench.models import CountingModel, ModelOutput
from workbench.tensor_checks import check_tensor
from workbench.training.evaluation import Counted, inference


@dataclass(frozen=True)
class OutputCounts:
    """The counts of every density map of a model on a data set.

    Attributes:
        truth: people annotated in each image.
        predicted: name of a map -> people predicted in each image; experts E1, ..., groups Gr1, ..., and E_out last.
    """

    truth: list[float]
    predicted: dict[str, list[float]]


def output_names(result: ModelOutput) -> list[str]:
    """Names of :meth:`ModelOutput.maps` as Table XII has them: E1, ..., Gr1, ..., E_out; E1 is the finest scale."""
    experts = 0 if result.experts is None else result.experts.shape[1]
    groups = 0 if result.groups is None else result.groups.shape[1]
    return [*(f"E{k + 1}" for k in range(experts)), *(f"Gr{k + 1}" for k in range(groups)), "E_out"]


def count_outputs(model: CountingModel, samples: Dataset[CrowdSample] | Iterable[CrowdSample]) -> OutputCounts:
    """Count the people in each sample by every density map of ``model``, one whole image at a time."""
    parameter = next(model.parameters())
    truth: list[float] = []
    predicted: dict[str, list[float]] = {}
    with inference(model):
        for sample in samples:  # type: ignore[union-attr]  # torch's data sets are iterated by index
            result = model.outputs(sample.image[None].to(parameter))
            truth.append(float(sample.count))
            sums = result.maps().float().sum(dim=(2, 3))[0].tolist()
            for name, count in zip(output_names(result), sums, strict=True):
                predicted.setdefault(name, []).append(count)
    return OutputCounts(truth, predicted)


def errors_by_level(
    counts: OutputCounts, levels: Mapping[str, tuple[float, float]] = JHU_LEVELS
) -> list[dict[str, Any]]:
    """MAE and RMSE of every map, overall and at each density level (Table XII).

    Args:
        counts: of :func:`count_outputs`.
        levels: name -> (least, most) people in an image, both included; JHU-CROWD++'s by default.

    Returns:
        A row for each level and map: level, output, images, mae, rmse.
    """
    rows = []
    for name, predicted in counts.predicted.items():
        everything = {"images": len(counts.truth), "mae": mae(counts.truth, predicted)}
        scored = {"overall": {**everything, "rmse": rmse(counts.truth, predicted)}}
        scored |= per_level(counts.truth, predicted, levels)
        for level, row in scored.items():
            rows.append({"level": level, "output": name, **{key: row[key] for key in ("images", "mae", "rmse")}})
    return rows


def best_scale(experts: Float[Tensor, "k h w"], target: Float[Tensor, "h w"]) -> Int[Tensor, "h w"]:
    """At each cell the number of the expert that is nearest to the target (Fig. 1), 0 the finest; the first of equals.

    Raises:
        ValueError: the target has another size.
    """
    check_tensor(experts, "experts", shape=(None, None, None))
    check_tensor(target, "target", shape=tuple(experts.shape[1:]))
    return (experts - target).abs().argmin(dim=0)


def foreground_counts(
    model: CountingModel,
    samples: Dataset[CrowdSample] | Iterable[CrowdSample],
    *,
    sigma: float = 8.0,
    threshold: float = 1e-5,
) -> list[Counted]:
    """Count each sample's people within the foreground: where the annotations' density is above ``threshold``.

    Args:
        model: its device and dtype are used.
        samples: a data set or any iterable of samples.
        sigma: width of the density's Gaussians in pixels.
        threshold: people per pixel, as for the attention loss.
    """
    check_positive(threshold, "threshold")
    parameter = next(model.parameters())
    results = []
    with inference(model):
        for sample in samples:  # type: ignore[union-attr]
            density = model(sample.image[None].to(parameter))[0, 0].float().cpu()
            size = (density.shape[0], density.shape[1])
            target = density_map(sample.points.to(density), size, sigma=sigma, stride=model.stride)
            crowd = target > threshold * model.stride**2
            results.append(Counted(sample.name, float(target[crowd].sum()), float(density[crowd].sum())))
    return results


def balance(gates: Iterable[Tensor]) -> list[float]:
    """The mean weight of a group's strongest member over an image: 1 / N when all weigh the same."""
    shares = [group.mean(dim=(0, 2, 3)) for group in gates]
    return [float(share.max() / share.sum()) for share in shares]


def scale_shares(best: Int[Tensor, "h w"], experts: int) -> Float[np.ndarray, "k"]:
    """The share of cells at which each of ``experts`` is the best."""
    return torch.bincount(best.flatten(), minlength=experts).double().div(best.numel()).numpy()
