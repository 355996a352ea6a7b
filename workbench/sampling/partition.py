"""Locality-aware data partition (LADP): groups by count, bins by hash code, one sample of each in a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from workbench.checks import check_choice, check_whole
from workbench.data.patches import FixedPatches
from workbench.sampling.base import STREAM, EpochBatches
from workbench.sampling.groups import count_groups
from workbench.sampling.lsh import draw_projection, hash_stream

SPACINGS = ("width", "count")


@dataclass(frozen=True)
class Partition:
    """Which group and bin every sample belongs to.

    Attributes:
        group: (N,), 0 to groups - 1, by value.
        bin: (N,), 0 to bins - 1 within its group, by hash code.
        groups: G.
        bins: B.
    """

    group: Int[np.ndarray, "n"]
    bin: Int[np.ndarray, "n"]
    groups: int
    bins: int

    @cached_property
    def occupancy(self) -> Int[np.ndarray, "g b"]:
        """(G, B) samples in each bin."""
        table = np.zeros((self.groups, self.bins), dtype=int)
        np.add.at(table, (self.group, self.bin), 1)
        return table

    @cached_property
    def members(self) -> list[Int[np.ndarray, "_"]]:
        """The samples of each bin that holds any, group by group and bin by bin."""
        cells = self.group * self.bins + self.bin
        order = np.argsort(cells, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(cells[order])) + 1)

    @property
    def filled(self) -> int:
        """The number of bins that hold samples: the size of a batch."""
        return len(self.members)

    def __str__(self) -> str:
        sizes = self.occupancy[self.occupancy > 0]
        return (
            f"{len(self.group)} samples in {self.filled} of {self.groups} x {self.bins} bins, "
            f"{sizes.min()} to {sizes.max()} in each; {self.groups * self.bins - self.filled} are empty"
        )


def partition_samples(
    counts: Sequence[int], codes: ArrayLike, *, groups: int = 6, bins: int = 10, spacing: str = "width"
) -> Partition:
    """Put samples into groups by their counts, and each group's samples into bins by their codes.

    Groups have the width ceil(y_max / G); y_max itself falls into the last one. A bin may be empty: with long-tailed
    counts the last groups hold few samples, and equal widths leave gaps where no code is.

    Args:
        counts: people in each of the N samples.
        codes: (N,) hash codes, see :mod:`workbench.sampling.lsh`.
        groups: G.
        bins: B, in each group.
        spacing: how "we evenly divide the group" is read: "width" cuts the group's range of codes into B equal parts
            (the paper's Fig. 5b: hashing fills its bins unevenly), "count" gives each bin as many samples, up to one.

    Raises:
        ValueError: counts and codes of different length, none at all, counts below zero, codes that are NaN or
            infinite, or options out of range.
    """
    return partition_by(count_groups(counts, groups), codes, groups=groups, bins=bins, spacing=spacing)


def partition_by(
    labels: Sequence[int], codes: ArrayLike, *, groups: int, bins: int = 10, spacing: str = "width"
) -> Partition:
    """:func:`partition_samples` by known groups: ``labels`` are (N,) whole numbers from 0 to ``groups`` - 1."""
    check_whole(groups, "groups")
    check_whole(bins, "bins")
    check_choice(spacing, SPACINGS, "spacing")
    group, values = np.asarray(labels, dtype=int), np.asarray(codes, dtype=np.float64)
    if values.ndim != 1 or values.shape != group.shape or not len(group):
        raise ValueError(
            f"codes have shape {values.shape} for {len(group)} samples, expected one for each, and a sample at least"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"codes hold {int((~np.isfinite(values)).sum())} values that are NaN or infinite")
    if group.min() < 0 or group.max() >= groups:
        raise ValueError(f"labels reach from {group.min()} to {group.max()}, expected 0 to {groups - 1}")
    divide = equal_width if spacing == "width" else equal_count
    bin_of = np.zeros(len(group), dtype=int)
    for label in np.unique(group):
        bin_of[group == label] = divide(values[group == label], bins)
    return Partition(group, bin_of, groups, bins)


def equal_width(codes: Float[np.ndarray, "n"], bins: int) -> Int[np.ndarray, "n"]:
    """The bin of each code when their range is cut into ``bins`` equal parts; the greatest is in the last one."""
    least, most = codes.min(), codes.max()
    if least == most:
        return np.zeros(len(codes), dtype=int)
    return np.minimum(((codes - least) / (most - least) * bins).astype(int), bins - 1)


def equal_count(codes: Float[np.ndarray, "n"], bins: int) -> Int[np.ndarray, "n"]:
    """The bin of each code when each of ``bins`` takes as many, in order; the first ones take one more."""
    bin_of = np.empty(len(codes), dtype=int)
    for number, chosen in enumerate(np.array_split(np.argsort(codes, kind="stable"), bins)):
        bin_of[chosen] = number
    return bin_of


@dataclass(kw_only=True, eq=False, repr=False)
class LADPBatches(EpochBatches):
    """Batches with one sample of each bin that holds any (LADP) [LA Alg. 1]; the comments give the algorithm's lines.

    The constructor makes the partition, :meth:`plan` the batches; the training loop does the rest (lines 7 and 8). Its
    loss is the mean over the batch where the paper prints the sum; the steps of Adam are the same.

    An epoch has ceil(N / filled bins) steps, so it shows about N samples, as random batches do. The samples of a bin
    come in a shuffled order, then in another, and so on through all epochs: none comes twice before all have come once,
    so every sample is reached.

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

    patches: FixedPatches
    groups: int = 6
    bins: int | None = None
    spacing: str = "width"
    projection: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self.groups, "groups")
        bins = self.batch_size // self.groups if self.bins is None else self.bins
        if not bins or self.groups * bins != self.batch_size:
            raise ValueError(
                f"batch_size is {self.batch_size!r} with {self.groups} groups of {bins} bins; expected their product, "
                "one sample from each bin"
            )
        # line 2: w_c
        vectors = draw_projection(
            self.patches.patch_size, seed=self.seed if self.projection is None else self.projection
        )
        # line 3: h(i)
        self.codes = hash_stream((self.patches[index].image for index in range(self.samples)), vectors).numpy()
        # lines 1 and 4: G groups by count, B bins in each by code
        self.partition = partition_samples(
            self.patches.counts(), self.codes, groups=self.groups, bins=bins, spacing=self.spacing
        )

    @property
    def per_batch(self) -> int:
        """The number of bins that hold samples."""
        return self.partition.filled

    def order(self, epoch: int) -> Int[np.ndarray, "steps bins"]:
        """The samples of an epoch, a row a step, a column a bin."""
        # lines 5 and 6: at every step one sample of each bin
        columns = [
            endless_shuffle(members, epoch * len(self), len(self), seed=[self.seed, STREAM, number])
            for number, members in enumerate(self.partition.members)
        ]
        return np.stack(columns, axis=1)

    def shown(self, epoch: int, rng: np.random.Generator) -> tuple[Int[np.ndarray, "n"], ArrayLike]:
        """One sample of each bin, step by step."""
        return self.order(epoch).ravel(), 1

    def summary(self) -> dict[str, float]:
        """The number of bins, and the number of those that hold samples."""
        return {"bins": self.partition.groups * self.partition.bins, "bins_filled": self.partition.filled}


def endless_shuffle(
    members: Int[np.ndarray, "n"], start: int, length: int, *, seed: list[int]
) -> Int[np.ndarray, "length"]:
    """Items ``start`` to ``start + length`` of an endless sequence: the members in one order, then in another ..."""
    size = len(members)
    if size == 1:
        return np.repeat(members, length)
    first, last = start // size, (start + length - 1) // size
    rounds = [np.random.default_rng([*seed, turn]).permutation(members) for turn in range(first, last + 1)]
    return np.concatenate(rounds)[start - first * size :][:length]
