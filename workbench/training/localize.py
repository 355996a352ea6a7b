"""The people of every image of a data set, as points."""

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from workbench.data.sample import CrowdSample
from workbench.localization import Localized, find_points
from workbench.models import CountingModel
from workbench.training.predict import predict_density


def localize(
    model: CountingModel,
    samples: Iterable[CrowdSample],
    method: str = "local_maxima",
    *,
    progress: bool = False,
    **options: Any,
) -> dict[str, Localized]:
    """Where a model sees people in each sample: image name -> points in image pixels, with scores.

    Args:
        model: the model; its device and dtype are used.
        samples: a data set or any iterable of samples, of any sizes.
        method: "local_maxima" or "ot_m", see :mod:`workbench.localization`.
        progress: show a progress bar.
        options: of the method.

    Raises:
        ValueError: two samples of one name; an unknown method.
    """
    found: dict[str, Localized] = {}
    for sample in tqdm(samples, desc=method, unit="image", disable=not progress):
        if sample.name in found:
            raise ValueError(f"samples hold {sample.name!r} twice, expected one of each name")
        density = predict_density(model, sample.image)
        (found[sample.name],) = find_points(
            density[None, None], method, stride=model.stride, sizes=[sample.size], **options
        )
    return found
