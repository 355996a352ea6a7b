"""Checks of tensors: shape, type and values.

Each check raises one exception that names the argument, what was found and what was expected. Nothing is clipped or
dropped.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def check_tensor(tensor: Tensor, name: str, *, shape: tuple[int | None, ...], values: bool = True) -> None:
    """Raise unless ``tensor`` is a finite floating-point tensor of ``shape`` (``None``: any size there).

    Without ``values`` only the type and the shape are checked. This does not wait for the device. While the code is
    traced, exported or compiled, values are not checked either.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}, expected a torch.Tensor")
    fits = tensor.dim() == len(shape) and all(
        want is None or have == want for have, want in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected ({wanted})")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} has dtype {tensor.dtype}, expected a floating-point dtype")
    if values and not tracing() and not torch.isfinite(tensor).all():
        bad = int((~torch.isfinite(tensor)).sum())
        raise ValueError(f"{name} holds {bad} values that are NaN or infinite, expected finite values")


def tracing() -> bool:
    """Whether the code is being traced, exported or compiled. A check of values would become part of the graph."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()


def check_not_negative(tensor: Tensor, name: str) -> None:
    """Raise ``ValueError`` if any value of ``tensor`` is below zero."""
    if not tracing() and tensor.numel() and bool((tensor < 0).any()):
        raise ValueError(f"{name} holds values down to {float(tensor.min()):g}, expected values >= 0")


def check_points(
    points: Float[Tensor, "n 2"],
    name: str = "points",
    *,
    size: tuple[float, float] | None = None,
    values: bool = True,
) -> None:
    """Raise unless ``points`` is a finite (N, 2) tensor of (x, y), inside the image where its size is given.

    Args:
        points: (N, 2), x then y, in image pixels.
        name: the argument's name in the message.
        size: (height, width) of the image in pixels; the border itself counts as inside.
        values: whether the values are checked as well as the type and the shape.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: wrong shape, NaN or infinite values, points outside the image.
    """
    check_tensor(points, name, shape=(None, 2), values=values)
    if size is None or not values or not len(points):
        return
    height, width = size
    limit = points.new_tensor([width, height])
    outside = ((points < 0) | (points > limit)).any(dim=1)
    if outside.any():
        first = points[outside][0].tolist()
        raise ValueError(
            f"{name} has {int(outside.sum())} of {len(points)} points outside the image, for instance "
            f"(x, y) = ({first[0]:g}, {first[1]:g}); expected 0 <= x <= {width:g} and 0 <= y <= {height:g}"
        )
