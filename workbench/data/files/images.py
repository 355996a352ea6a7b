"""Image files read as one sees them: RGB, upright, whole."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from workbench.checks import check_whole
from workbench.io.files import check_regular

IMAGE_KINDS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
}
"""The kinds of image that are read, by PIL's names, with their endings. Others can start programs, as EPS does."""

IMAGE_SUFFIXES = tuple(suffix for suffixes in IMAGE_KINDS.values() for suffix in suffixes)

# the field's largest image, in NWPU-Crowd, has 77 million pixels; measured: reading takes up to 16 bytes a pixel
MAX_PIXELS = 80_000_000
MOST_IMAGE_BYTES = 1 << 29  # of a file; 80 million pixels of 8 bits a channel, stored plainly, take 240 MB
ORIENTATION = 0x0112  # the EXIF tag
TURNED = (5, 6, 7, 8)  # its values that exchange width and height
TILE_WIDTH, TILE_HEIGHT = 322, 323  # TIFF tags
SCAN = b"\xff\xda"  # the marker that begins a scan of a JPEG
MOST_SCANS = 100  # of a JPEG; encoders write about ten; measured: 300 scans of 80 million pixels take 17 s
DEEP_GREY = ("I", "I;16", "I;16B", "I;16L")

T = TypeVar("T")


class ImageError(ValueError):
    """An image file that cannot be read; the message names it and says why."""


def _read(path: str | Path, max_pixels: int, take: Callable[[Image.Image], T]) -> T:
    """What ``take`` makes of the image file; whatever is wrong with the file is one ``ImageError``."""
    check_whole(max_pixels, "max_pixels")
    path = Path(path)
    try:
        check_regular(path, "image", MOST_IMAGE_BYTES)
    except ValueError as error:
        raise ImageError(str(error)) from error
    try:
        # PIL's own limit warns or fails by size; ours is asked before any pixel is decoded
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(path, formats=tuple(IMAGE_KINDS)) as image,
        ):
            _check_pixels(path, image, max_pixels)
            return take(image)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not an image of a kind that is read ({', '.join(IMAGE_KINDS)})") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} is too large: {error}") from error
    except PermissionError:
        raise
    except Exception as error:  # on damaged files decoders raise anything from OSError to struct.error
        raise ImageError(f"{path} is a damaged image: {error}") from error


def _check_pixels(path: Path, image: Image.Image, max_pixels: int) -> None:
    """Raise ``ImageError`` where decoding the image would take more memory than ``max_pixels`` pixels are worth."""
    sizes = [image.size]
    if image.format == "WEBP":  # the decoder holds two canvases more: 22 bytes a pixel
        max_pixels //= 2
    if isinstance(image, TiffImageFile):  # a tile is decoded whole, and may be larger than the image
        sizes.append((int(image.tag_v2.get(TILE_WIDTH, 1)), int(image.tag_v2.get(TILE_HEIGHT, 1))))
    for width, height in sizes:
        if width * height > max_pixels:
            raise ImageError(f"{path} has {width} x {height} pixels, expected at most max_pixels = {max_pixels}")


def _check_scans(path: Path, image: Image.Image) -> None:
    """Raise ``ImageError`` for a JPEG of so many scans that decoding takes minutes: each goes over all pixels."""
    if image.format in ("JPEG", "MPO"):
        scans = path.read_bytes().count(SCAN)
        if scans > MOST_SCANS:
            raise ImageError(f"{path} is a JPEG of {scans} scans, expected at most {MOST_SCANS}")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey image with 8 bits; PIL's own conversion would turn all but the darkest to white."""
    values = np.asarray(image)
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError(f"grey values from {values.min()} to {values.max()}, expected 0 to 65535")
    scaled = values.astype(np.float32)
    scaled /= 257
    return Image.fromarray(np.add(scaled, 0.5, out=scaled).astype(np.uint8))


def _rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """The displayed pixels of an image of any mode."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, expected 8 or 16 bits")
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in DEEP_GREY:
        image = _eight_bits(image)
    if image.has_transparency_data:
        # what is transparent shows white, as in a viewer
        image = image.convert("RGBA")
        shown = Image.new("RGB", image.size, "white")
        shown.paste(image, mask=image)
        image = shown
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def read_pixels(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image file as RGB, 8 bits a channel: (H, W, 3).

    Greyscale, palette, CMYK and 16-bit images become RGB; transparent pixels show white. A photograph whose EXIF data
    says that the camera was turned comes upright, as viewers display it; (H, W) and points are those of the displayed
    image. At most ``max_pixels`` pixels are decoded: a small file can decompress to gigabytes.

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: (a ``ValueError``) not an image of one of ``IMAGE_KINDS``, not a regular file, truncated or damaged,
            or larger than ``max_pixels`` or ``MOST_IMAGE_BYTES``.
    """

    def pixels(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
        _check_scans(Path(path), image)
        return _rgb(image)

    return _read(path, max_pixels, pixels)


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Float[Tensor, "3 h w"]:
    """Read an image file as a float32 tensor (3, H, W), RGB in [0, 1]; the rest as :func:`read_pixels`."""
    return as_image(read_pixels(path, max_pixels=max_pixels))


def as_image(pixels: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "3 h w"]:
    """The float32 tensor (3, H, W) in [0, 1] of 8-bit pixels (H, W, 3), which are not changed."""
    height, width, channels = pixels.shape
    image = torch.empty(channels, height, width)
    for channel in range(channels):  # one at a time takes less memory than permuting all
        image[channel] = torch.from_numpy(np.ascontiguousarray(pixels[..., channel]))
    return image.div_(255)


def image_size(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(H, W) of an image file as it is displayed, read from its header; errors as :func:`read_pixels`."""

    def size(image: Image.Image) -> tuple[int, int]:
        turned = image.getexif().get(ORIENTATION) in TURNED
        return (image.width, image.height) if turned else (image.height, image.width)

    return _read(path, max_pixels, size)
