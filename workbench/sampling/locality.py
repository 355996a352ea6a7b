"""The locality-aware strategies: LADP (Algorithm 1), LADA (sec. 3.2), and both together, LA-Batch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from workbench.checks import check_positive, check_whole
from workbench.data.patches import ImagePatches
from workbench.data.sample import Draw
from workbench.sampling.base import STREAM, EpochBatches, Memory, in_batches, make_draws
from workbench.sampling.lsh import draw_projection, hash_stream
from workbench.sampling.partition import partition_samples
from workbench.sampling.zoom import STEEPNESS, STRENGTH, check_strength, next_zooms


@dataclass(frozen=True)
class Zooming:
    """How LADA augments.

    The paper adds the zoomed patches to the training set ("generating more image patches"). So that an epoch stays as
    long as it was, each draw shows its patch zoomed with probability ``share``, as it is otherwise.

    Attributes:
        strength: lambda of eq. (6).
        steepness: gamma of eq. (6).
        share: how often a patch is shown zoomed; 1 replaces the patches, the literal reading of eq. (7).
        cumulative: whether a zoomed patch's new zoom multiplies the one it had, see
            :func:`workbench.sampling.zoom.next_zooms`.
    """

    strength: float = STRENGTH
    steepness: float = STEEPNESS
    share: float = 0.5
    cumulative: bool = False

    def __post_init__(self) -> None:
        check_strength(self.strength)
        check_positive(self.steepness, "steepness")
        check_positive(self.share, "share", zero=True)
        if self.share > 1:
            raise ValueError(f"share is {self.share!r}, expected one in [0, 1]")

    def choose(self, zooms: Float[np.ndarray, "n"], rng: np.random.Generator) -> Float[np.ndarray, "n"]:
        """The zoom that each draw shows, of those that are known."""
        return np.where(rng.random(len(zooms)) < self.share, zooms, 1.0)

    def judge(
        self, truth: Float[np.ndarray, "n"], predicted: Float[np.ndarray, "n"], zooms: Float[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n"]:
        """The zoom of each patch's next version."""
        current = zooms if self.cumulative else None
        return next_zooms(truth, predicted, strength=self.strength, steepness=self.steepness, current=current)


class LADABatches(EpochBatches):
    """Every sample once an epoch in a random order, some of them zoomed by how they were counted before (LADA).

    Args:
        samples: number of samples.
        batch_size: samples per batch; the last batch may be smaller.
        seed: what everything is drawn from.
        strength: lambda, see :class:`Zooming`; also for the others.
        steepness: gamma.
        share: how often a patch is shown zoomed.
        cumulative: whether zooms multiply.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        *,
        seed: int = 0,
        strength: float = STRENGTH,
        steepness: float = STEEPNESS,
        share: float = 0.5,
        cumulative: bool = False,
    ) -> None:
        self.zooming = Zooming(strength, steepness, share, cumulative)
        super().__init__(samples, batch_size, seed=seed, memory=Memory(samples, 1.0))

    def plan(self, epoch: int) -> list[list[Draw]]:
        """A permutation with zooms."""
        assert self.memory is not None
        rng = self.generator(epoch)
        order = rng.permutation(self.samples)
        return in_batches(make_draws(order, self.zooming.choose(self.memory.known[order], rng), rng), self.batch_size)

    def judge(
        self, truth: Float[np.ndarray, "n"], predicted: Float[np.ndarray, "n"], zooms: Float[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n"]:
        """See :meth:`Zooming.judge`."""
        return self.zooming.judge(truth, predicted, zooms)


class LADPBatches(EpochBatches):
    """One sample from each bin that holds any, at every step (LADP, Algorithm 1).

    An epoch has ceil(N / filled bins) steps: as many samples are shown as in one of random batches. The samples of a
    bin come in a shuffled order, then in another, and so on through all epochs: none comes twice before all have come
    once, so every sample is reached. The loss is the mean over the batch where the paper prints the sum; Adam's steps
    are the same.

    Args:
        samples: number of samples.
        batch_size: G B, the number of bins; a step shows fewer where bins are empty.
        patches: the samples.
        seed: what everything is drawn from, the projection too.
        groups: G.
        bins: B; batch_size / groups if None.
        spacing: of the bins, see :func:`workbench.sampling.partition.partition_samples`.
        projection: seed of the projection alone; ``seed`` if None.

    Raises:
        ValueError: the batch size is not G B.
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
    ) -> None:
        check_whole(groups, "groups")
        bins = batch_size // groups if bins is None else bins
        if not bins or groups * bins != batch_size:
            raise ValueError(
                f"batch_size is {batch_size!r} with {groups} groups of {bins} bins; expected their product, one "
                "sample from each bin"
            )
        vectors = draw_projection(patches.patch_size, seed=seed if projection is None else projection)
        self.codes = hash_stream((patches[index].image for index in range(samples)), vectors).numpy()
        self.partition = partition_samples(patches.counts(), self.codes, groups=groups, bins=bins, spacing=spacing)
        super().__init__(samples, batch_size, seed=seed)

    def __len__(self) -> int:
        return -(-self.samples // self.partition.filled)

    def order(self, epoch: int) -> Int[np.ndarray, "steps bins"]:
        """The samples of an epoch, a row a step, a column a bin."""
        columns = [
            endless_shuffle(members, epoch * len(self), len(self), seed=[self.seed, STREAM, number])
            for number, members in enumerate(self.partition.members)
        ]
        return np.stack(columns, axis=1)

    def plan(self, epoch: int) -> list[list[Draw]]:
        """One draw of each bin, a step after the other."""
        order = self.order(epoch).ravel()
        return in_batches(make_draws(order, 1, self.generator(epoch)), self.partition.filled)

    def summary(self) -> dict[str, float]:
        """The number of bins, and of those that hold samples."""
        return {"bins": self.partition.groups * self.partition.bins, "bins_filled": self.partition.filled}


class LABatches(LADPBatches):
    """LADP's batches with LADA's zooms: LA-Batch.

    A zoomed patch stays in the bin of the patch that it was made of.

    Args:
        samples: number of samples.
        batch_size: G B, see :class:`LADPBatches`; so for the rest down to ``projection``.
        patches: the samples.
        seed: what everything is drawn from.
        groups: G.
        bins: B.
        spacing: of the bins.
        projection: seed of the projection alone.
        strength: lambda, see :class:`Zooming`; so for the rest.
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
        """One draw of each bin, a step after the other, with zooms."""
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


def endless_shuffle(
    members: Int[np.ndarray, "n"], start: int, length: int, *, seed: list[int]
) -> Int[np.ndarray, "length"]:
    """Places ``start`` to ``start + length`` of an endless row: the members in one order, in another, and so on."""
    size = len(members)
    if size == 1:
        return np.repeat(members, length)
    first, last = start // size, (start + length - 1) // size
    rounds = [np.random.default_rng([*seed, turn]).permutation(members) for turn in range(first, last + 1)]
    return np.concatenate(rounds)[start - first * size :][:length]
