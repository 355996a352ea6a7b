"""Randomized ablation of a counter: its answer when most of the image is hidden, and how far an attack can move it.

The image is divided into square cells. A draw shows ``keep`` of them and hides the rest, and the count is the median
over many draws. An attack that changes a few cells is rarely seen: a draw shows none of them with a probability that
depends on numbers only. So the interval in which the attacked count lies is certain, up to the draws.

References:
    Levine and Feizi, "Robustness Certificates for Sparse Adversarial Attacks by Randomized Ablation", AAAI 2020.
    Chiang et al., "Detection as Regression: Certified Object Detection with Median Smoothing", NeurIPS 2020.
    Wu et al., "Towards Adversarial Patch Analysis and Certified Defense against Crowd Counting", ACM MM 2021.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.adversarial.attacks import Model, attacked, check_inputs
from workbench.adversarial.tasks import people
from workbench.checks import check_positive, check_whole
from workbench.tensor_checks import check_tensor

DRAWS_AT_A_TIME = 32


def cells_of(size: tuple[int, int], block: int) -> int:
    """The number of cells of an image of (height, width); those at the border may be smaller."""
    check_whole(block, "block")
    return math.ceil(size[0] / block) * math.ceil(size[1] / block)


def patch_cells(side: int, block: int) -> int:
    """The largest number of cells that a square patch of ``side`` pixels touches, wherever it lies."""
    check_whole(side, "side")
    check_whole(block, "block")
    return ((side + block - 2) // block + 1) ** 2


def ablate(
    images: Float[Tensor, "b c h w"],
    *,
    keep: int,
    block: int = 8,
    fill: float = 0.5,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "b c h w"]:
    """Show ``keep`` random cells of each image and paint the rest grey; each image has its own draw.

    Also the augmentation by which a counter is trained for :func:`certified_count`.

    Args:
        images: (B, C, H, W).
        keep: the number of cells that are shown.
        block: side of a cell in pixels.
        fill: the value of hidden pixels.
        generator: of the draws, on the images' device; torch's own if None.

    Raises:
        ValueError: more cells are to be shown than there are.
    """
    check_tensor(images, "images", shape=(None, None, None, None))
    check_whole(keep, "keep")
    count, height, width = len(images), *images.shape[-2:]
    cells = cells_of((height, width), block)
    if keep > cells:
        raise ValueError(f"keep is {keep}, expected at most {cells}, the cells of the image")
    order = torch.rand(count, cells, generator=generator, device=images.device).argsort(dim=1)
    shown = torch.zeros_like(order).scatter(1, order[:, :keep], 1).to(images.dtype)
    grid = shown.view(count, 1, math.ceil(height / block), math.ceil(width / block))
    mask = F.interpolate(grid, scale_factor=float(block), mode="nearest")[..., :height, :width]
    return torch.where(mask > 0, images, torch.full_like(images, fill))


def ablated_counts(
    model: Model,
    image: Float[Tensor, "1 c h w"],
    *,
    keep: int,
    block: int = 8,
    samples: int = 101,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "samples"]:
    """The counts of ``samples`` draws of one image, in ascending order, in people."""
    check_inputs(image, image)
    check_whole(samples, "samples")
    if len(image) != 1:
        raise ValueError(f"image has {len(image)} images, expected one")
    counts = []
    with attacked(model), torch.no_grad():
        for number in torch.full((samples,), 0).split(DRAWS_AT_A_TIME):
            drawn = ablate(image.expand(len(number), -1, -1, -1), keep=keep, block=block, generator=generator)
            counts.append(people(model(drawn)))
    return torch.cat(counts).sort().values


def smoothed_count(model: Model, image: Float[Tensor, "1 c h w"], *, samples: int = 101, **options: object) -> float:
    """The smoothed counter's answer: the median count over an odd number of draws; see :func:`ablated_counts`."""
    _check_odd(samples)
    return float(ablated_counts(model, image, samples=samples, **options)[samples // 2])  # type: ignore[arg-type]


class CertifiedCount(NamedTuple):
    """A smoothed count and the interval that no attack of a given size leaves, in people.

    Attributes:
        answer: the smoothed counter's count of the clean image.
        low: what it answers at least to the attacked image.
        high: what it answers at most; infinity where nothing can be said.
        seen: the largest probability that a draw shows a changed cell.
    """

    answer: float
    low: float
    high: float
    seen: float


def certified_count(
    model: Model,
    image: Float[Tensor, "1 c h w"],
    *,
    changed: int,
    keep: int,
    block: int = 8,
    samples: int = 101,
    confidence: float = 0.999,
    generator: torch.Generator | None = None,
) -> CertifiedCount:
    """The interval of the smoothed count under any change of at most ``changed`` cells; see :func:`certify`.

    Args:
        model: a counter from images to densities.
        image: (1, C, H, W), in [0, 1].
        changed: number of cells that the attack may change; :func:`patch_cells` gives that of a patch.
        keep: number of cells that a draw shows.
        block: side of a cell in pixels.
        samples: number of draws, odd; the attacked image has as many, in new draws.
        confidence: the probability that the interval holds for an attack that knows the clean image and the model, but
            not the draws to come.
        generator: of the draws.

    Raises:
        ValueError: an option is out of range, or the image is not in [0, 1].
    """
    _check_odd(samples)
    cells = cells_of((image.shape[-2], image.shape[-1]), block)
    counts = ablated_counts(model, image, keep=keep, block=block, samples=samples, generator=generator)
    return certify(counts, cells=cells, changed=changed, keep=keep, confidence=confidence)


def certify(
    counts: Float[Tensor, "samples"], *, cells: int, changed: int, keep: int, confidence: float = 0.999
) -> CertifiedCount:
    r"""The certified interval from the sorted counts of an odd number of draws.

    A draw shows a changed cell with probability :math:`\Delta = 1 - \binom{d - c}{k} / \binom{d}{k}`, for d cells of
    which k are shown and c are changed. So the distribution function of the counts moves by at most :math:`\Delta`.
    Two binomial bounds give the upper end. The median of the draws at the attacked image is at most the quantile p of
    their distribution. The k-th smallest of our draws is at least the quantile :math:`p + \Delta` of ours. The lower
    end is found in the same way.

    Args:
        counts: of :func:`ablated_counts`.
        cells: d.
        changed: c.
        keep: k.
        confidence: see :func:`certified_count`.

    Raises:
        ValueError: more cells are changed than there are, or another option is out of range.
    """
    from scipy.stats import beta, binom, hypergeom

    samples = len(counts)
    _check_odd(samples)
    check_whole(changed, "changed", least=0)
    check_positive(1 - confidence, "1 - confidence")
    if changed > cells:
        raise ValueError(f"changed is {changed}, expected at most {cells}, the cells of the image")
    seen = float(hypergeom(cells, changed, keep).sf(0)) if changed else 0.0
    middle, doubt = samples // 2, (1 - confidence) / 4  # two bounds on each of two sides
    level = float(beta.ppf(1 - doubt, middle + 1, samples - middle)) + seen
    place = int(binom.isf(doubt, samples, level)) if level < 1 else samples  # counted from zero
    low, high = 0.0, math.inf  # a density is not negative
    if place < samples:
        low, high = float(counts[samples - 1 - place]), float(counts[place])
    return CertifiedCount(float(counts[middle]), low, high, seen)


def _check_odd(samples: int) -> None:
    check_whole(samples, "samples")
    if samples % 2 == 0:
        raise ValueError(f"samples is {samples}, expected an odd number, so that there is a median")
