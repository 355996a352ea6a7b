"""Which experts are combined with which, and the weighted sums themselves."""

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_whole

GateLevel = tuple[tuple[int, ...], ...]

FUSIONS = ("hmode", "ordinary", "moe", "average", "concat")
WEIGHTINGS = ("pixel", "image", "hard", "channel")


def hierarchy(
    fusion: str, *, experts: int = 3, group_size: int = 2, depth: int = 2, pair: Sequence[int] = (2, 3)
) -> tuple[GateLevel, ...]:
    """The levels of the combination, from the experts up; a level lists its groups, a group its members below.

    The last level always has one group of everything below it.

    Args:
        fusion: "hmode", every group of ``group_size`` members, overlapping, at each level but the last; "ordinary", no
            overlap: ``pair`` is combined first, the other experts pass; "moe" and "average", one level of all experts;
            "concat", none.
        experts: K.
        group_size: N.
        depth: levels of "hmode", D.
        pair: the experts that "ordinary" combines first, counted from 1.

    Raises:
        ValueError: an unknown fusion, a group as large as the number of experts, a pair that is none.
    """
    check_choice(fusion, FUSIONS, "fusion")
    check_whole(experts, "experts", least=2)
    if fusion == "concat":
        return ()
    if fusion in ("moe", "average"):
        return ((tuple(range(experts)),),)
    if fusion == "ordinary":
        if len(set(pair)) != 2 or len(pair) != 2 or not set(pair) <= set(range(1, experts + 1)):
            raise ValueError(f"pair is {tuple(pair)}, expected two different experts of 1 to {experts}")
        combined = tuple(sorted(number - 1 for number in pair))
        # a pair stands where its first expert stood: ((E1, E3), E2), (E1, (E2, E3))
        first = tuple(combined if k == combined[0] else (k,) for k in range(experts) if k != combined[1])
        return first, (tuple(range(len(first))),)
    check_whole(group_size, "group_size", least=2)
    check_whole(depth, "depth", least=2)
    levels: list[GateLevel] = []
    members = experts
    for _ in range(depth - 1):
        if group_size >= members:
            raise ValueError(f"group_size is {group_size}, expected fewer than the {members} members of the level")
        levels.append(tuple(combinations(range(members), group_size)))
        members = len(levels[-1])
    return (*levels, (tuple(range(members)),))


def gate_weights(
    logits: Float[Tensor, "b n h w"], level: GateLevel, size: tuple[int, int], *, weighting: str = "pixel", mode: str
) -> tuple[Float[Tensor, "b _ c hh ww"], ...]:
    r"""The weights of each group's members: softmax over the members, so that they sum to one.

    .. math:: \sum_j G_{ij} = 1 \quad \text{at each pixel, for each group } i

    Args:
        logits: (B, c n, h, w): n is the number of members of all groups together, c of channels (1 but for "channel").
        level: the groups.
        size: (H, W) of the maps that are weighted.
        weighting: "pixel", a softmax at each pixel; "hard", only the member of the largest weight, with the gradient
            of the soft weights (straight through); "image", one weight an image; "channel", one an image and channel.
        mode: how logits are enlarged to ``size``, "bilinear" or "nearest".

    Returns:
        A group each, (B, members, c, H, W), or (B, members, c, 1, 1) where a weight is the image's.
    """
    check_choice(weighting, WEIGHTINGS, "weighting")
    members = sum(len(group) for group in level)
    if weighting in ("image", "channel"):
        logits = logits.mean(dim=(-2, -1), keepdim=True)
    elif logits.shape[-2:] != size:
        logits = enlarge(logits, size, mode)
    parts = logits.unflatten(1, (members, -1)).split([len(group) for group in level], dim=1)
    soft = [torch.softmax(part, dim=1) for part in parts]
    if weighting != "hard":
        return tuple(soft)
    hard = [torch.zeros_like(part).scatter(1, part.argmax(dim=1, keepdim=True), 1.0) for part in soft]
    return tuple(one + part - part.detach() for one, part in zip(hard, soft, strict=True))


def combine(
    members: Float[Tensor, "b k c h w"], level: GateLevel, weights: Sequence[Float[Tensor, "b _ _c _h _w"]]
) -> Float[Tensor, "b m c h w"]:
    r"""One level of [HMoDE 1]: the weighted sum of each group's members, :math:`\sum_j G_{ij} \cdot E_{ij}`.

    The whole equation is this function applied level by level, from the experts up.

    Args:
        members: (B, K, C, H, W), the maps of the level below.
        level: the groups.
        weights: a group each, (B, members, C, H, W), see :func:`gate_weights`.

    Returns:
        (B, M, C, H, W), a map a group.
    """
    sums = [(weight * members[:, list(group)]).sum(dim=1) for group, weight in zip(level, weights, strict=True)]
    return torch.stack(sums, dim=1)


def enlarge(maps: Float[Tensor, "b c h w"], size: tuple[int, int], mode: str) -> Float[Tensor, "b c hh ww"]:
    """Maps at another size: "nearest", "bilinear", or "aligned" (bilinear with aligned corners)."""
    if maps.shape[-2:] == size:
        return maps
    if mode == "nearest":
        return F.interpolate(maps, size=size, mode="nearest")
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=mode == "aligned")
