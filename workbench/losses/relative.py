"""Relative local counting (REL): the hard-predicted regions of an image should keep the order of their true counts."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.checks import check_choice, check_positive, check_whole
from workbench.density import local_counts
from workbench.losses.base import in_single, most_people
from workbench.tensor_checks import check_tensor

PAIRS = ("adjacent", "all")
CHOICES = ("hard", "random")


@in_single
def relative_local_counting(
    density: Float[Tensor, "b 1 h w"],
    target_density: Float[Tensor, "b 1 h w"],
    *,
    region: int,
    hardest: int = 9,
    sublists: int = 3,
    pairs: str = "adjacent",
    choose: str = "hard",
    counts: Float[Tensor, "b 1 h w"] | None = None,
) -> Float[Tensor, ""]:
    r"""[HMoDE 2]: the relative local counting loss, the mean over the batch.

    .. math:: L_{Rel} = \sum_{i=1}^{3} \sum_{x_j \in LX_i} \max(0, x_{j+3} - x_j)

    The x are the predicted counts of the S regions with the largest squared errors, in the descending order of their
    true counts. Counts three places apart are compared, which splits the list into three interleaved sub-lists. Regions
    with equal true counts have no order. They are listed by their predicted counts: then two of them cost nothing, and
    the loss does not depend on where they lie. The choice of the regions and their order have no gradient.

    Args:
        density: (B, 1, H, W), people per cell.
        target_density: (B, 1, H, W), people per cell.
        region: w, side of a square region in cells; the paper takes an eighth of the image's side. A map whose sides
            are no multiples of it is extended with empty cells.
        hardest: S, number of regions compared; all of them if there are fewer.
        sublists: number of interleaved sub-lists.
        pairs: "adjacent": neighbours in a sub-list, as in the paper. "all": every pair of a sub-list, as in the
            published code.
        choose: "hard": the S regions of the largest error. "random": any S regions (RR of Table IX).
        counts: (B, 1, H, W), a second map that gives the predicted counts (DB of Table IX); ``density`` if None.

    Returns:
        A scalar in people.

    Raises:
        TypeError: not floating-point tensors.
        ValueError: shapes that differ, NaN or infinite values, or an option out of range.

    Reference:
        Du, Shi, Deng and Zafeiriou, "Redesigning Multi-Scale Neural Network for Crowd Counting", IEEE TIP 2023,
        sec. III-C.
    """
    return relative_errors(
        density,
        target_density,
        region=region,
        hardest=hardest,
        sublists=sublists,
        pairs=pairs,
        choose=choose,
        counts=counts,
    ).mean()


@in_single
def relative_errors(
    density: Float[Tensor, "b 1 h w"],
    target_density: Float[Tensor, "b 1 h w"],
    *,
    region: int,
    hardest: int = 9,
    sublists: int = 3,
    pairs: str = "adjacent",
    choose: str = "hard",
    counts: Float[Tensor, "b 1 h w"] | None = None,
) -> Float[Tensor, "b"]:
    """The loss of each image; arguments and errors as in :func:`relative_local_counting`."""
    check_maps(density, target_density)
    check_whole(sublists, "sublists")
    check_choice(pairs, PAIRS, "pairs")
    if counts is None:
        counts = density
    elif counts.shape != density.shape:
        raise ValueError(f"counts has shape {tuple(counts.shape)}, expected {tuple(density.shape)} as density")
    predicted = local_counts(counts, region).flatten(1)
    chosen = compared_regions(density, target_density, region=region, hardest=hardest, choose=choose, counts=counts)
    return order_violations(predicted.gather(1, chosen), sublists=sublists, pairs=pairs)


def order_violations(listed: Float[Tensor, "b s"], *, sublists: int = 3, pairs: str = "adjacent") -> Float[Tensor, "b"]:
    """The people by which lists of counts rise where they should fall, summed over their interleaved sub-lists."""
    length = listed.shape[1]
    total = 0 * listed.sum(dim=1)  # a zero with a gradient, in case there is nothing to compare
    furthest = length if pairs == "all" else sublists + 1
    for distance in range(sublists, min(furthest, length), sublists):
        total = total + (listed[:, distance:] - listed[:, :-distance]).clamp(min=0).sum(dim=1)
    return total


@torch.no_grad()
def compared_regions(
    density: Float[Tensor, "b 1 h w"],
    target_density: Float[Tensor, "b 1 h w"],
    *,
    region: int,
    hardest: int = 9,
    choose: str = "hard",
    counts: Float[Tensor, "b 1 h w"] | None = None,
) -> Int[Tensor, "b s"]:
    """Indices of the compared regions in the descending order of their true counts; regions count row by row.

    Arguments as in :func:`relative_local_counting`.
    """
    check_whole(hardest, "hardest")
    check_choice(choose, CHOICES, "choose")
    error = local_error(density, target_density, region)
    if choose == "random":
        error = torch.rand_like(error)
    truth = local_counts(target_density, region).flatten(1)
    predicted = local_counts(density if counts is None else counts, region).flatten(1)
    # ties in the error go by true, then by predicted count; regions with both equal give the same loss
    by_count = descending(truth, first=descending(predicted))
    hard = descending(error, first=by_count)[:, :hardest]
    rank = by_count.argsort(dim=1).gather(1, hard)
    return by_count.gather(1, rank.sort(dim=1).values)


def local_error(
    density: Float[Tensor, "b 1 h w"], target_density: Float[Tensor, "b 1 h w"], region: int
) -> Float[Tensor, "b r"]:
    """The local error map R: squared errors summed over each region, the regions row by row."""
    return local_counts((density - target_density).square(), region).flatten(1)


def descending(values: Tensor, *, first: Tensor | None = None) -> Tensor:
    """Indices that sort each row from the largest value down; equal values in the order of ``first``."""
    if first is None:
        return values.argsort(dim=1, descending=True, stable=True)
    return first.gather(1, values.gather(1, first).argsort(dim=1, descending=True, stable=True))


def region_side(size: tuple[int, int], share: float) -> int:
    """The side in cells of regions that are ``share`` of a map's shorter side, at least one cell."""
    check_positive(share, "share")
    return max(1, round(min(size) * share))


def check_maps(density: Tensor, target_density: Tensor) -> None:
    """Raise unless both are finite (B, 1, H, W) maps of one shape with at least one cell."""
    check_tensor(density, "density", shape=(None, 1, None, None))
    check_tensor(target_density, "target_density", shape=tuple(density.shape))
    if 0 in density.shape:
        raise ValueError(f"density has shape {tuple(density.shape)}, expected at least one image and one cell")
    limit = most_people(density.dtype)
    for tensor, name in ((density, "density"), (target_density, "target_density")):
        largest = float(tensor.detach().abs().max())
        if largest > limit:
            raise ValueError(
                f"{name} holds values up to {largest:g}, expected at most {limit:.2g}: the squared error would overflow"
            )
