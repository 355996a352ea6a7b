"""Density and heads to begin with: a constructed case, and scenes with predictions that hold typical errors."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.density import density_map

SIZE, STRIDE = (32, 32), 4.0
MOST_HEADS = 24


class Example(NamedTuple):
    """What an explorer begins with.

    Attributes:
        density: (H, W), people per cell, made up: no network predicted it.
        points: (N, 2), image pixels.
        picture: (3, H, W) in [0, 1], or None.
    """

    density: Float[Tensor, "h w"]
    points: Float[Tensor, "n 2"]
    picture: Float[Tensor, "c hh ww"] | None


def five_people() -> Example:
    """Five people: one is found, one found a little off, two found as one, one missed; there is also a false alarm."""
    points = torch.tensor([[26, 30], [92, 26], [52, 88], [66, 92], [110, 104]], dtype=torch.float64)
    bumps = [((26, 31), 5, 1.0), ((80, 34), 7, 1.0), ((59, 88), 9, 1.9), ((22, 106), 6, 0.6)]
    density = torch.zeros(SIZE, dtype=torch.float64)
    for place, sigma, people in bumps:
        at = torch.tensor([place], dtype=torch.float64)
        density += people * density_map(at, SIZE, sigma=float(sigma), stride=STRIDE)
    return Example(density, points, None)


def scene(index: int, *, seed: int = 0) -> Example:
    """A made scene with a made-up prediction: blurred and off by some pixels, with one head missed and one invented.

    ``index`` counts the scenes that hold 3 to ``MOST_HEADS`` people; ``seed`` is of the scene and of the prediction.
    """
    from workbench.data import open_dataset

    dataset = open_dataset("scenes", preset="small", seed=seed, length=64)
    fitting = [number for number in range(len(dataset)) if 3 <= len(dataset.points(number)) <= MOST_HEADS]
    sample = dataset[fitting[index % len(fitting)]]
    generator = torch.Generator().manual_seed(1000 * seed + index)
    points = sample.points.double()
    extent = SIZE[0] * STRIDE
    off = 4.0 * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    invented = extent * torch.rand((1, 2), generator=generator, dtype=torch.float64)
    predicted = torch.cat([(points + off)[:-1], invented]).clamp(0, extent)
    return Example(density_map(predicted, SIZE, sigma=5.0, stride=STRIDE), points, sample.image)


EXAMPLES: dict[str, Callable[[], Example]] = {"five people": five_people} | {
    f"scene {number + 1}": (lambda number=number: scene(number)) for number in range(4)
}
