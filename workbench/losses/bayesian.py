"""The Bayesian loss: the posterior of the annotations divides each cell's density among them."""

import functools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from workbench.checks import check_choice, check_positive
from workbench.losses.base import SOLVERS, CrowdLoss, batched
from workbench.models.base import ModelOutput
from workbench.points import cell_axis, cell_centres
from workbench.tensor_checks import check_points, check_tensor
from workbench.transport.batched import CHUNK_BYTES
from workbench.transport.nearest import as_array, grid, nearest

PAPER_RATIO, OFFICIAL_RATIO = 0.15, 1.0
HELD_AT_ONCE = 5  # arrays of cells x annotations of a batch that are held at once
CHUNK = 1 << 20  # entries of a block of cells x annotations: bounds the memory of the log-domain softmax


def background_log_likelihood(
    points: Float[Tensor, "n 2"],
    size: tuple[int, int],
    *,
    sigma: float,
    stride: float,
    distance: float,
    convention: str = "paper",
) -> Float[Tensor, "h w"]:
    r"""Log-likelihood of each cell under its dummy background point: [GL supp 5], [GL supp 6] and [GL supp 7].

    .. math:: \bar y_i = y_{\eta(i)} + d \frac{x_i - y_{\eta(i)}}{r_i}, \quad
              \log \bar k_i = -\frac{\|x_i - \bar y_i\|^2}{\varepsilon} = -\frac{(d - r_i)^2}{\varepsilon}

    with :math:`r_i = \|x_i - y_{\eta(i)}\|` the distance to the nearest annotation and
    :math:`\varepsilon = 2 \sigma^2`. The published code has :math:`-d^2 / (2 \sigma^2 r_i^2)` instead.

    Args:
        points: (N, 2), at least one, image pixels.
        size: (H, W) of the map in cells.
        sigma: standard deviation in image pixels.
        stride: side of a cell in image pixels.
        distance: d, from the nearest annotation to the dummy point, in image pixels.
        convention: "paper" or "official".
    """
    radius = torch.as_tensor(nearest(as_array(points), grid(size, stride))[0]).to(points).reshape(size)
    return _background(radius, sigma, distance, convention)


def _background(radius: Tensor, sigma: float, distance: float, convention: str) -> Tensor:
    # the published code guards its division with 1e-5 square pixels
    squared = distance**2 / (radius.square() + 1e-5) if convention == "official" else (distance - radius).square()
    return -squared / (2 * sigma**2)


def posterior(
    points: Float[Tensor, "n 2"],
    size: tuple[int, int],
    *,
    sigma: float = 8.0,
    stride: float = 8,
    background: Float[Tensor, "h w"] | None = None,
) -> Float[Tensor, "k h w"]:
    r"""The posterior of each annotation at each cell, and last that of the background if it is given.

    .. math:: \hat\pi_{ij} = \frac{K_{ij}}{\bar k_i + \sum_k K_{ik}}, \quad K_{ij} = \exp(-\|x_i - y_j\|^2 / 2\sigma^2)

    The background's part is the weight :math:`\bar\omega_i = \bar k_i / (\bar k_i + \sum_k K_{ik})` of
    [GL supp 4]. In the paper's convention :math:`\bar k_i = \exp(2 d r_i / \varepsilon - d^2 / \varepsilon)
    K_{i, \eta(i)}` by [GL supp 8], [GL supp 9] and [GL supp 10], so the weight is also

    .. math:: \bar\omega_i = \exp(2 d r_i / \varepsilon - d^2 / \varepsilon) \, \bar\pi_i, \quad
              \bar\pi_i = \frac{K_{i, \eta(i)}}{\bar k_i + \sum_k K_{ik}}

    which are [GL supp 11] and [GL supp 12]; symbols as in :func:`background_log_likelihood`.

    This function makes the whole (N, H, W) array, for pictures and tests. :func:`expected_counts` does without it.

    Args:
        points: (N, 2), at least one, image pixels.
        size: (H, W) of the map in cells.
        sigma: standard deviation in image pixels.
        stride: side of a cell in image pixels.
        background: (H, W) log-likelihoods, see :func:`background_log_likelihood`.

    Returns:
        (N, H, W), or (N + 1, H, W) with a background; sums to one over its first dimension.

    Raises:
        ValueError: no points, or a setting out of range.
    """
    check_points(points)
    check_positive(sigma, "sigma")
    if not len(points):
        raise ValueError("points has no entries, expected at least one annotation to share the density among")
    cells = cell_centres(size, stride, dtype=points.dtype, device=points.device)
    extra = None if background is None else background.reshape(-1)
    return _softmax(cells, points, sigma, extra).T.reshape(-1, *size)


