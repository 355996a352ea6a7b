"""LADP on margins: which samples make up each batch of locality-aware adversarial training."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.checks import check_tensor, check_whole


def group_of(values: Float[Tensor, "n"], groups: int) -> Int[Tensor, "n"]:
    """The group of each value: ``groups`` of equal width from 0 to the largest value (Algorithm 1, line 1).

    The paper rounds the width up to a whole number, which suits people but would leave margins, all below 1, in
    one group: here it is not rounded. The largest value falls into the last group.
    """
    width = float(values.max()) / groups if len(values) else 0.0
    if width == 0:
        return torch.zeros(len(values), dtype=torch.long, device=values.device)
    return (values / width).long().clamp(max=groups - 1)


def hash_codes(x: Tensor, generator: torch.Generator) -> Float[Tensor, "n"]:
    r""":math:`h(i) = \frac{1}{C}\sum_c w_c^\top \mathrm{vec}(x_i(:, :, c))` with Gaussian w_c, eq. (1).

    Args:
        x: (N, C, H, W).
        generator: what the projection is drawn from, on the CPU.
    """
    projection = torch.randn(x[0].numel(), generator=generator)
    chunks = [part.flatten(1).to(projection) @ projection for part in x.split(1024)]
    return torch.cat(chunks) / x.shape[1]


def partition(
    values: Float[Tensor, "n"], codes: Float[Tensor, "n"], *, groups: int = 6, bins: int = 10
) -> Int[Tensor, "n"]:
    """The bin of each sample: group * bins + bin, bins of equal width of the hash code within the group.

    Args:
        values: margins (for counting: people).
        codes: see :func:`hash_codes`.
        groups: G, of equal width in ``values``.
        bins: B, in each group.

    Raises:
        ValueError: shapes that do not fit, negative or non-finite values.
    """
    check_whole(groups, "groups")
    check_whole(bins, "bins")
    check_tensor(values, "values", shape=(None,))
    check_tensor(codes, "codes", shape=(len(values),))
    if len(values) and float(values.min()) < 0:
        raise ValueError(f"values holds values down to {float(values.min()):g}, expected values >= 0")
    group = group_of(values, groups)
    inside = torch.zeros_like(group)
    for number in group.unique().tolist():
        chosen = group == number
        low, high = codes[chosen].aminmax()
        if high > low:
            inside[chosen] = ((codes[chosen] - low) / (high - low) * bins).long().clamp(max=bins - 1)
    return group * bins + inside


def balanced_batches(
    bin_of: Int[Tensor, "n"], batch_size: int, generator: torch.Generator
) -> Iterator[Int[Tensor, "batch_size"]]:
    """One epoch of ceil(N / batch_size) batches: one sample from each bin that is not empty (Algorithm 1, line 6).

    Where there are fewer bins than the batch has places, the rounds over the bins go on until it is full, each in a
    new order; where there are more, every batch takes as many bins, drawn anew.

    Args:
        bin_of: the bin of each sample.
        batch_size: samples in every batch.
        generator: what the samples are drawn from, on the CPU.
    """
    check_whole(batch_size, "batch_size")
    order = bin_of.argsort(stable=True)
    _, sizes = bin_of.unique(return_counts=True)
    first = sizes.cumsum(0) - sizes
    for _ in range(-(-len(bin_of) // batch_size)):
        rounds = [torch.randperm(len(sizes), generator=generator) for _ in range(-(-batch_size // len(sizes)))]
        chosen = torch.cat(rounds)[:batch_size]
        place = (torch.rand(batch_size, generator=generator) * sizes[chosen]).long()
        yield order[first[chosen] + place]


def random_batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Int[Tensor, "_"]]:
    """One epoch of ceil(N / batch_size) batches, every sample once."""
    check_whole(batch_size, "batch_size")
    yield from torch.randperm(count, generator=generator).split(batch_size)
