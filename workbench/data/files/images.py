"""Image files read as one sees them: RGB, upright, whole."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from workbench.checks import check_whole

MAX_PIXELS = 150_000_000  # larger than any image of the field's data sets; PIL refuses above 179 million itself
ORIENTATION = 0x0112  # the EXIF tag
TURNED = (5, 6, 7, 8)  # its values that exchange width and height
DEEP_GREY = ("I", "I;16", "I;16B", "I;16L")

T = TypeVar("T")


class ImageError(ValueError):
    """An image file that cannot be read; the message names it and says why."""


def _read(path: str | Path, max_pixels: int, take: Callable[[Image.Image], T]) -> T:
    """What ``take`` makes of the image file; whatever is wrong with the file is one ``ImageError``."""
    check_whole(max_pixels, "max_pixels")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no image {path}")
    try:
        # PIL's own limit warns or fails by size; ours is asked before any pixel is decoded
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(path) as image,
        ):
            if image.width * image.height > max_pixels:
                raise ImageError(
                    f"{path} has {image.width} x {image.height} pixels, expected at most max_pixels = {max_pixels}"
                )
            return take(image)
    except ImageError:
        raise
    except (UnidentifiedImageError, IsADirectoryError) as error:
        raise ImageError(f"{path} is not an image, or of a kind that cannot be read") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} is too large: {error}") from error
    except PermissionError:
        raise
    except Exception as error:  # on damaged files decoders raise anything from OSError to struct.error
        raise ImageError(f"{path} is a damaged image: {error}") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey image with 8 bits; PIL's own conversion would turn all but the darkest to white."""
    values = np.asarray(image)
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError(f"grey values from {values.min()} to {values.max()}, expected 0 to 65535")
    return Image.fromarray((values / 257 + 0.5).astype(np.uint8))


def _rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """The displayed pixels of an image of any mode."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, expected 8 or 16 bits")
    if image.mode in DEEP_GREY:
        image = _eight_bits(image)
    if image.has_transparency_data:
        # what is transparent shows white, as in a viewer
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def read_pixels(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image file as RGB, 8 bits a channel.

    Greyscale, palette, CMYK and 16-bit images become RGB; transparent pixels show white. A photograph whose EXIF
    data says that the camera was turned comes upright, as viewers display it: (H, W) and points are those of the
    displayed image.

    Args:
        path: the file.
        max_pixels: the largest number of pixels that is decoded, against files that unfold into gigabytes.

    Returns:
        (H, W, 3).

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: (a ``ValueError``) not an image, truncated or damaged, or larger than ``max_pixels``.
    """
    return _read(path, max_pixels, _rgb)


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Float[Tensor, "3 h w"]:
    """Read an image file as a float32 tensor (3, H, W), RGB in [0, 1]; the rest as :func:`read_pixels`."""
    pixels = torch.from_numpy(read_pixels(path, max_pixels=max_pixels))
    return pixels.permute(2, 0, 1).float().div_(255).contiguous()


def image_size(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(H, W) of an image file as it is displayed, read from its header; errors as :func:`read_pixels`."""

    def size(image: Image.Image) -> tuple[int, int]:
        turned = image.getexif().get(ORIENTATION) in TURNED
        return (image.width, image.height) if turned else (image.height, image.width)

    return _read(path, max_pixels, size)
