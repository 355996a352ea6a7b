"""A data set whose annotations are off: what training sees when annotators are imprecise."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive, check_whole
from workbench.data.dataset import CrowdDataset
from workbench.data.noise import NOISE_MODELS
from workbench.data.sample import CrowdSample


class NoisyAnnotations(CrowdDataset):
    """Another data set with annotation noise: the same images and the same people, each point moved.

    An image's noise depends on (seed, index) alone, so that every epoch, worker and loss sees the same wrong points, as
    it would with a file of imprecise annotations. Counts stay as they are: points never leave the image. What else a
    sample knows of its people (head sizes, boxes) is left alone.

    Args:
        dataset: where images and points come from.
        model: "uniform" or "gaussian", see :mod:`workbench.data.noise`.
        amount: of noise, in units of ``unit``; 0 moves nothing.
        unit: "height", "spacing" or "pixels"; None takes the noise model's own.
        seed: what the noise is drawn from.

    Raises:
        ValueError: an unknown model, a negative amount or seed; an unknown unit, when the first points are asked for.
    """

    def __init__(
        self, dataset: CrowdDataset, model: str, *, amount: float, unit: str | None = None, seed: int = 0
    ) -> None:
        check_choice(model, tuple(NOISE_MODELS), "model")
        check_positive(amount, "amount", zero=True)
        check_whole(seed, "seed", least=0)
        self.dataset = dataset
        self.model = model
        self.amount = amount
        self.unit = {} if unit is None else {"unit": unit}
        self.seed = seed

    @property
    def names(self) -> list[str]:
        """The names of the other data set."""
        return self.dataset.names

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of one image."""
        return self.dataset.size_of(index)

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The moved points of one image."""
        return self._moved(self.dataset.points(index), index, self.size_of(index))

    def __getitem__(self, index: int) -> CrowdSample:
        sample = self.dataset[index]
        return replace(sample, points=self._moved(sample.points, index, sample.size))

    def _moved(self, points: Tensor, index: int, size: tuple[int, int]) -> Float[Tensor, "n 2"]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.at(index))
        return NOISE_MODELS[self.model](points, size, amount=self.amount, generator=generator, **self.unit)
