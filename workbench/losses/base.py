"""What every loss is: a module that compares predicted density maps with annotated points."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.checks import check_choice, check_positive
from workbench.tensor_checks import check_not_negative, check_points, check_tensor


class CrowdLoss(nn.Module):
    """A loss of density maps against points; the mean over the batch.

    A subclass writes :meth:`image_terms` for one image. Coordinates are image pixels throughout; the cell (r, c) of a
    density at stride s has its centre at ((c + 0.5) s, (r + 0.5) s).

    Args:
        stride: side of a density cell in image pixels.
        convention: "paper", or "official" for what the published implementation does where it differs.
    """

    def __init__(self, *, stride: int = 8, convention: str = "paper") -> None:
        super().__init__()
        check_positive(stride, "stride")
        check_choice(convention, ("paper", "official"), "convention")
        self.stride = stride
        self.convention = convention

    def image_terms(
        self, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"], weights: Float[Tensor, "n"]
    ) -> dict[str, Float[Tensor, ""]]:
        """The named terms of one image; their sum is its loss."""
        raise NotImplementedError

    def terms(
        self,
        density: Float[Tensor, "b 1 h w"],
        points: Sequence[Float[Tensor, "_ 2"]],
        weights: Sequence[Float[Tensor, "_"]] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """The named terms of the loss, each the mean over the batch; they add up to the loss.

        Args:
            density: (B, 1, H, W), people per cell, not below zero.
            points: B tensors (N_i, 2), x then y, image pixels; N_i may be 0.
            weights: B tensors (N_i,), people per annotation; ones if None.

        Raises:
            TypeError: density, points or weights are not floating-point tensors.
            ValueError: wrong shapes or lengths, NaN or infinite values, negative values, points outside the image.
        """
        points, weights = check_batch(density, points, weights, self.stride)
        images = [
            self.image_terms(image[0], image_points, image_weights)
            for image, image_points, image_weights in zip(density, points, weights, strict=True)
        ]
        return {name: torch.stack([terms[name] for terms in images]).mean() for name in images[0]}

    def forward(
        self,
        density: Float[Tensor, "b 1 h w"],
        points: Sequence[Float[Tensor, "_ 2"]],
        weights: Sequence[Float[Tensor, "_"]] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss; arguments and errors as in :meth:`terms`."""
        return torch.stack(list(self.terms(density, points, weights).values())).sum()


def check_batch(
    density: Float[Tensor, "b 1 h w"],
    points: Sequence[Float[Tensor, "_ 2"]],
    weights: Sequence[Float[Tensor, "_"]] | None,
    stride: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """Check a batch as :meth:`CrowdLoss.terms` describes it; points and weights on the density's device and dtype."""
    check_tensor(density, "density", shape=(None, 1, None, None))
    if 0 in density.shape:
        raise ValueError(f"density has shape {tuple(density.shape)}, expected at least one image and one cell")
    check_not_negative(density, "density")
    if isinstance(points, Tensor) or len(points) != len(density):
        found = "one tensor" if isinstance(points, Tensor) else f"{len(points)} entries"
        raise ValueError(f"points holds {found}, expected a list of {len(density)} tensors, one an image")
    height, width = density.shape[-2:]
    for index, image_points in enumerate(points):
        check_points(image_points, f"points[{index}]", size=(height * stride, width * stride))
    if weights is None:
        weights = [density.new_ones(len(image_points)) for image_points in points]
    elif isinstance(weights, Tensor) or len(weights) != len(density):
        found = "one tensor" if isinstance(weights, Tensor) else f"{len(weights)} entries"
        raise ValueError(f"weights holds {found}, expected a list of {len(density)} tensors, one an image")
    for index, (image_points, image_weights) in enumerate(zip(points, weights, strict=True)):
        check_tensor(image_weights, f"weights[{index}]", shape=(len(image_points),))
        check_not_negative(image_weights, f"weights[{index}]")
    return [p.to(density) for p in points], [w.to(density) for w in weights]
