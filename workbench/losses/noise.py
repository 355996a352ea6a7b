"""NoiseCC: a Gaussian likelihood of the density map when the annotations are displaced at random."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.checks import check_positive, check_whole
from workbench.losses.base import CrowdLoss, batched
from workbench.losses.point_to_region import regions
from workbench.models.base import ModelOutput
from workbench.points import cell_axis, cell_centres

CHOSEN_GUARD = 1e-10
"""Variance per px^4 that is added twice to the cells of the covariance, as published."""


def gaussian(squared: Tensor, variance: float) -> Tensor:
    r""":math:`N(q; v) = \exp(-|q|^2 / 2 v) / 2 \pi v` of a squared distance."""
    return torch.exp(-squared / (2 * variance)) / (2 * math.pi * variance)


def kernel_sums(
    points: Float[Tensor, "b n 2"], weights: Float[Tensor, "b n"], size: tuple[int, int], stride: float, variance: float
) -> Float[Tensor, "b h w"]:
    r""":math:`\sum_j w_j N(x - y_j; v)` at each cell, as one matrix product of the rows' and the columns' factors."""
    rows, columns = (
        torch.exp(
            -(cell_axis(cells, stride, dtype=points.dtype, device=points.device) - place[..., None]).square()
            / (2 * variance)
        )
        for cells, place in zip(size, (points[..., 1], points[..., 0]), strict=True)
    )
    return (rows * weights[..., None]).mT @ columns / (2 * math.pi * variance)


def covariance(
    cells: Float[Tensor, "b k 2"],
    points: Float[Tensor, "b n 2"],
    weights: Float[Tensor, "b n"],
    *,
    displacement: float,
    bandwidth: float,
) -> Float[Tensor, "b k k"]:
    r"""The covariance of the density at pairs of places, per px^4.

    An annotation j is a Gaussian kernel of variance :math:`\beta` whose centre is displaced by
    :math:`\mathcal{N}(0, \alpha I)`. Its mean is :math:`\mu_j(x) = N(x - y_j; \alpha + \beta)`, and

    .. math:: \mathrm{cov}(x, x') = \sum_j w_j \big[ N(x - x'; 2 \beta)
              N(\tfrac{x + x'}{2} - y_j; \alpha + \tfrac{\beta}{2}) - \mu_j(x) \mu_j(x') \big]

    Args:
        cells: (B, K, 2), x then y, image pixels.
        points: (B, N, 2), image pixels.
        weights: (B, N), independent people at each annotation.
        displacement: standard deviation of the displacement in pixels, the root of alpha.
        bandwidth: standard deviation of the kernel in pixels, the root of beta.
    """
    alpha, beta = displacement**2, bandwidth**2
    middle = alpha + beta / 2
    squared = (cells[:, :, None] - points[:, None]).square().sum(dim=-1)
    apart = (cells[:, :, None] - cells[:, None]).square().sum(dim=-1)
    # |(x + x') / 2 - y|^2 = (|x - y|^2 + |x' - y|^2) / 2 - |x - x'|^2 / 4: a product of matrices does the sum
    near = torch.exp(-squared / (4 * middle))
    second = (near * weights[:, None]) @ near.mT * torch.exp(-apart * (1 / (4 * beta) - 1 / (8 * middle)))
    mean = gaussian(squared, alpha + beta)
    return second / (4 * math.pi * beta * 2 * math.pi * middle) - (mean * weights[:, None]) @ mean.mT


class Moments(NamedTuple):
    """The Gaussian that a density map is compared with, in people per cell.

    Attributes:
        mean: (B, H, W).
        variance: (B, H, W), with the background's and the floor.
        guard: (B,), what is added to the variance of the chosen cells.
        chosen: (B, K), the cells of the low-rank part.
        real: (B, K), which of them are meant; the others are there to fill the shape.
        matrix: (B, K, K), the covariance of the chosen cells, diagonal and all; the identity for the others.
    """

    mean: Float[Tensor, "b h w"]
    variance: Float[Tensor, "b h w"]
    guard: Float[Tensor, "b"]
    chosen: Int[Tensor, "b k"]
    real: Bool[Tensor, "b k"]
    matrix: Float[Tensor, "b k k"]


class NoiseLoss(CrowdLoss):
    r"""The negative log-likelihood of the density under the Gaussian of displaced annotations.

    Each annotation is displaced by :math:`\mathcal{N}(0, \alpha I)` and has a kernel of variance :math:`\beta`. The
    mean and the covariance of the density map are those of :func:`covariance`, times f and f^2. The factor f makes the
    mean sum to the number of people also at the image's border. With the residual r, the variance v, and the
    covariance C of the M cells of the largest variance,

    .. math:: \mathcal{L} = \frac{\lambda}{2} \Big( \sum_{i \notin M} \frac{r_i^2}{v_i} + r_M^\top C^{-1} r_M \Big)

    There is no log-determinant, because it does not depend on the density. The M cells hold 60 % of the annotations'
    variance; there are at most 100 of them. Everything but r depends on the annotations alone. It is computed in
    float64, without a gradient.

    With ``background``, each cell has a dummy annotation at the distance
    :math:`0.15 S \exp(-d / \sqrt{\alpha + \beta})`, with d the distance to the nearest annotation and S the shorter
    side of the image. It adds its own second moment to v. Without it, v is almost zero far from everybody, so there
    the paper's convention adds 2.5e-8 per px^4 instead. At a stride of 8 that is 1e-4 square people.

    A weight below one is the part of a person inside the image, as the published targets are: f makes them whole. A
    weight above one is so many people on one spot. In an image of nobody the loss is the sum of the density.

    The published code (``convention="official"``) adds :math:`\sum_j N(x - x'; 2 \beta)` to the covariance of
    different cells. Then C has negative eigenvalues, and the M cells around the heads keep almost nothing of their
    penalty. In a batch that code sums the covariance over the annotations of all images.

    Terms: ``likelihood``.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper" or "official".
        displacement: standard deviation of an annotation's error in pixels, the root of alpha.
        bandwidth: standard deviation of the kernel in pixels, the root of beta.
        background: whether there is a dummy annotation.
        background_ratio: its distance at an annotation as a fraction of S.
        background_distance: the same distance in pixels, instead of ``background_ratio``. Set it where the maps are
            crops: S is of the whole image.
        share: of the annotations' variance that the M cells hold.
        rank: the largest M.
        floor: variance added to every cell, per px^4; None: 1e-14, or 2.5e-8 without a background in the paper's
            convention.
        weight: lambda.

    Reference:
        Wan and Chan, "Modeling Noisy Annotations for Crowd Counting", NeurIPS 2020.
    """

    def __init__(
        self,
        *,
        stride: int = 8,
        convention: str = "paper",
        displacement: float = 8.0,
        bandwidth: float = 8.0,
        background: bool = True,
        background_ratio: float = 0.15,
        background_distance: float | None = None,
        share: float = 0.6,
        rank: int = 100,
        floor: float | None = None,
        weight: float = 0.01,
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        if floor is None:
            floor = 2.5e-8 if convention == "paper" and not background else 1e-14
        positive = {"displacement": displacement, "bandwidth": bandwidth, "background_ratio": background_ratio}
        for name, value in (positive | {"floor": floor, "weight": weight}).items():
            check_positive(value, name)
        if background_distance is not None:
            check_positive(background_distance, "background_distance")
        if not 0 <= share <= 1:
            raise ValueError(f"share is {share!r}, expected a number from 0 to 1")
        check_whole(rank, "rank", least=0)
        self.displacement = displacement
        self.bandwidth = bandwidth
        self.background = background
        self.background_ratio = background_ratio
        self.background_distance = background_distance
        self.share = share
        self.rank = rank
        self.floor = floor
        self.weight = weight

    @torch.no_grad()
    def moments(
        self,
        points: Float[Tensor, "b n 2"],
        weights: Float[Tensor, "b n"],
        real: Bool[Tensor, "b n"],
        size: tuple[int, int],
    ) -> Moments:
        """Mean and covariance for maps of ``size`` = (H, W), in float64."""
        height, width = size
        points, weights = points.double(), weights.double()
        official = self.convention == "official"
        people = real.double() if official else torch.where(weights > 0, weights.clamp(min=1), 0)
        alpha, beta = self.displacement**2, self.bandwidth**2
        total, middle = alpha + beta, alpha + beta / 2

        mean = kernel_sums(points, weights, size, self.stride, total)
        factor = people.sum(dim=1) / mean.sum(dim=(1, 2)).clamp(min=torch.finfo(mean.dtype).tiny)
        factor = factor[:, None, None]
        # N(q; v)^2 = N(q; v / 2) / 4 pi v, and N(0; 2 beta) = 1 / 4 pi beta
        second = kernel_sums(points, people, size, self.stride, middle) / (4 * math.pi * beta)
        squares = kernel_sums(points, people, size, self.stride, total / 2) / (4 * math.pi * total)
        own = factor.square() * (second - squares).clamp(min=0)

        cells = cell_centres(size, self.stride, dtype=points.dtype, device=points.device)
        variance = own + factor.square() * self.floor
        if self.background:
            distance = self.background_distance or self.background_ratio * min(size) * self.stride
            apart = regions(cells, points, people > 0).distance.reshape(own.shape)
            dummy = distance * torch.exp(-apart / math.sqrt(total))
            variance = variance + factor.square() * gaussian(dummy.square(), middle) / (4 * math.pi * beta)

        # nobody in an image: the loss does not read its moments, which have to be finite
        variance = torch.where(factor > 0, variance, 1)

        largest, chosen = own.flatten(1).topk(min(self.rank, height * width), dim=1)
        before = largest.cumsum(dim=1) - largest
        meant = (before < self.share * own.sum(dim=(1, 2))[:, None]) & (largest > 0)
        places = cells[chosen]
        kernels = {"displacement": self.displacement, "bandwidth": self.bandwidth}
        if official:
            images = len(points)
            every, count = points.flatten(0, 1).expand(images, -1, -1), people.flatten().expand(images, -1)
            matrix = covariance(places, every, count, **kernels)
            between = (places[:, :, None] - places[:, None]).square().sum(dim=-1)
            matrix = matrix + people.sum() * gaussian(between, 2 * beta)
        else:
            matrix = covariance(places, points, people, **kernels)
        guard = CHOSEN_GUARD * factor[:, 0, 0].square()
        diagonal = variance.flatten(1).gather(1, chosen) + 2 * guard[:, None]
        matrix = factor.square() * matrix
        matrix = matrix - torch.diag_embed(matrix.diagonal(dim1=1, dim2=2) - diagonal)
        identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
        matrix = torch.where(meant[:, :, None] & meant[:, None], matrix, identity)
        return Moments(factor * mean, variance, guard, chosen, meant, matrix)

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """One term, ``likelihood``."""
        density = result.density[:, 0]
        height, width = density.shape[-2:]
        places, people, real = batched(points, weights)
        known = self.moments(places, people, real, (height, width))
        rest = density.double() - known.mean
        penalty = (rest.square() / known.variance).sum(dim=(1, 2))
        chosen = torch.where(known.real, rest.flatten(1).gather(1, known.chosen), 0)
        variance = known.variance.flatten(1).gather(1, known.chosen)
        # by Woodbury's formula the low-rank part is V^-1 - C^-1, where V is the diagonal of C without its guard
        alone = (chosen.square() / (variance + known.guard[:, None])).sum(dim=1)
        together = (chosen * torch.linalg.solve_ex(known.matrix, chosen)[0]).sum(dim=1)
        image = self.weight / 2 * (penalty - alone + together)
        image = torch.where((people > 0).any(dim=1), image, density.double().sum(dim=(1, 2)))
        return {"likelihood": image.mean().to(density.dtype)}
