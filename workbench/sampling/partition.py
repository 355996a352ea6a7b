"""Locality-aware data partition (LA Algorithm 1): groups by value, bins by hash code within each group."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from workbench.checks import check_choice, check_whole
from workbench.sampling.epochs import count_groups

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
