"""The losses that Table IX compares with relative local counting: absolute counts, global and nested ranking."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_positive, check_whole
from workbench.density import local_counts
from workbench.losses.base import in_single
from workbench.losses.relative import check_maps
from workbench.tensor_checks import check_tensor


@in_single
def absolute_local_counting(
    density: Float[Tensor, "b 1 h w"], target_density: Float[Tensor, "b 1 h w"], *, region: int
) -> Float[Tensor, ""]:
    """ALC: the mean absolute error of the local counts, over regions and batch, in people."""
    check_maps(density, target_density)
    return (local_counts(density, region) - local_counts(target_density, region)).abs().mean()


@in_single
def global_ranking(
    density: Float[Tensor, "b 1 h w"], target_density: Float[Tensor, "b 1 h w"], *, temperature: float = 1.0
) -> Float[Tensor, ""]:
    r"""GRL: cross entropy between the predicted and the true ranking of the batch's images by their counts.

    The predicted ranking is the relaxed permutation matrix of the counts c,

    .. math:: \hat P_{ij} = \mathrm{softmax}_j\left(\frac{(B + 1 - 2i) c_j - \sum_k |c_j - c_k|}{\tau}\right),

    whose row i says which image has the i-th largest count. Images with equal true counts share their ranks.

    Args:
        density: (B, 1, H, W), people per cell.
        target_density: (B, 1, H, W), people per cell.
        temperature: in people; a smaller one makes the permutation matrix harder.

    Returns:
        A scalar, the mean over the ranks; zero for a batch of one.

    Reference:
        Yang et al., "Weakly-Supervised Crowd Counting Learns from Sorting Rather Than Locations", ECCV 2020 (the
        comparison); Grover et al., "Stochastic Optimization of Sorting Networks via Continuous Relaxations", ICLR 2019
        (the relaxation).
    """
    check_maps(density, target_density)
    check_positive(temperature, "temperature")
    count, truth = density.sum(dim=(1, 2, 3)), target_density.sum(dim=(1, 2, 3))
    images = len(count)
    scale = images + 1 - 2 * torch.arange(1, images + 1, dtype=count.dtype, device=count.device)
    spread = (count[:, None] - count).abs().sum(dim=1)
    logits = (scale[:, None] * count - spread) / temperature
    same = (truth.sort(descending=True).values[:, None] == truth).to(count)
    return -(same / same.sum(dim=1, keepdim=True) * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()


def nested_windows(
    size: tuple[int, int], *, smaller: int = 4, factor: float = 0.75, anchor: float = 0.125
) -> list[tuple[int, int, int]]:
    """Nested square windows around a random point, the largest first (MD, Liu et al., CVPR 2018).

    Args:
        size: (height, width) of the image in pixels.
        smaller: how many windows follow the largest that fits.
        factor: side of a window as a share of the window around it.
        anchor: the point is drawn from a box around the image's centre; the box's sides as a share of the image's.

    Returns:
        (left, top, side) of each window in pixels. The point is drawn from torch's own generator.
    """
    height, width = size
    check_whole(min(size), "the image's shorter side", least=2)
    check_whole(smaller, "smaller")
    for value, name in ((factor, "factor"), (anchor, "anchor")):
        check_positive(value, name)
        if value > 1:
            raise ValueError(f"{name} is {value!r}, expected at most 1")
    share = (torch.rand(2) - 0.5) * anchor + 0.5
    x, y = float(share[0]) * width, float(share[1]) * height
    half = min(x, y, width - x, height - y)
    sides = [max(1, int(2 * half * factor**step)) for step in range(smaller + 1)]
    return [(int(x - side / 2), int(y - side / 2), side) for side in sides]


@in_single
def nested_ranking(counts: Float[Tensor, "b p"]) -> Float[Tensor, ""]:
    r"""MD: a window counts at least as many people as the window inside it, :math:`\sum_p \max(0, c_{p+1} - c_p)`.

    Windows cut from one non-negative map always fulfil this, so each window needs a prediction of its own.

    Args:
        counts: (B, P), the predicted counts of nested windows, the largest first.

    Returns:
        A scalar in people, the mean over the batch.
    """
    check_tensor(counts, "counts", shape=(None, None))
    return (counts[:, 1:] - counts[:, :-1]).clamp(min=0).sum(dim=1).mean()
