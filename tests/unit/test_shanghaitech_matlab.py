"""MATLAB files: what is sound is read, what is damaged is refused before the decoder can crash on it."""

import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from layouts import write_image_info
from scipy.io import savemat
from scipy.sparse import eye_array

from workbench.data.files.matlab import read_mat, unwrap
from workbench.data.readers.shanghaitech import ShanghaiTech

POINTS = np.random.default_rng(0).uniform(0, 100, (20, 2))


@pytest.mark.parametrize("compressed", [True, False])
def test_every_sound_kind_of_value_is_read(tmp_path, compressed):
    cells = np.empty((2, 3), dtype=object)
    for index in np.ndindex(2, 3):
        cells[index] = np.full(index, sum(index), dtype=np.int16)
    values = {
        "double": POINTS,
        "single": POINTS.astype(np.float32),
        "mask": POINTS > 50,
        "whole": np.arange(7, dtype=np.uint64),
        "complex": POINTS + 2j,
        "text": "größe",
        "none": np.zeros((0, 2)),
        "nothing": "",
        "cells": cells,
        "struct": {"location": POINTS, "inner": {"name": "IMG_1", "n": 3.0}},
    }
    savemat(tmp_path / "a.mat", values, do_compression=compressed)
    for key in ("double", "single", "mask", "complex", "none"):
        np.testing.assert_array_equal(read_mat(tmp_path / "a.mat", key), values[key])
    assert read_mat(tmp_path / "a.mat", "text").item() == "größe"
    found = read_mat(tmp_path / "a.mat", "cells")
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(found[index], cells[index])
    record = unwrap(read_mat(tmp_path / "a.mat", "struct"))
    np.testing.assert_array_equal(record["location"], POINTS)
    assert unwrap(record["inner"])["name"].item() == "IMG_1"


def test_unwrap_stops_at_numbers():
    nested = np.empty((1, 1), dtype=object)
    nested[0, 0] = np.array([[7.0]])
    assert unwrap(nested).tolist() == [[7.0]]
    assert unwrap(np.zeros((0, 2))).shape == (0, 2)


def patched(tmp_path, place: int, code: bytes):
    """The annotation of 20 points with some bytes replaced."""
    path = tmp_path / "a.mat"
    write_image_info(path, POINTS)
    content = bytearray(path.read_bytes())
    content[place : place + len(code)] = code
    path.write_bytes(content)
    return path


def place_of(tmp_path, pattern: bytes) -> int:
    write_image_info(tmp_path / "a.mat", POINTS)
    content = (tmp_path / "a.mat").read_bytes()
    assert content.count(pattern) == 1
    return content.index(pattern)


@pytest.mark.bad_input
def test_codes_and_sizes_that_lie_are_refused(tmp_path):
    data = place_of(tmp_path, struct.pack("<II", 9, 320))  # the tag of the 20 x 2 doubles
    shape = place_of(tmp_path, struct.pack("<IIii", 5, 8, 20, 2)) + 8
    for place, code, message in [
        (data, struct.pack("<I", 8), "of type 8"),  # a type that no one knows crashes scipy 1.17
        (data, struct.pack("<I", 60_000), "of type 60000"),
        (data + 4, struct.pack("<I", 1 << 30), "reaches past the end"),
        (shape, struct.pack("<i", 1 << 30), r"array of shape \(1073741824, 2\) holds 320 bytes"),
        (shape, struct.pack("<i", -20), "header is damaged"),
        (132, struct.pack("<I", 1 << 20), "reaches past the end"),
        (126, b"XX", "its header is not a MATLAB file's"),
    ]:
        with pytest.raises(ValueError, match=rf"a\.mat is not a MATLAB file that can be read: .*{message}"):
            read_mat(patched(tmp_path, place, code), "image_info")


@pytest.mark.bad_input
def test_objects_bombs_and_endless_nesting_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"image_info": eye_array(3).tocsc()})
    with pytest.raises(ValueError, match="array of class 5, expected numbers, text, cells or structs"):
        read_mat(path, "image_info")
    flags = place_of(tmp_path, struct.pack("<IIii", 5, 8, 20, 2)) - 8  # they stand before the shape
    path = patched(tmp_path, flags, struct.pack("<I", 17))  # opaque, as MATLAB stores objects
    with pytest.raises(ValueError, match="array of class 17"):
        read_mat(path, "image_info")
    deep: object = POINTS
    for _ in range(40):
        cell = np.empty((1, 1), dtype=object)
        cell[0, 0] = deep
        deep = cell
    savemat(path, {"image_info": deep})
    with pytest.raises(ValueError, match="nested more than 12 deep"):
        read_mat(path, "image_info")
    squeezer = zlib.compressobj(1)
    bomb = b"".join(squeezer.compress(bytes(1 << 24)) for _ in range(17)) + squeezer.flush()
    header = path.read_bytes()[:128]
    path.write_bytes(header + struct.pack("<II", 15, len(bomb)) + bomb)
    assert path.stat().st_size < 5_000_000
    with pytest.raises(ValueError, match="unfolds to more than"):
        read_mat(path, "image_info")


@pytest.mark.bad_input
@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_annotations_give_points_or_one_error(tmp_path, compressed):
    rng, path, read = np.random.default_rng(0), tmp_path / "a.mat", 0
    write_image_info(path, POINTS)
    header, body = path.read_bytes()[:128], path.read_bytes()[128:]
    for _ in range(300):
        damaged = bytearray(body[: int(rng.integers(len(body)))] if rng.random() < 0.3 else body)
        for place in rng.integers(max(1, len(damaged)), size=2 if damaged else 0):
            # where the codes and sizes stand more often than among the numbers
            place = min(int(place), int(rng.integers(600)))
            damaged[place] = int(rng.choice([0, 1, 2, 14, 255, int(rng.integers(256))]))
        folded = zlib.compress(bytes(damaged))
        path.write_bytes(header + (struct.pack("<II", 15, len(folded)) + folded if compressed else damaged))
        with suppress(ValueError):
            annotation = ShanghaiTech.read_annotation(path)
            assert annotation.points.shape[1] == 2
            assert torch.isfinite(annotation.points).all()
            read += 1
    assert 10 < read < 290
