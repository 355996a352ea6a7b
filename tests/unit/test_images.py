import os
import struct
import subprocess
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.data.files.images import ImageError, image_size, read_image, read_pixels

# four colours in four corners, in blocks that JPEG keeps apart
RED, GREEN, BLUE, GREY = (230, 20, 30), (20, 200, 40), (30, 40, 220), (128, 128, 128)


def corners(height=32, width=48) -> np.ndarray:
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    half, middle = height // 2, width // 2
    pixels[:half, :middle], pixels[:half, middle:] = RED, GREEN
    pixels[half:, :middle], pixels[half:, middle:] = BLUE, GREY
    return pixels


def found(pixels: np.ndarray) -> list[tuple[int, ...]]:
    height, width = pixels.shape[:2]
    return [tuple(int(v) for v in pixels[r, c]) for r in (4, height - 4) for c in (4, width - 4)]


def near(pixels, expected, tolerance=12):
    return np.abs(np.array(found(pixels)) - np.array(expected)).max() <= tolerance


def test_pixels_and_values_are_exact(tmp_path):
    Image.fromarray(corners()).save(tmp_path / "a.png")
    assert np.array_equal(read_pixels(tmp_path / "a.png"), corners())
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.float32
    assert image.shape == (3, 32, 48)
    torch.testing.assert_close(image[:, 0, 0], torch.tensor(RED) / 255)
    assert image_size(str(tmp_path / "a.png")) == (32, 48)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("CMYK", "jpg"), ("CMYK", "tif"), ("P", "png"), ("P", "gif"), ("RGBA", "png")]
)
def test_other_colour_modes_show_the_same_colours(tmp_path, mode, suffix):
    image = Image.fromarray(corners())
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    image.save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as stored:
        assert stored.mode == mode
    assert near(read_pixels(tmp_path / f"a.{suffix}"), [RED, GREEN, BLUE, GREY])


def test_grey_and_bilevel_images_have_three_equal_channels(tmp_path):
    ramp = np.arange(0, 256, 4, dtype=np.uint8)[None].repeat(8, axis=0)
    Image.fromarray(ramp).save(tmp_path / "l.png")
    assert np.array_equal(read_pixels(tmp_path / "l.png"), ramp[..., None].repeat(3, axis=2))
    Image.fromarray(ramp > 100).save(tmp_path / "1.png")
    assert np.array_equal(read_pixels(tmp_path / "1.png")[..., 1], np.where(ramp > 100, 255, 0))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_not_cut(tmp_path, suffix):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
    expected = np.round(ramp / 65535 * 255)
    assert np.abs(read_pixels(tmp_path / f"a.{suffix}")[..., 0] - expected).max() <= 1


def test_what_is_transparent_shows_white(tmp_path):
    pixels = np.dstack([corners(), np.full((32, 48), 255, dtype=np.uint8)])
    pixels[:16, :24, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert found(read_pixels(tmp_path / "a.png")) == [(255, 255, 255), GREEN, BLUE, GREY]


# what the file stores when the camera's tag says how to turn it back
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", sorted(STORED))
def test_turned_photographs_come_upright(tmp_path, orientation):
    upright = Image.fromarray(corners())
    stored = upright.transpose(STORED[orientation]) if STORED[orientation] is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    pixels = read_pixels(tmp_path / "a.jpg")
    assert pixels.shape == (32, 48, 3)
    assert near(pixels, [RED, GREEN, BLUE, GREY])
    assert image_size(tmp_path / "a.jpg") == (32, 48)


@pytest.mark.bad_input
def test_bad_files_are_named(tmp_path):
    Image.fromarray(corners(256, 256)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("count: 12")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "script.jpg").write_text(
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({tmp_path}/ran) (w) file\n"
    )
    os.mkfifo(tmp_path / "pipe.jpg")
    with open(tmp_path / "sparse.jpg", "wb") as file:
        file.write(whole)
        file.truncate((1 << 29) + 1)
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "float.tif")
    for name, message in [
        ("cut.jpg", "damaged image.*truncated"),
        ("text.jpg", "is not an image of a kind that is read"),
        ("empty.jpg", "is not an image of a kind that is read"),
        ("folder.jpg", "is a folder, expected an ordinary file with the image"),
        ("script.jpg", r"is not an image of a kind that is read \(JPEG, PNG, BMP, TIFF, GIF, WEBP\)"),
        ("pipe.jpg", "is a pipe, socket or device, expected an ordinary file"),
        ("sparse.jpg", "has 536,870,913 bytes, expected at most 536,870,912"),
        ("float.tif", "floating-point numbers, expected 8 or 16 bits"),
    ]:
        with pytest.raises(ImageError, match=rf"{name}.*{message}"):
            read_image(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"no image .*missing\.jpg"):
        read_image(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match=r"whole\.jpg has 256 x 256 pixels, expected at most max_pixels = 1000"):
        read_image(tmp_path / "whole.jpg", max_pixels=1000)
    with pytest.raises(ValueError, match="max_pixels is 0"):
        image_size(tmp_path / "whole.jpg", max_pixels=0)


