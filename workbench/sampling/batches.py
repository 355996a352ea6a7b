"""LA-Batch, and the strategies that its paper compares it with (Table 6); each is a batch sampler."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from workbench.checks import check_positive
from workbench.data.patches import ImagePatches
from workbench.data.sample import Draw
from workbench.sampling.base import EpochBatches, Memory, in_batches, make_draws
from workbench.sampling.groups import balanced_epoch, count_groups
from workbench.sampling.partition import LADPBatches
from workbench.sampling.zoom import STEEPNESS, STRENGTH, Zooming


class RandomBatches(EpochBatches):
    """Every sample once an epoch, in an order drawn from (seed, epoch).

    Args:
        samples: number of samples.
        batch_size: samples per batch; the last batch may be smaller.
        seed: what the order and the samples' own seeds are drawn from.
    """

    def __init__(self, samples: int, batch_size: int, *, seed: int = 0) -> None:
        super().__init__(samples, batch_size, seed=seed)

    def plan(self, epoch: int) -> list[list[Draw]]:
        """A permutation, cut into batches."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(self.samples, generator=generator).tolist()
        seeds = torch.randint(2**62, (self.samples,), generator=generator).tolist()
        return in_batches([Draw(index, seed) for index, seed in zip(order, seeds, strict=True)], self.batch_size)


class BalancedBatches(EpochBatches):
    """As many samples from each group of counts: LADP without hashing ("balanced sampling").

    Args:
        samples: number of samples.
        batch_size: samples per batch; the last batch may be smaller.
        patches: the samples.
        seed: what everything is drawn from.
        groups: G, of equal width on [0, y_max].
    """

    def __init__(self, samples: int, batch_size: int, *, patches: ImagePatches, seed: int = 0, groups: int = 6) -> None:
        super().__init__(samples, batch_size, seed=seed)
        self.labels = count_groups(patches.counts(), groups)

    def plan(self, epoch: int) -> list[list[Draw]]:
        """As many draws as there are samples, evenly from the groups."""
        chosen = balanced_epoch(self.labels, self.samples, seed=self.seed, epoch=epoch)
        return in_batches(make_draws(chosen, 1, self.generator(epoch)), self.batch_size)


