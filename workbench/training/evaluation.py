"""A model on a data set: what it predicts for each image, and the scores of that."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from workbench.data.sample import CrowdSample
from workbench.metrics import count_scores


class Counted(NamedTuple):
    """One image: its name, the people annotated, the people predicted."""

    name: str
    truth: float
    predicted: float


@contextmanager
def evaluating(model: Any, *, gradients: bool = True) -> Iterator[None]:
    """Put a module and all within it into evaluation mode, and each back into the mode it was in.

    Args:
        model: the module; another callable is left as it is.
        gradients: whether gradients are computed.
    """
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, nn.Module) else []
    try:
        for module, _ in modes:
            module.training = False
        with torch.set_grad_enabled(gradients and torch.is_grad_enabled()):
            yield
    finally:
        for module, training in modes:
            module.training = training


def inference(model: nn.Module) -> AbstractContextManager[None]:
    """:func:`evaluating` without gradients."""
    return evaluating(model, gradients=False)


def count_people(density: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b"]:
    """The count of each image: the sum of its density map."""
    return density.float().sum(dim=(1, 2, 3))


def evaluate(model: nn.Module, samples: Dataset[CrowdSample] | Iterable[CrowdSample]) -> list[Counted]:
    """Count the people in each sample, one whole image at a time.

    Args:
        model: maps (1, 3, H, W) to a density map; its device and dtype are used.
        samples: a data set or any iterable of samples.
    """
    parameter = next(model.parameters())
    results = []
    with inference(model):
        for sample in samples:  # type: ignore[union-attr]  # torch's data sets are iterated by index
            density = model(sample.shown[None].to(parameter))
            results.append(Counted(sample.name, float(sample.count), float(count_people(density))))
    return results


def scores(results: list[Counted]) -> dict[str, float]:
    """MAE, RMSE, NAE and bias of counted images, see :mod:`workbench.metrics`."""
    return count_scores([row.truth for row in results], [row.predicted for row in results])