@pytest.mark.bad_input
def test_a_bomb_is_refused_by_its_header(tmp_path):
    # pixels of one colour in a few kilobytes; the first is below PIL's own limit, the last far above it
    for width, height, message in (
        (12_200, 12_200, "has 12200 x 12200 pixels, expected at most max_pixels = 80000000"),
        (10_000, 16_000, "has 10000 x 16000 pixels, expected at most"),
        (10_000, 20_000, "is too large"),
    ):
        Image.new("1", (width, height)).save(tmp_path / "bomb.png")
        assert (tmp_path / "bomb.png").stat().st_size < 50_000
        with pytest.raises(ImageError, match=rf"bomb\.png {message}"):
            read_image(tmp_path / "bomb.png")


@pytest.mark.bad_input
def test_bombs_beside_the_size_are_refused(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "whole.jpg", progressive=True)
    whole = (tmp_path / "whole.jpg").read_bytes()
    begin, end = whole.rindex(b"\xff\xda"), whole.rindex(b"\xff\xd9")
    (tmp_path / "scans.jpg").write_bytes(whole[:end] + whole[begin:end] * 91 + whole[end:])
    with pytest.raises(ImageError, match=r"scans\.jpg is a JPEG of 101 scans, expected at most 100"):
        read_pixels(tmp_path / "scans.jpg")
    (tmp_path / "scans.jpg").write_bytes(whole[:end] + whole[begin:end] * 90 + whole[end:])
    assert read_pixels(tmp_path / "scans.jpg").shape == (64, 64, 3)

    # 16 x 16 pixels in one tile of 20,000 x 20,000, which would be unfolded whole
    tags = [
        (256, 16),
        (257, 16),
        (258, 8),
        (259, 8),
        (262, 1),
        (277, 1),
        (322, 20_000),
        (323, 20_000),
        (324, 8),
        (325, 99),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    body = zlib.compress(bytes(1000)).ljust(99)
    offset = 8 + len(body)
    header = struct.pack("<2sHI", b"II", 42, offset)
    (tmp_path / "tile.tif").write_bytes(header + body + struct.pack("<H", len(tags)) + entries + bytes(4))
    with pytest.raises(ImageError, match=r"tile\.tif has 20000 x 20000 pixels"):
        read_pixels(tmp_path / "tile.tif")
    Image.new("RGB", (100, 90)).save(tmp_path / "a.webp")
    assert read_pixels(tmp_path / "a.webp", max_pixels=18_000).shape == (90, 100, 3)
    with pytest.raises(ImageError, match=r"a\.webp has 100 x 90 pixels, expected at most max_pixels = 8999"):
        read_pixels(tmp_path / "a.webp", max_pixels=17_999)


LIMITED = """
import resource, sys, time
from workbench.data.files.images import read_image
started = time.process_time()
print(tuple(read_image(sys.argv[1]).shape))
print(time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "name"), [("RGB", "a.jpg"), ("RGBA", "a.png"), ("I;16", "a.png"), ("CMYK", "a.tif")])
def test_the_largest_image_stays_below_two_gigabytes_and_ten_seconds(tmp_path, mode, name):
    Image.new(mode, (8_940, 8_940)).save(tmp_path / name, **({} if name.endswith("png") else {"quality": 50}))
    said = subprocess.check_output([sys.executable, "-c", LIMITED, str(tmp_path / name)], text=True).splitlines()
    assert said[0] == "(3, 8940, 8940)"
    seconds, gigabytes = map(float, said[1].split())
    assert seconds < 10
    assert gigabytes < 2


@pytest.mark.bad_input
@pytest.mark.filterwarnings("ignore")
def test_any_damage_gives_an_image_or_the_one_error(tmp_path):
    rng, read = np.random.default_rng(0), 0
    for suffix in ("jpg", "png", "tif", "gif", "bmp", "webp"):
        Image.fromarray(corners()).save(tmp_path / f"a.{suffix}")
        whole = bytearray((tmp_path / f"a.{suffix}").read_bytes())
        for _ in range(40):
            damaged = bytearray(whole[: int(rng.integers(len(whole)))] if rng.random() < 0.3 else whole)
            for place in rng.integers(max(1, len(damaged)), size=8):
                if len(damaged):
                    damaged[place % len(damaged)] = int(rng.integers(256))
            (tmp_path / f"b.{suffix}").write_bytes(damaged)
            with suppress(ImageError):
                pixels = read_pixels(tmp_path / f"b.{suffix}", max_pixels=10_000_000)
                assert pixels.ndim == 3
                assert pixels.dtype == np.uint8
                read += 1
    assert 20 < read < 240
