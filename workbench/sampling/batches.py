"""LA-Batch, and the strategies that its paper compares it with (Table 6); each is a batch sampler.

Their arguments ``samples``, ``batch_size`` and ``seed`` are those of :class:`~workbench.sampling.base.EpochBatches`,
and ``patches`` are the samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from workbench.checks import check_positive
from workbench.data.patches import FixedPatches
from workbench.data.sample import Draw
from workbench.sampling.base import EpochBatches
from workbench.sampling.groups import balanced_epoch, count_groups
from workbench.sampling.partition import LADPBatches
from workbench.sampling.zoom import LADABatches


class RandomBatches(EpochBatches):
    """Every sample once an epoch, in an order drawn from (seed, epoch)."""

    def plan(self, epoch: int) -> list[list[Draw]]:
        """A permutation, cut into batches."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.samples, generator=generator).tolist()
        seeds = torch.randint(2**62, (self.samples,), generator=generator).tolist()
        return self.cut([Draw(index, seed) for index, seed in zip(order, seeds, strict=True)])


@dataclass(kw_only=True, eq=False, repr=False)
class BalancedBatches(EpochBatches):
    """As many samples from each group of counts: LADP without hashing ("balanced sampling").

    Args:
        groups: G, of equal width on [0, y_max].
    """

    patches: FixedPatches
    groups: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        self.labels = count_groups(self.patches.counts(), self.groups)

    def shown(self, epoch: int, rng: np.random.Generator) -> tuple[Int[np.ndarray, "n"], ArrayLike]:
        """As many draws as there are samples, evenly from the groups."""
        return np.array(balanced_epoch(self.labels, self.samples, seed=self.seed, epoch=epoch)), 1


@dataclass(kw_only=True, eq=False, repr=False)
class OfflineBatches(EpochBatches):
    """A set of zoomed patches made once, uniform over the groups of counts, then random batches of it.

    "We offline build an uniform distributed training set from scaled image patches" (LA sec. 5): every patch at every
    zoom is a candidate. Each group of counts gives equally many; none comes twice before all of its group have come.
    The set has as many patches as there are samples.

    Args:
        groups: G, of equal width on [0, y_max] of the candidates' counts.
        zooms: what each patch is zoomed by; the default is the range of LADA's zooms with lambda = 2/3.
    """

    patches: FixedPatches
    groups: int = 6
    zooms: Sequence[float] = (2 / 3, 5 / 6, 1, 7 / 6, 4 / 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.zooms:
            raise ValueError("zooms is empty, expected at least one factor")
        for zoom in self.zooms:
            check_positive(zoom, "zooms")
        counts = [count for zoom in self.zooms for count in self.patches.counts(zoom)]
        chosen = np.array(balanced_epoch(count_groups(counts, self.groups), self.samples, seed=self.seed))
        self.chosen, self.chosen_zooms = chosen % self.samples, np.asarray(self.zooms)[chosen // self.samples]

    def shown(self, epoch: int, rng: np.random.Generator) -> tuple[Int[np.ndarray, "n"], ArrayLike]:
        """A permutation of the set."""
        order = rng.permutation(self.samples)
        return self.chosen[order], self.chosen_zooms[order]


@dataclass(kw_only=True, eq=False, repr=False)
class AdaptiveBatches(EpochBatches):
    """Samples drawn by their last error, "without zoom-in and zoom-out": a worse counted patch is drawn more often.

    A patch is drawn with probability ``u / N + (1 - u) |e| / sum |e|``. A new patch has the mean error.
    The sampling is systematic: a patch comes N times its probability, rounded up or down. The first epoch is uniform.

    Args:
        uniform: u, the share that does not depend on the error, so that every sample stays reachable.
    """

    unseen = float("nan")
    uniform: float = 0.5

    def __post_init__(self) -> None:
        check_positive(self.uniform, "uniform")
        if self.uniform > 1:
            raise ValueError(f"uniform is {self.uniform!r}, expected a share in (0, 1]")
        super().__post_init__()

    def shown(self, epoch: int, rng: np.random.Generator) -> tuple[Int[np.ndarray, "n"], ArrayLike]:
        """As many draws as there are samples, by their probabilities."""
        # the samples are shuffled first: neighbours in a systematic draw would share their luck
        order = rng.permutation(self.samples)
        edges = np.cumsum(probabilities(self.known, self.uniform)[order])
        places = (np.arange(self.samples) + rng.random()) / self.samples * edges[-1]
        chosen = order[np.searchsorted(edges, places, side="right").clip(max=self.samples - 1)]
        return rng.permutation(chosen), 1

    def judge(
        self, truth: Float[np.ndarray, "n"], predicted: Float[np.ndarray, "n"], zooms: Float[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n"]:
        """The absolute error."""
        return np.abs(predicted - truth)


@dataclass(kw_only=True, eq=False, repr=False)
class LABatches(LADPBatches, LADABatches):
    """LADP's batches with LADA's zooms: LA-Batch. Arguments as in both.

    A zoomed patch stays in the bin of the patch that it was made from.
    """

    def shown(self, epoch: int, rng: np.random.Generator) -> tuple[Int[np.ndarray, "n"], ArrayLike]:
        """One sample of each bin, step by step, with zooms."""
        order = self.order(epoch).ravel()
        return order, self.zoomed(order, rng)


def probabilities(errors: Float[np.ndarray, "n"], uniform: float) -> Float[np.ndarray, "n"]:
    """The probability of each sample: a share ``uniform`` evenly, the rest by its error (NaN: not known yet)."""
    known = errors[~np.isnan(errors)]
    mean = known.mean() if len(known) else 1.0
    weights = np.where(np.isnan(errors), mean, errors)
    if weights.sum() == 0:
        weights = np.ones_like(weights)
    return uniform / len(errors) + (1 - uniform) * weights / weights.sum()