def _softmax(cells: Tensor, points: Tensor, sigma: float, background: Tensor | None) -> Tensor:
    squared = (cells[:, None] - points).square()
    logits = -(squared[..., 0] + squared[..., 1]) / (2 * sigma**2)
    if background is not None:
        logits = torch.cat([logits, background[:, None]], dim=1)
    return torch.softmax(logits, dim=1)


def expected_counts(
    density: Float[Tensor, "h w"],
    points: Float[Tensor, "n 2"],
    *,
    sigma: float = 8.0,
    stride: float = 8,
    background: Float[Tensor, "h w"] | None = None,
    validate: bool = True,
) -> tuple[Float[Tensor, "n"], Float[Tensor, ""]]:
    r"""The people that the density gives to each annotation, :math:`\sum_i \hat\pi_{ij} a_i`, and to the background.

    A Gaussian on a grid is a product of a factor for the row and one for the column, so the denominators and the sums
    are matrix products of (H, N) and (N, W). Where the product underflows, far from everybody, a softmax in the log
    domain takes its place.

    Args:
        density: (H, W), people per cell.
        points: (N, 2), at least one, image pixels.
        sigma: standard deviation in image pixels.
        stride: side of a cell in image pixels.
        background: (H, W) log-likelihoods of the background, or None for no background.
        validate: whether the values of the density are checked. The checks wait for the device.

    Returns:
        (N,) expected counts and the background's; together they sum to the density's sum.
    """
    check_tensor(density, "density", shape=(None, None), values=validate)
    height, width = density.shape
    limits = torch.finfo(density.dtype)
    kernels = []
    for length, coordinate in ((height, points[:, 1]), (width, points[:, 0])):
        centres = cell_axis(length, stride, dtype=density.dtype, device=density.device)
        exponent = -(centres[:, None] - coordinate).square() / (2 * sigma**2)
        # denormal numbers are slow on a CPU, and far below the floor of `near` below
        underflow = exponent < math.log(limits.tiny)
        kernels.append(exponent.masked_fill(underflow, 0).exp().masked_fill(underflow, 0))
    rows, columns = kernels
    likelihood = rows @ columns.T
    dummy = torch.zeros_like(likelihood) if background is None else background.exp()
    evidence = likelihood + dummy
    near = evidence > math.sqrt(limits.tiny)
    share = torch.where(near, density, 0) / torch.where(near, evidence, 1)
    counts = ((rows.T @ share) * columns.T).sum(dim=1)
    empty = (share * dummy).sum()
    far = (~near).reshape(-1).nonzero()[:, 0]
    if not len(far):
        return counts, empty
    cells = cell_centres((height, width), stride, dtype=density.dtype, device=density.device)
    people = density.reshape(-1)
    for part in far.split(max(1, CHUNK // len(points))):
        extra = None if background is None else background.reshape(-1)[part]
        shares = _softmax(cells[part], points, sigma, extra)
        counts = counts + people[part] @ shares[:, : len(points)]
        if background is not None:
            empty = empty + people[part] @ shares[:, -1]
    return counts, empty


class BayesianLoss(CrowdLoss):
    r"""Point-wise supervision by the expected count of each annotation (BL), with a background model (BL+).

    .. math:: \mathcal{L} = \sum_j \Big| b_j - \sum_i \hat\pi_{ij} a_i \Big| + \sum_i \bar\omega_i a_i

    The background term is [GL 15] and [GL supp 3], see :func:`posterior` for the weight. Without it, this is the
    second term of [GL 14]. The first one, with another background weight
    :math:`\omega_i = \sum_j \|x_i - y_j\|^2 \hat\pi_{ij}`, comes from transport along the half-iterated plan, [GL 13]:
    ``GeneralizedLoss(plan="rows", cost="squared")`` computes it. [PML p. 10] writes the loss for the cells of one
    annotation, :math:`q^\top a + |1^\top a - 1|`.

    The weights b_j change the targets alone, like the box-overlap ratios in the published code. An image of nobody is
    all background: its loss is the sum of the density, with and without a background model.

    Terms: ``points``, ``background``.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper"; "official" has the published background likelihood, see
            :func:`background_log_likelihood`.
        sigma: standard deviation of an annotation's likelihood in image pixels.
        background: whether there is a background model.
        background_distance: distance d of the dummy background point in image pixels; None: by ``background_ratio``.
        background_ratio: d as a fraction of the image's shorter side; None: 0.15 (paper), 1 (official).
        solver: "screened", image by image; "batched", all images at once; "auto": screened on a CPU, else batched.

    Reference:
        Ma et al., "Bayesian Loss for Crowd Count Estimation with Point Supervision", ICCV 2019; Wan, Liu and Chan,
        CVPR 2021, sec. 4.3 and supplement B.
    """

    def __init__(
        self,
        *,
        stride: int = 8,
        convention: str = "paper",
        sigma: float = 8.0,
        background: bool = True,
        background_distance: float | None = None,
        background_ratio: float | None = None,
        solver: str = "auto",
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        check_positive(sigma, "sigma")
        check_choice(solver, SOLVERS, "solver")
        self.solver = solver
        if background_distance is not None and background_ratio is not None:
            raise ValueError(
                f"background_distance is {background_distance!r} and background_ratio {background_ratio!r}, "
                "expected at most one of them"
            )
        for value, name in ((background_distance, "background_distance"), (background_ratio, "background_ratio")):
            if value is not None:
                check_positive(value, name)
        self.sigma = sigma
        self.background = background
        self.background_distance = background_distance
        self.background_ratio = background_ratio or (OFFICIAL_RATIO if convention == "official" else PAPER_RATIO)

    def _distance(self, size: tuple[int, int]) -> float:
        """From an annotation to its dummy background point in pixels."""
        return self.background_distance or self.background_ratio * min(size) * self.stride

    def background_map(self, points: Float[Tensor, "n 2"], size: tuple[int, int]) -> Float[Tensor, "h w"] | None:
        """Log-likelihoods of the background for a map of ``size``, None without a background model."""
        if not self.background:
            return None
        distance = self._distance(size)
        return background_log_likelihood(
            points, size, sigma=self.sigma, stride=self.stride, distance=distance, convention=self.convention
        )

    def image_terms(
        self, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"], weights: Float[Tensor, "n"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Two terms, ``points`` and ``background``."""
        if not len(points):
            return {"points": density.new_zeros(()), "background": density.sum()}
        height, width = density.shape
        background = self.background_map(points, (height, width))
        counts, empty = expected_counts(
            density, points, sigma=self.sigma, stride=self.stride, background=background, validate=False
        )
        return {"points": (counts - weights).abs().sum(), "background": empty}

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """As :meth:`image_terms`; all at once by a softmax in the log domain, computed again for the gradient."""
        if not self.together(result.density) or not any(len(image_points) for image_points in points):
            return super().batch_terms(result, points, weights)
        density = result.density[:, 0]
        places, people, real = batched(points, weights)
        cells = cell_centres(
            (density.shape[1], density.shape[2]), self.stride, dtype=people.dtype, device=people.device
        )
        distance = self._distance((density.shape[1], density.shape[2]))

        def counts(part: Float[Tensor, "b k"], centres: Float[Tensor, "k 2"]) -> Float[Tensor, "b m"]:
            return (part[:, None] @ self._shares(centres, places, real, distance))[:, 0]

        size = max(1, CHUNK_BYTES // (HELD_AT_ONCE * people.element_size() * people.numel()))
        parts = list(zip(density.flatten(1).split(size, dim=1), cells.split(size), strict=True))
        if len(parts) == 1:
            found = counts(*parts[0])
        else:
            again = functools.partial(checkpoint, counts, use_reentrant=False, preserve_rng_state=False)
            found = torch.stack([again(*part) for part in parts]).sum(dim=0)
        return {
            "points": (found[:, :-1] - people).abs().sum(dim=1).mean(),
            "background": found[:, -1].mean(),
        }

    @torch.no_grad()
    def _shares(
        self, cells: Float[Tensor, "k 2"], points: Float[Tensor, "b n 2"], real: Bool[Tensor, "b n"], distance: float
    ) -> Float[Tensor, "b k m"]:
        """The posterior of each annotation and last of the background; an image of nobody is all background."""
        x, y = ((cells[:, None, axis] - points[:, None, :, axis]).square_() for axis in (0, 1))
        squared = x.add_(y).masked_fill_(~real[:, None], torch.inf)
        none = ~real.any(dim=1, keepdim=True)
        radius = squared.amin(dim=2).masked_fill(none, 0).sqrt_()
        background = torch.full_like(radius, -torch.inf)
        if self.background:
            background = _background(radius, self.sigma, distance, self.convention)
        logits = torch.cat([squared.mul_(-0.5 / self.sigma**2), background.masked_fill(none, 0)[..., None]], dim=2)
        return logits.softmax(dim=2)
