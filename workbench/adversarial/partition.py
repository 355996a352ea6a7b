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
    """The group of each margin: ``groups`` of equal width from 0 to the largest (Algorithm 1, line 1).

    The paper rounds the width up to a whole number, which suits people but would leave margins, all below 1, in
    one group: here it is not rounded. The largest margin falls into the last group.

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
    """Algorithm 2 line 3: samples in groups by their margins, and in each group in bins by their hash codes.

    Args:
        x: (N, C, H, W), in [0, 1] or of eight bits.
        values: (N,) margins.
        groups: G.
        bins: B, of equal width in the hash code.
        seed: what the projection of eq. (1) is drawn from.
    """
    channels, height, width = x.shape[1:]
    codes = hash_stream(x.cpu(), draw_projection((height, width), channels=channels, seed=seed))
    return partition_by(margin_groups(values, groups).tolist(), codes.numpy(), groups=groups, bins=bins)


def balanced_batches(
    partition: Partition, batch_size: int, generator: torch.Generator
) -> Iterator[Integer[Tensor, "batch_size"]]:
    """One epoch of ceil(N / batch_size) batches: one sample from each bin that is not empty (Algorithm 1, line 6).

    Where there are fewer bins than the batch has places, the rounds over the bins go on until it is full, each in a
    new order; where there are more, every batch takes as many bins, drawn anew.

    Args:
        partition: the bins.
        batch_size: samples in every batch.
        generator: what the samples are drawn from, on the CPU.
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


def random_batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Integer[Tensor, "_"]]:
    """One epoch of ceil(N / batch_size) batches, every sample once."""
    check_whole(batch_size, "batch_size")
    yield from torch.randperm(count, generator=generator).split(batch_size)
