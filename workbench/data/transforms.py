"""Crops, flips and new sizes of a sample: everything that the sample knows moves with its image."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_whole
from workbench.data.sample import CrowdSample
from workbench.points import crop, flip, inside, resize

# the luma weights of ITU-R BT.601, as PIL's and torchvision's greyscale
LUMA = (0.299, 0.587, 0.114)


def _maps(sample: CrowdSample, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """The image and every map of the sample, each changed in the same way."""
    maps = {name: getattr(sample, name) for name in ("image", "roi", "perspective", "depth")}
    return {name: None if value is None else change(value) for name, value in maps.items()}


def crop_sample(sample: CrowdSample, left: int, top: int, width: int, height: int) -> CrowdSample:
    """Cut a window out of the sample.

    The window holds the points in [left, left + width) x [top, top + height), so that windows side by side share
    nobody; a point on the image's own right or bottom border belongs to the window that reaches it, so that windows
    that cover the image lose nobody. Boxes go with their points and keep their full extent.

    Raises:
        ValueError: the window is empty or reaches outside the image.
    """
    for value, name, least in ((left, "left", 0), (top, "top", 0), (width, "width", 1), (height, "height", 1)):
        check_whole(value, name, least=least)
    image_height, image_width = sample.size
    if left + width > image_width or top + height > image_height:
        raise ValueError(
            f"the window [{left}, {left + width}) x [{top}, {top + height}) reaches outside {sample.name!r} with "
            f"(H, W) = {sample.size}"
        )
    # one pixel more takes in the far border, beyond which no point lies
    reach = (width + (left + width == image_width), height + (top + height == image_height))
    kept = inside(sample.points, left, top, *reach)
    moved: dict[str, Any] = {
        "head_sizes": None if sample.head_sizes is None else sample.head_sizes[kept],
        "boxes": None if sample.boxes is None else sample.boxes[kept] - sample.boxes.new_tensor([left, top] * 2),
    }
    maps = _maps(sample, lambda value: value[..., top : top + height, left : left + width])
    return replace(sample, points=crop(sample.points, left, top, *reach), **moved, **maps)


def pad_sample(sample: CrowdSample, size: tuple[int, int]) -> CrowdSample:
    """Extend the sample with zeros on the right and at the bottom to at least ``size`` = (H, W)."""
    height, width = (max(0, want - have) for want, have in zip(size, sample.size, strict=True))
    if not height and not width:
        return sample
    return replace(sample, **_maps(sample, lambda value: F.pad(value, (0, width, 0, height))))


def flip_sample(sample: CrowdSample) -> CrowdSample:
    """Mirror the sample left and right: x -> width - x."""
    width = sample.size[1]
    boxes = sample.boxes
    if boxes is not None:
        left, top, right, bottom = boxes.unbind(1)
        boxes = torch.stack([width - right, top, width - left, bottom], dim=1)
    return replace(sample, points=flip(sample.points, width), boxes=boxes, **_maps(sample, lambda v: v.flip(-1)))


def resize_sample(sample: CrowdSample, size: tuple[int, int], *, image: bool = True) -> CrowdSample:
    """Resize the sample to ``size`` = (H, W); lengths in pixels (heads, boxes, perspective) change with it.

    The image is resized bilinearly with antialiasing, maps to their nearest pixel. A head's size and the perspective
    grow as the height does.

    Args:
        sample: the sample.
        size: (H, W) of the new one.
        image: whether the image is resized too; without it the new image holds nothing.
    """
    for value, name in zip(size, ("height", "width"), strict=True):
        check_whole(value, name)
    if size == sample.size:
        return sample
    old = sample.size
    grown = size[0] / old[0]

    def nearest(value: Tensor) -> Tensor:
        return F.interpolate(value[None, None].float(), size=size, mode="nearest-exact")[0, 0].to(value.dtype)

    pixels = sample.image[:, :1, :1].expand(3, *size)
    if image:
        pixels = F.interpolate(sample.image[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    boxes = sample.boxes
    return replace(
        sample,
        image=pixels.clamp(0, 1) if image else pixels,
        points=resize(sample.points, old, size),
        head_sizes=None if sample.head_sizes is None else sample.head_sizes * grown,
        boxes=None if boxes is None else resize(boxes.reshape(-1, 2), old, size).reshape(-1, 4),
        roi=None if sample.roi is None else nearest(sample.roi),
        perspective=None if sample.perspective is None else nearest(sample.perspective) * grown,
        depth=None if sample.depth is None else nearest(sample.depth),
    )


def grey_image(image: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    """The image without its colours, still with three channels."""
    weights = image.new_tensor(LUMA)[:, None, None]
    return (image * weights).sum(dim=0, keepdim=True).expand(3, -1, -1).clone()
