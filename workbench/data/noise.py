"""Annotation noise: what an annotator's imprecision does to points.

The experiments of the proximal mapping loss move annotations in two ways: uniformly, as the Bayesian-loss paper does,
and normally, as NoiseCC models it. Each point takes one draw, in float64 on the generator's device, so one seed gives
the same points in every dtype and on every device. A point that would leave the image is reflected at the border,
several times if needed. Clipping would pile points up at the border; drawing again would need further draws.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive, check_whole
from workbench.data.dataset import CrowdDataset
from workbench.data.sample import CrowdSample
from workbench.density import adaptive_sigma
from workbench.tensor_checks import check_points

UNITS = ("height", "spacing", "pixels")


def uniform_noise(
    points: Float[Tensor, "n 2"],
    size: tuple[float, float],
    *,
    amount: float,
    unit: str = "height",
    generator: torch.Generator,
) -> Float[Tensor, "n 2"]:
    r"""Move each point uniformly within a square around it: :math:`\tilde y = y + s r, r \sim U(-1, 1)^2`.

    The side of the square is 2 s; s is ``amount`` times

    - "height": the image's height, as in the Bayesian-loss paper (0 to 0.04 there);
    - "spacing": the distance to the nearest other annotation, a stand-in for the size of the head in a crowd (the
      image's height for somebody alone, nothing for people on one spot);
    - "pixels": one pixel.

    Args:
        points: (N, 2), x then y, image pixels, inside the image.
        size: (height, width) of the image in pixels.
        amount: half the side of the square in units of ``unit``; 0 moves nothing.
        unit: "height", "spacing" or "pixels".
        generator: where the draws come from.

    Returns:
        (N, 2), inside the image: reflected at its border.

    Raises:
        ValueError: points outside the image, a negative amount, an unknown unit.

    Reference:
        Ma et al., "Bayesian Loss for Crowd Count Estimation with Point Supervision", ICCV 2019.
    """
    shape, device = points.shape, generator.device
    draws = torch.rand(shape, dtype=torch.float64, device=device, generator=generator) * 2 - 1
    return _moved(points, size, amount, unit, draws)


def gaussian_noise(
    points: Float[Tensor, "n 2"],
    size: tuple[float, float],
    *,
    amount: float,
    unit: str = "pixels",
    generator: torch.Generator,
) -> Float[Tensor, "n 2"]:
    r"""Move each point normally: :math:`\tilde y = y + \epsilon, \epsilon \sim \mathcal{N}(0, s^2 I)`.

    The noise model of NoiseCC. Arguments, result and errors as in :func:`uniform_noise`; s, the standard deviation of
    each coordinate, is ``amount`` in units of ``unit``.

    Reference:
        Wan and Chan, "Modeling Noisy Annotations for Crowd Counting", NeurIPS 2020.
    """
    draws = torch.randn(points.shape, dtype=torch.float64, device=generator.device, generator=generator)
    return _moved(points, size, amount, unit, draws)


NOISE_MODELS: dict[str, Callable[..., Tensor]] = {"uniform": uniform_noise, "gaussian": gaussian_noise}


@dataclass(eq=False, repr=False)
class NoisyAnnotations(CrowdDataset):
    """Another data set with annotation noise: the same images and the same people, each point moved.

    An image's noise depends on (seed, index) alone, so that every epoch, worker and loss sees the same wrong points, as
    it would with a file of imprecise annotations. Counts stay as they are: points never leave the image. What else a
    sample knows of its people (head sizes, boxes) is left alone.

    Args:
        dataset: where images and points come from.
        model: "uniform" or "gaussian", see ``NOISE_MODELS``.
        amount: of noise, in units of ``unit``; 0 moves nothing.
        unit: "height", "spacing" or "pixels"; None takes the noise model's own.
        seed: what the noise is drawn from.

    Raises:
        ValueError: an unknown model, a negative amount or seed; an unknown unit, when the first points are asked for.
    """

    dataset: CrowdDataset
    model: str
    amount: float = field(kw_only=True)
    unit: str | None = field(default=None, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        check_choice(self.model, tuple(NOISE_MODELS), "model")
        check_positive(self.amount, "amount", zero=True)
        check_whole(self.seed, "seed", least=0)

    @property
    def names(self) -> list[str]:
        """The names of the other data set."""
        return self.dataset.names

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of one image."""
        return self.dataset.size_of(index)

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The moved points of one image."""
        return self._moved(self.dataset.points(index), index, self.size_of(index))

    def __getitem__(self, index: int) -> CrowdSample:
        sample = self.dataset[index]
        return replace(sample, points=self._moved(sample.points, index, sample.size))

    def _moved(self, points: Tensor, index: int, size: tuple[int, int]) -> Float[Tensor, "n 2"]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.at(index))
        unit = {} if self.unit is None else {"unit": self.unit}
        return NOISE_MODELS[self.model](points, size, amount=self.amount, generator=generator, **unit)


def _moved(points: Tensor, size: tuple[float, float], amount: float, unit: str, draws: Tensor) -> Float[Tensor, "n 2"]:
    """The points, each moved by its draw in units of ``unit`` times ``amount``, and reflected at the border."""
    height, width = size
    check_positive(height, "height")
    check_positive(width, "width")
    check_points(points, size=size)
    check_positive(amount, "amount", zero=True)
    check_choice(unit, UNITS, "unit")
    exact = points.double()
    if unit == "spacing":
        # the kernel width that this borrows may not be zero
        scale = adaptive_sigma(exact, neighbours=1, beta=1.0, least=1e-9, default=float(height))[:, None]
    else:
        scale = exact.new_tensor(height if unit == "height" else 1)
    limit = exact.new_tensor([width, height])
    moved = exact + amount * scale * draws.to(exact.device)
    # a triangle wave of period twice the image: the mirror image of what is outside
    reflected = limit - (moved.remainder(2 * limit) - limit).abs()
    return torch.where((moved < 0) | (moved > limit), reflected, moved).to(points)
