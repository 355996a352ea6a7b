"""What passes between data, samplers and training: one image with its people, a batch of them, a draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Size = tuple[int, int]
"""(H, W) of an image in pixels."""
Window = tuple[int, int, int, int]
"""left, top, width and height of a part of an image, in pixels."""


class Draw(NamedTuple):
    """What a batch sampler asks a training data set for.

    Everything random done to the sample comes from ``seed`` alone, so a draw gives the same pixels in any worker
    process and after a resumed run.

    Attributes:
        index: of the sample.
        seed: of what is done to it by chance.
        zoom: side of the part of the image that is shown over that of the sample itself; 1 shows the sample.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a draw
    seed: int
    zoom: float = 1.0


@dataclass(frozen=True)
class CrowdSample:
    """One image and the people in it; ``None`` where the data set does not know.

    Attributes:
        image: (3, H, W), RGB in [0, 1].
        points: (N, 2), x then y, image pixels, one a person; N may be 0.
        name: what the data set calls the image.
        head_sizes: (N,), height of each head in pixels.
        boxes: (N, 4), x1, y1, x2, y2 of each head in pixels; a box may reach past the image.
        roi: (H, W), true where people are annotated and counted.
        perspective: (H, W), height in pixels of a head whose centre lies at the pixel.
        depth: (H, W), distance from the camera in the data set's unit.
        level: the data set's own name for the density level.
        label: number of the class or scene.
        attributes: what else the data set says of the whole image, by name.
        annotated: false where the people of the image are not published; then nothing is known of their number.
        features: (C, h, w), what a backbone made of the image; a model is shown them in the image's place.
    """

    image: Float[Tensor, "3 h w"]
    points: Float[Tensor, "n 2"]
    name: str
    head_sizes: Float[Tensor, "n"] | None = None
    boxes: Float[Tensor, "n 4"] | None = None
    roi: Bool[Tensor, "h w"] | None = None
    perspective: Float[Tensor, "h w"] | None = None
    depth: Float[Tensor, "h w"] | None = None
    level: str | None = None
    label: int | None = None
    attributes: Mapping[str, str | int] | None = None
    annotated: bool = True
    features: Float[Tensor, "c fh fw"] | None = None

    @property
    def shown(self) -> Float[Tensor, "_ _h _w"]:
        """What a model is shown: the features where there are any, else the image."""
        return self.image if self.features is None else self.features

    @property
    def count(self) -> int:
        """Number of annotated people.

        Raises:
            ValueError: the image's annotation is not published.
        """
        if not self.annotated:
            raise ValueError(f"{self.name} has no published annotation: the number of its people is not known")
        return len(self.points)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.image.shape[1], self.image.shape[2]


@dataclass(frozen=True)
class CrowdBatch:
    """Images of one size with their points, as losses take them.

    Attributes:
        images: (B, 3, H, W), RGB in [0, 1]; (B, C, h, w) where the samples have features.
        points: B tensors (N_i, 2), x then y, image pixels.
        names: B names.
    """

    images: Float[Tensor, "b _ h w"]
    points: list[Float[Tensor, "_ 2"]]
    names: list[str]

    @property
    def counts(self) -> Float[Tensor, "b"]:
        """Number of people in each image, in the images' dtype."""
        return self.images.new_tensor([len(points) for points in self.points])

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device | str) -> "CrowdBatch":
        """The batch on another device; the points of all images in one transfer."""
        if self.images.device == torch.device(device):
            return self
        points = torch.cat(self.points).to(device, non_blocking=True).split([len(image) for image in self.points])
        return CrowdBatch(self.images.to(device, non_blocking=True), list(points), self.names)

    def pin_memory(self) -> "CrowdBatch":
        """The batch in memory from which a GPU copies while the program goes on; called by ``DataLoader``."""
        return CrowdBatch(self.images.pin_memory(), [points.pin_memory() for points in self.points], self.names)


def collate(samples: Sequence[CrowdSample]) -> CrowdBatch:
    """Stack samples of one size: the ``collate_fn`` of a ``DataLoader``.

    Raises:
        ValueError: no samples, or images of different sizes.
    """
    if not samples:
        raise ValueError("samples is empty, expected at least one")
    first = samples[0]
    for sample in samples:
        if not sample.annotated:
            raise ValueError(f"samples hold {sample.name!r}, whose annotation is not published: nothing to learn from")
        if sample.size != first.size:
            raise ValueError(
                f"samples hold images of different sizes, {first.name!r} with (H, W) = {first.size} and "
                f"{sample.name!r} with {sample.size}; expected one size (see TrainingPatches)"
            )
    images = torch.stack([sample.shown for sample in samples])
    return CrowdBatch(images, [sample.points for sample in samples], [sample.name for sample in samples])
