r"""What it costs to move density from a cell to a point.

The papers' costs are functions of *normalised* coordinates: image pixels divided by the side of the square crop. So a
crop is the unit square, whatever its size. The coordinates of a map that is not square are divided by its longer side,
which keeps distances isotropic. Each cost depends on the distance between cell and point. The perspective-guided cost
also depends on how high in the image both are.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive
from workbench.points import cell_centres
from workbench.tensor_checks import check_points

COSTS = ("perspective", "exponential", "euclidean", "squared")


@dataclass(frozen=True)
class TransportCost:
    r"""A transport cost between normalised positions; "perspective" is [GL 4].

    ============= ===================================================================
    "euclidean"   :math:`d = \|x - y\|_2`
    "squared"     :math:`d^2`
    "exponential" :math:`\exp(d / \eta) - o`
    "perspective" :math:`\exp(d / \eta(x, y)) - o` with
                  :math:`\eta = \eta_0 + (\eta_1 - \eta_0) (h_x + h_y) / 2`
    ============= ===================================================================

    The height :math:`h` is 0 at the top of the image and 1 at its bottom. At the top people are far away, and moving
    density costs more.

    Args:
        name: one of ``COSTS``.
        eta: the interval of the perspective factor; the exponential cost takes the first number.
        offset: the constant o that is subtracted from the exponential costs. The paper has none, so density exactly on
            a point costs 1; the published implementation has 1.
        height: the image's height in normalised units, what ``h`` is measured in.
        most: greater exponential costs are set to this.

    Reference:
        Wan, Liu and Chan, "A Generalized Loss Function for Crowd Counting and Localization", CVPR 2021, sec. 3.2.
    """

    name: str = "perspective"
    eta: tuple[float, float] = (0.6, 0.8)
    offset: float = 0.0
    height: float = 1.0
    most: float = math.inf

    def __post_init__(self) -> None:
        check_choice(self.name, COSTS, "cost")
        for value in self.eta:
            check_positive(value, "eta")
        check_positive(self.offset, "offset", zero=True)
        check_positive(self.height, "height")
        if self.most != math.inf:
            check_positive(self.most, "most")

    def __call__(self, cells: Float[Tensor, "n 2"], points: Float[Tensor, "m 2"]) -> Float[Tensor, "n m"]:
        """The cost of each cell to each point, both (x, y) in normalised coordinates."""
        return self.between(cells[:, None], points[None])

    def between(self, cells: Float[Tensor, "*n 2"], points: Float[Tensor, "*m 2"]) -> Float[Tensor, "*nm"]:
        """The cost of positions that broadcast against each other; see :meth:`__call__` for a matrix."""
        return self._of_square(_square_distance(cells, points), self._factor(cells[..., 1], points))

    def bounds(
        self, centres: Float[Tensor, "*n 2"], points: Float[Tensor, "*m 2"], radius: Float[Tensor, "*k"]
    ) -> tuple[Float[Tensor, "*nm"], Float[Tensor, "*nm"]]:
        """A lower and an upper bound of the cost from anywhere within ``radius`` of a centre."""
        distance = _square_distance(centres, points).sqrt_()
        factor = self._factor(centres[..., 1], points)
        shift = abs(self._half) * radius if self.name == "perspective" else 0
        low = self._of_distance((distance - radius).clamp_(min=0), factor + shift)
        least = factor - shift
        if isinstance(least, Tensor):  # above the image the factor may fall below zero
            least.clamp_(min=torch.finfo(least.dtype).tiny)
        high = self._of_distance(distance.add_(radius), least)
        return (low.square_(), high.square_()) if self.name == "squared" else (low, high)

    @property
    def _unit(self) -> float:
        """What exponents are divided by: powers of 2 are four times faster than those of e.

        Only expm1 keeps the digits of small distances, which a kernel at epsilon = 0.005 sees magnified 200 times.
        """
        return 1.0 if self.offset == 1 else math.log(2)

    @property
    def _half(self) -> float:
        """Half of how fast the perspective factor grows downwards."""
        return self._unit * (self.eta[1] - self.eta[0]) / (2 * self.height)

    def _factor(self, y: Tensor, points: Tensor) -> Tensor | float:
        """The perspective factor between cells at y and points, or the constant in its place."""
        if self.name != "perspective":
            return self._unit * self.eta[0]
        return (self._unit * self.eta[0] + self._half * y) + self._half * points[..., 1]

    def _of_square(self, squared: Tensor, factor: Tensor | float) -> Tensor:
        """The cost of a squared distance (overwritten)."""
        return squared if self.name == "squared" else self._of_distance(squared.sqrt_(), factor)

    def _of_distance(self, distance: Tensor, factor: Tensor | float) -> Tensor:
        """The cost of a distance (overwritten); a squared cost's root."""
        if self.name in ("euclidean", "squared"):
            return distance
        distance.div_(factor)
        if self.offset == 1:
            distance.expm1_()
        else:
            distance.exp2_()
            if self.offset:
                distance.sub_(self.offset)
        return distance if self.most == math.inf else distance.clamp_(max=self.most)


def _square_distance(cells: Tensor, points: Tensor) -> Tensor:
    return (cells[..., 0] - points[..., 0]).square_().add_((cells[..., 1] - points[..., 1]).square_())


def cost_matrix(
    name: str,
    size: tuple[int, int],
    points: Float[Tensor, "m 2"],
    *,
    stride: float = 8,
    side: float | None = None,
    eta: tuple[float, float] = (0.6, 0.8),
    offset: float = 0.0,
) -> Float[Tensor, "n m"]:
    """The cost between the cells of a map, row by row, and points.

    Args:
        name: one of ``COSTS``, see :class:`TransportCost`.
        size: (H, W) of the map in cells.
        points: (m, 2), x then y, image pixels.
        stride: side of a cell in image pixels.
        side: what coordinates are divided by, image pixels; the longer side of the image if None.
        eta: the interval of the perspective factor; the exponential cost takes the first number.
        offset: subtracted from the exponential costs.

    Returns:
        (H W, m), no unit; on the points' device and of their dtype.

    Raises:
        ValueError: an unknown name, points outside the image, a number out of range.
    """
    height, width = size
    cells = cell_centres(size, stride, dtype=points.dtype, device=points.device)
    check_points(points, size=(height * stride, width * stride))
    side = stride * max(size) if side is None else side
    check_positive(side, "side")
    cost = TransportCost(name, eta, offset, height * stride / side)
    return cost(cells / side, points / side)
