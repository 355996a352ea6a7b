"""Common corruptions of images: noise, blur, JPEG, brightness and fog, in five severities each.

The severities are those of ImageNet-C, which are meant for photographs of 224 pixels.

Reference:
    Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
    ICLR 2019.
"""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from workbench.adversarial.attacks import check_inputs
from workbench.checks import check_choice, check_whole
from workbench.io.extras import need

Pixels = NDArray[np.float64]  # (H, W, 3), in [0, 1]
SEVERITIES = 5


def _noise(picture: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    return picture + draw.normal(scale=(0.08, 0.12, 0.18, 0.26, 0.38)[severity], size=picture.shape)


def _blur(picture: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    from skimage.filters import gaussian

    return gaussian(picture, sigma=(1, 2, 3, 4, 6)[severity], channel_axis=-1)


def _jpeg(picture: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[severity])
    return np.asarray(Image.open(file), dtype=np.float64) / 255


def _brightness(picture: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    from skimage.color import hsv2rgb, rgb2hsv

    colours = rgb2hsv(picture)
    colours[..., 2] = (colours[..., 2] + (0.1, 0.2, 0.3, 0.4, 0.5)[severity]).clip(0, 1)
    return hsv2rgb(colours)


def _fog(picture: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """A cloud of several octaves, each finer one weaker, laid over the picture."""
    from skimage.transform import resize

    thick, decay = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity]
    size, cloud = picture.shape[:2], np.zeros(picture.shape[:2])
    for octave in range(int(np.log2(max(size))) + 1):
        coarse = draw.random([min(side, 2**octave + 1) for side in size])
        cloud += resize(coarse, size, order=1) / decay**octave
    cloud = (cloud - cloud.min()) / max(float(np.ptp(cloud)), 1e-12)
    most = picture.max()
    return (picture + thick * cloud[..., None]) * most / (most + thick)


CORRUPTIONS: dict[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    "noise": _noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "brightness": _brightness,
    "fog": _fog,
}


def corrupt(images: Float[Tensor, "b 3 h w"], kind: str, severity: int, *, seed: int = 0) -> Float[Tensor, "b 3 h w"]:
    """Corrupt each image.

    Args:
        images: (B, 3, H, W), in [0, 1].
        kind: one of ``CORRUPTIONS``.
        severity: 1 to 5.
        seed: of noise and fog; each image has its own draw.

    Returns:
        Images of the same shape, in [0, 1].

    Raises:
        ModuleNotFoundError: the extra ``data`` is not installed.
        ValueError: an unknown kind, a severity out of range, or images that are not in [0, 1].
    """
    need("data")
    check_inputs(images, images)
    check_choice(kind, tuple(CORRUPTIONS), "kind")
    check_whole(severity, "severity")
    if severity > SEVERITIES:
        raise ValueError(f"severity is {severity}, expected 1 to {SEVERITIES}")
    draw = np.random.default_rng(seed)
    pictures = images.detach().cpu().double().permute(0, 2, 3, 1).numpy()
    changed = [CORRUPTIONS[kind](picture, severity - 1, draw).clip(0, 1) for picture in pictures]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).to(images)
