"""The characteristic-function loss (ChfL, GCFL): density and annotations compared in the frequency domain."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from workbench.checks import check_choice, check_positive, check_whole
from workbench.losses.base import CrowdLoss, batched
from workbench.models.base import ModelOutput
from workbench.points import cell_axis
from workbench.tensor_checks import check_not_negative, check_tensor

DISTANCES = ("l1", "dense", "l2", "robust")


def frequencies(
    ticks: int, tick: float, *, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Float[Tensor, "t"]:
    """The frequencies along one axis, -ticks to ticks - 1 times ``tick``, in radians per pixel."""
    return torch.arange(-ticks, ticks, dtype=dtype or torch.get_default_dtype(), device=device) * tick


def waves(t: Float[Tensor, "t"], x: Float[Tensor, "*b n"]) -> Complex[Tensor, "*b t n"]:
    r""":math:`\exp(i t x)` for each frequency and coordinate."""
    phase = t[:, None] * x[..., None, :]
    return torch.complex(phase.cos(), phase.sin())


def density_transform(
    density: Float[Tensor, "b h w"], t: Float[Tensor, "t"], stride: float
) -> Complex[Tensor, "b t t"]:
    r"""The characteristic function of each map, :math:`\varphi_D(t) = \sum_c D_c \exp(i t \cdot x_c)`.

    The wave of a cell is the product of one for its row and one for its column. So the transform is two matrix
    products, :math:`E_y D E_x^\top`.

    Args:
        density: (B, H, W), people per cell.
        t: frequencies of both axes in radians per pixel.
        stride: side of a cell in image pixels.

    Returns:
        (B, T, T): first the frequency along y, then the one along x.
    """
    rows, columns = (
        waves(t, cell_axis(cells, stride, dtype=density.dtype, device=density.device)) for cells in density.shape[-2:]
    )
    return rows @ (torch.complex(density, torch.zeros_like(density)) @ columns.T)


def point_transform(
    points: Float[Tensor, "b n 2"], weights: Float[Tensor, "b n"], t: Float[Tensor, "t"], bandwidth: float = 0.0
) -> Complex[Tensor, "b t t"]:
    r"""That of the annotations under a Gaussian kernel, :math:`e^{-\sigma^2 |t|^2 / 2} \sum_j b_j \exp(i t \cdot y_j)`.

    Args:
        points: (B, N, 2), x then y, image pixels.
        weights: (B, N), people per annotation.
        t: frequencies of both axes in radians per pixel.
        bandwidth: standard deviation of the kernel in pixels.
    """
    columns, rows = waves(t, points[..., 0]), waves(t, points[..., 1])
    return _smooth(t, bandwidth**2 / 2) * ((rows * weights[:, None]) @ columns.mT)


def _smooth(t: Tensor, factor: float) -> Tensor:
    decay = torch.exp(-factor * t.square())
    return decay[:, None] * decay


class CharacteristicLoss(CrowdLoss):
    r"""The distance of two characteristic functions, on a square grid of frequencies of spacing h.

    With :math:`R(t) = \sum_c D_c e^{i t \cdot x_c} - e^{-\sigma^2 |t|^2 / 2} \sum_j b_j e^{i t \cdot y_j}`, the
    kernel's bandwidth :math:`\sigma` on the annotations alone, the forms are

    .. math:: \text{l1} = h^2 \sum_t |R(t)|, \quad
              \text{dense} = h^2 \sum_{t_y} \big( \|\mathrm{Re} R(t_y, \cdot)\|_2
                                                 + \|\mathrm{Im} R(t_y, \cdot)\|_2 \big), \quad
              \text{l2} = h \Big( \sum_t |R(t)|^2 \Big)^{1/2}

    and :math:`\text{robust} = h^2 \sum_t |R(t)| / \sqrt{k m g(t) + 1}`, for annotations that are displaced by
    :math:`\mathcal{N}(0, S^2)`. There m is the sum of the squared weights, and
    :math:`g(t) = (1 - e^{-S^2 |t|^2}) e^{-\sigma^2 |t|^2}` the variance of one displaced annotation. At t = 0 all
    forms compare the counts. Every form is zero only for equal transforms.

    The published code (``convention="official"``) trains "dense" where it names its loss L1, never "l1" itself. Its
    robust form has no factor :math:`h^2`, counts the annotations in m, and has half of both exponents in g.

    Places that lie :math:`2 \pi / h` apart, 628 px, are one place for these frequencies. A larger image needs a
    smaller ``tick``.

    Terms: ``characteristic``.

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper" or "official".
        form: "l1", "dense", "l2" or "robust"; None: "l1", officially "dense".
        ticks: half the number of frequencies of an axis.
        tick: spacing h of the frequencies in radians per pixel.
        bandwidth: sigma in image pixels.
        noise: S of the robust form, standard deviation of an annotation's error in image pixels.
        coefficient: k of the robust form.
        variance: (2 ticks, 2 ticks), g at each frequency, y first; None: the g above.

    Reference:
        Shu, Wan, Tan, Kwong and Chan, "Crowd Counting in the Frequency Domain", CVPR 2022; the robust form is of its
        extension, "Generalized Characteristic Function Loss for Crowd Analysis in the Frequency Domain".
    """

    def __init__(
        self,
        *,
        stride: int = 8,
        convention: str = "paper",
        form: str | None = None,
        ticks: int = 30,
        tick: float = 0.01,
        bandwidth: float = 8.0,
        noise: float = 20.0,
        coefficient: float = 1.0,
        variance: Float[Tensor, "t t"] | None = None,
    ) -> None:
        super().__init__(stride=stride, convention=convention)
        form = form or ("dense" if convention == "official" else "l1")
        check_choice(form, DISTANCES, "form")
        check_whole(ticks, "ticks")
        check_positive(tick, "tick")
        for value, name in ((bandwidth, "bandwidth"), (noise, "noise"), (coefficient, "coefficient")):
            check_positive(value, name, zero=True)
        if variance is not None:
            check_tensor(variance, "variance", shape=(2 * ticks, 2 * ticks))
            check_not_negative(variance, "variance")
        self.variance = variance
        self.form = form
        self.ticks = ticks
        self.tick = tick
        self.bandwidth = bandwidth
        self.noise = noise
        self.coefficient = coefficient

    def spread(self, t: Float[Tensor, "t"]) -> Float[Tensor, "t t"]:
        """The variance g(t) of one displaced annotation's characteristic function, see the class."""
        if self.variance is not None:
            return self.variance.to(t)
        half = 2 if self.convention == "official" else 1
        return (1 - _smooth(t, self.noise**2 / half)) * _smooth(t, self.bandwidth**2 / half)

    def difference(
        self, density: Float[Tensor, "b h w"], points: Float[Tensor, "b n 2"], weights: Float[Tensor, "b n"]
    ) -> Complex[Tensor, "b t t"]:
        """R(t) of each image.

        Raises:
            ValueError: the map is so large that its two ends are one place for the frequencies.
        """
        side, most = max(density.shape[-2:]) * self.stride, 2 * math.pi / self.tick
        if side >= most:
            raise ValueError(
                f"density covers {side:g} px and tick is {self.tick:g}, expected less than {most:.0f} px or a tick "
                f"below {2 * math.pi / side:.3g}"
            )
        t = frequencies(self.ticks, self.tick, dtype=density.dtype, device=density.device)
        return density_transform(density, t, self.stride) - point_transform(points, weights, t, self.bandwidth)

    def batch_terms(
        self, result: ModelOutput, points: Sequence[Float[Tensor, "_ 2"]], weights: Sequence[Float[Tensor, "_"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """One term, ``characteristic``."""
        density = result.density[:, 0]
        places, people, real = batched(points, weights)
        rest = self.difference(density, places, people)
        h = self.tick
        if self.form == "l2":
            image = h * torch.linalg.vector_norm(torch.view_as_real(rest).flatten(1), dim=1)
        elif self.form == "dense":
            parts = torch.linalg.vector_norm(torch.view_as_real(rest), dim=2)
            image = h**2 * parts.sum(dim=(1, 2))
        elif self.form == "l1":
            image = h**2 * rest.abs().sum(dim=(1, 2))
        else:
            official = self.convention == "official"
            t = frequencies(self.ticks, h, dtype=density.dtype, device=density.device)
            number = real.sum(dim=1) if official else people.square().sum(dim=1)
            scale = (self.coefficient * number[:, None, None] * self.spread(t) + 1).sqrt()
            image = (rest.abs() / scale).sum(dim=(1, 2)) * (1 if official else h**2)
        return {"characteristic": image.mean()}
