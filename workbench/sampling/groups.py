"""Groups of samples by count, and epochs in which every group appears equally often."""

from collections.abc import Sequence

import numpy as np

from workbench.checks import check_whole


def count_groups(counts: Sequence[int], groups: int) -> list[int]:
    """The group of each count: groups of equal width ceil(y_max / G) on [0, y_max].

    The largest count belongs to the last group. This is line 1 of the algorithm of
    :class:`workbench.sampling.partition.LADPBatches`.

    Raises:
        ValueError: no counts, a count below zero, or fewer than one group.
    """
    check_whole(groups, "groups")
    if not counts or min(counts) < 0:
        raise ValueError(f"counts are {list(counts)[:5]}, expected at least one, and none below 0")
    width = max(1, -(-max(counts) // groups))
    return [min(count // width, groups - 1) for count in counts]


def balanced_epoch(labels: Sequence[int], length: int, *, seed: int, epoch: int = 0) -> list[int]:
    """Indices of one epoch of ``length`` draws; the numbers of draws of two labels differ by one at most.

    The samples of a label come in a shuffled order, again and again, so that none appears twice before each has
    appeared once. Everything follows from (seed, epoch). ``labels`` has one entry a sample, for instance its
    :func:`count_groups`.

    Raises:
        ValueError: no labels, a length below one, a negative seed or epoch.
    """
    check_whole(length, "length")
    check_whole(seed, "seed", least=0)
    check_whole(epoch, "epoch", least=0)
    if not len(labels):
        raise ValueError("labels is empty, expected one for each sample")
    rng = np.random.default_rng([seed, epoch])
    array = np.asarray(labels)
    kinds = rng.permutation(np.unique(array))  # who gets one draw more is drawn, too
    chosen = []
    for rank, kind in enumerate(kinds):
        members = np.flatnonzero(array == kind)
        share = length // len(kinds) + (rank < length % len(kinds))
        rounds = [rng.permutation(members) for _ in range(-(-share // len(members)))]
        chosen.append(np.concatenate([members[:0], *rounds])[:share])
    return [int(index) for index in rng.permutation(np.concatenate(chosen))]