class OfflineBatches(EpochBatches):
    """A set of zoomed patches made once, uniform over the groups of counts, then random batches of it.

    "We offline build an uniform distributed training set from scaled image patches" (LA sec. 5): every patch at every
    zoom is a candidate. Each group of counts gives equally many; none comes twice before all of its group have come.

    Args:
        samples: number of samples; the set made is as large.
        batch_size: samples per batch; the last batch may be smaller.
        patches: the samples.
        seed: what everything is drawn from.
        groups: G, of equal width on [0, y_max] of the candidates' counts.
        zooms: what each patch is zoomed by; the default is the range of LADA's zooms with lambda = 2/3.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        *,
        patches: ImagePatches,
        seed: int = 0,
        groups: int = 6,
        zooms: Sequence[float] = (2 / 3, 5 / 6, 1, 7 / 6, 4 / 3),
    ) -> None:
        super().__init__(samples, batch_size, seed=seed)
        if not zooms:
            raise ValueError("zooms is empty, expected at least one factor")
        for zoom in zooms:
            check_positive(zoom, "zooms")
        counts = [count for zoom in zooms for count in patches.counts(zoom)]
        chosen = np.array(balanced_epoch(count_groups(counts, groups), samples, seed=seed))
        self.chosen, self.zooms = chosen % samples, np.asarray(zooms, dtype=np.float64)[chosen // samples]

    def plan(self, epoch: int) -> list[list[Draw]]:
        """A permutation of the set."""
        rng = self.generator(epoch)
        order = rng.permutation(self.samples)
        return in_batches(make_draws(self.chosen[order], self.zooms[order], rng), self.batch_size)


class AdaptiveBatches(EpochBatches):
    """Samples drawn by their last error, "without zoom-in and zoom-out": a worse counted patch is drawn more often.

    A patch is drawn with probability ``u / N + (1 - u) |e| / sum |e|``. A new patch has the mean error.
    The sampling is systematic: a patch comes N times its probability, rounded up or down. The first epoch is uniform.

    Args:
        samples: number of samples, and of draws an epoch.
        batch_size: samples per batch; the last batch may be smaller.
        seed: what everything is drawn from.
        uniform: u, the share that does not depend on the error, so that every sample stays reachable.
    """

    def __init__(self, samples: int, batch_size: int, *, seed: int = 0, uniform: float = 0.5) -> None:
        check_positive(uniform, "uniform")
        if uniform > 1:
            raise ValueError(f"uniform is {uniform!r}, expected a share in (0, 1]")
        super().__init__(samples, batch_size, seed=seed, memory=Memory(samples, float("nan")))
        self.uniform = uniform

    def plan(self, epoch: int) -> list[list[Draw]]:
        """As many draws as there are samples, by their probabilities."""
        assert self.memory is not None
        rng = self.generator(epoch)
        # the samples are shuffled first: neighbours in a systematic draw would share their luck
        order = rng.permutation(self.samples)
        edges = np.cumsum(probabilities(self.memory.known, self.uniform)[order])
        places = (np.arange(self.samples) + rng.random()) / self.samples * edges[-1]
        chosen = order[np.searchsorted(edges, places, side="right").clip(max=self.samples - 1)]
        return in_batches(make_draws(rng.permutation(chosen), 1, rng), self.batch_size)

    def judge(
        self, truth: Float[np.ndarray, "n"], predicted: Float[np.ndarray, "n"], zooms: Float[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n"]:
        """The absolute error."""
        return np.abs(predicted - truth)


class LABatches(LADPBatches):
    """LADP's batches with LADA's zooms: LA-Batch.

    A zoomed patch stays in the bin of the patch that it was made from.

    Args:
        samples: number of samples.
        batch_size: G B, see :class:`LADPBatches`; so for the rest down to ``projection``.
        patches: the samples.
        seed: what everything is drawn from.
        groups: G.
        bins: B.
        spacing: of the bins.
        projection: seed of the projection alone.
        strength: lambda, see :class:`~workbench.sampling.zoom.Zooming`; so for the rest.
        steepness: gamma.
        share: how often a patch is shown zoomed.
        cumulative: whether zooms multiply.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        *,
        patches: ImagePatches,
        seed: int = 0,
        groups: int = 6,
        bins: int | None = None,
        spacing: str = "width",
        projection: int | None = None,
        strength: float = STRENGTH,
        steepness: float = STEEPNESS,
        share: float = 0.5,
        cumulative: bool = False,
    ) -> None:
        self.zooming = Zooming(strength, steepness, share, cumulative)
        super().__init__(
            samples,
            batch_size,
            patches=patches,
            seed=seed,
            groups=groups,
            bins=bins,
            spacing=spacing,
            projection=projection,
        )
        self.memory = Memory(samples, 1.0)

    def plan(self, epoch: int) -> list[list[Draw]]:
        """One draw of each bin, step by step, with zooms."""
        assert self.memory is not None
        rng = self.generator(epoch)
        order = self.order(epoch).ravel()
        draws = make_draws(order, self.zooming.choose(self.memory.known[order], rng), rng)
        return in_batches(draws, self.partition.filled)

    def judge(
        self, truth: Float[np.ndarray, "n"], predicted: Float[np.ndarray, "n"], zooms: Float[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n"]:
        """See :meth:`Zooming.judge`."""
        return self.zooming.judge(truth, predicted, zooms)


def probabilities(errors: Float[np.ndarray, "n"], uniform: float) -> Float[np.ndarray, "n"]:
    """The probability of each sample: a share ``uniform`` evenly, the rest by its error (NaN: not known yet)."""
    known = errors[~np.isnan(errors)]
    mean = known.mean() if len(known) else 1.0
    weights = np.where(np.isnan(errors), mean, errors)
    if weights.sum() == 0:
        weights = np.ones_like(weights)
    return uniform / len(errors) + (1 - uniform) * weights / weights.sum()
