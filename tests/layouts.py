"""Small exact copies of published data sets' layouts, written for the tests.

Heads are painted as bright squares where the annotation says, on a dark image, so that a test can prove the axes'
order and that points move with their image.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

ORIENTATION = 0x0112
HALF = 3  # a head is a square of 7 x 7 pixels


def heads(rng: np.random.Generator, size: tuple[int, int], count: int) -> np.ndarray:
    """(count, 2) points, x then y, on pixel centres at least a head from one another and from the border."""
    step = 2 * HALF + 3
    rows, columns = size[0] // step - 1, size[1] // step - 1
    places = rng.permutation(rows * columns)[:count]
    return np.stack([places % columns + 1, places // columns + 1], axis=1) * step + 0.5


def paint(size: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """A dark picture of ``size`` = (H, W) with a bright square at every head."""
    pixels = np.full((*size, 3), 20, dtype=np.uint8)
    for x, y in points.astype(int):
        pixels[y - HALF : y + HALF + 1, x - HALF : x + HALF + 1] = 240
    return pixels


def write_picture(path: Path, pixels: np.ndarray, kind: str = "rgb") -> None:
    """Write a JPEG: "rgb", "grey", "cmyk", or "turned" by its EXIF data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    if kind == "grey":
        image = image.convert("L")
    elif kind == "cmyk":
        image = image.convert("CMYK")
    elif kind == "turned":
        exif[ORIENTATION] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    image.save(path, quality=95, subsampling=0 if image.mode == "RGB" else -1, exif=exif)


def write_image_info(path: Path, points: np.ndarray, *, key: str = "image_info", number: int | None = None) -> None:
    """Write ShanghaiTech's annotation: a cell of a struct of location and number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info = np.empty((1, 1), dtype=object)
    info[0, 0] = {"location": points, "number": float(len(points) if number is None else number)}
    savemat(path, {key: info})


def write_shanghaitech(
    root: Path, part: str = "A", *, final: bool = True, truth: str = "ground-truth", train: int = 12, test: int = 4
) -> dict[str, dict[str, np.ndarray]]:
    """Write one part of ShanghaiTech under ``root``; returns the points of each image of "train" and "test".

    Of the training images the second is grey, the third CMYK, the fourth turned, the fifth and sixth have nobody in
    them (0 x 2 and 0 x 0), the seventh one person. No two images are equal, and their sizes differ from one another.
    """
    rng = np.random.default_rng(0)
    folder = root / f"part_{part}{'_final' if final else ''}"
    written: dict[str, dict[str, np.ndarray]] = {}
    for split, images in (("train", train), ("test", test)):
        written[split] = {}
        for number in range(1, images + 1):
            size = (60 + 6 * number, 120 + 3 * number)
            special = number if split == "train" else 0
            count = {5: 0, 6: 0, 7: 1}.get(special, int(rng.integers(4, 30)))
            points = np.zeros((0, 0)) if special == 6 else heads(rng, size, count)
            kind = {2: "grey", 3: "cmyk", 4: "turned"}.get(special, "rgb")
            stem = f"IMG_{number}"
            place = folder / f"{split}_data"
            write_picture(place / "images" / f"{stem}.jpg", paint(size, points), kind)
            write_image_info(place / truth / f"GT_{stem}.mat", points)
            written[split][stem] = points.reshape(-1, 2)
    return written
