"""LADP on margins: which samples make up each batch of locality-aware adversarial training."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from workbench.checks import check_whole
from workbench.sampling.lsh import draw_projection, hash_stream
from workbench.sampling.partition import Partition, partition_by
from workbench.tensor_checks import check_not_negative, check_tensor


def margin_groups(values: Float[Tensor, "n"], groups: int) -> Integer[Tensor, "n"]:
    """The group of each margin: ``groups`` of equal width from 0 to the largest margin, which is in the last group.

    :func:`workbench.sampling.groups.count_groups` rounds the width up to a whole number, as the paper does. Margins are
    below 1 and would all be in one group, so here the width is not rounded.

    Raises:
        ValueError: margins that are NaN, infinite or below zero.
    """
    check_whole(groups, "groups")
    check_tensor(values, "values", shape=(None,))
    check_not_negative(values, "values")
    most = float(values.max()) if len(values) else 0.0
    return (values * (groups / most)).long().clamp(max=groups - 1) if most else torch.zeros_like(values).long()


def margin_partition(
    x: Tensor, values: Float[Tensor, "n"], *, groups: int = 6, bins: int = 10, seed: int = 0
) -> Partition:
    """Put samples into groups by their margins, and the samples of a group into bins by their hash codes.

    Args:
        x: (N, C, H, W), in [0, 1] or of eight bits.
        values: (N,) margins.
        groups: G.
        bins: B, of equal width in the hash code.
        seed: of the random projection that gives the hash codes.
    """
    channels, height, width = x.shape[1:]
    codes = hash_stream(x.cpu(), draw_projection((height, width), channels=channels, seed=seed))
    return partition_by(margin_groups(values, groups).tolist(), codes.numpy(), groups=groups, bins=bins)


def balanced_batches(
    partition: Partition, batch_size: int, generator: torch.Generator
) -> Iterator[Integer[Tensor, "batch_size"]]:
    """One epoch of ceil(N / batch_size) batches: one sample from each bin that is not empty.

    With fewer bins than places in the batch, further rounds over the bins fill it, each in a new order. With more bins
    than places, each batch draws the bins that it takes. ``generator`` is of the CPU.
    """
    check_whole(batch_size, "batch_size")
    members = [torch.from_numpy(samples) for samples in partition.members]
    for _ in range(-(-len(partition.group) // batch_size)):
        rounds = [torch.randperm(len(members), generator=generator) for _ in range(-(-batch_size // len(members)))]
        places = torch.rand(batch_size, generator=generator).tolist()
        chosen = torch.cat(rounds)[:batch_size].tolist()
        yield torch.stack(
            [members[number][int(place * len(members[number]))] for number, place in zip(chosen, places, strict=True)]
        )
