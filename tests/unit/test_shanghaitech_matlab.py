"""MATLAB files: what is sound is read, what is damaged is refused before the decoder can crash on it."""

import re
import struct
import subprocess
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from layouts import write_image_info
from scipy.io import savemat
from scipy.sparse import eye_array

from workbench.data.files.matlab import read_mat, unwrap_cells
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
    record = unwrap_cells(read_mat(tmp_path / "a.mat", "struct"))
    np.testing.assert_array_equal(record["location"], POINTS)
    assert unwrap_cells(record["inner"])["name"].item() == "IMG_1"


def test_unwrap_stops_at_numbers():
    nested = np.empty((1, 1), dtype=object)
    nested[0, 0] = np.array([[7.0]])
    assert unwrap_cells(nested).tolist() == [[7.0]]
    assert unwrap_cells(np.zeros((0, 2))).shape == (0, 2)


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
    with pytest.raises(ValueError, match="decompresses to more than"):
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


def test_version_4_is_read(tmp_path):
    savemat(tmp_path / "a.mat", {"annPoints": POINTS, "name": "IMG_1"}, format="4")
    np.testing.assert_array_equal(read_mat(tmp_path / "a.mat", "annPoints"), POINTS)
    assert read_mat(tmp_path / "a.mat", "name").item() == "IMG_1"


@pytest.mark.bad_input
def test_a_variable_that_is_stored_twice_is_named(tmp_path):
    for version in ("4", "5"):
        savemat(tmp_path / "a.mat", {"annPoints": POINTS}, format=version)
        savemat(tmp_path / "b.mat", {"other": POINTS, "annPoints": POINTS[:3]}, format=version)
        skipped = 0 if version == "4" else 128  # the header of version 5
        with open(tmp_path / "a.mat", "ab") as file:
            file.write((tmp_path / "b.mat").read_bytes()[skipped:])
        with pytest.raises(ValueError, match=r"a\.mat is not .*it holds 'annPoints' more than once"):
            read_mat(tmp_path / "a.mat", "annPoints")


def annotation_bomb(kind: str, path) -> str:
    """Write a small file that unfolds into gigabytes, or takes minutes; returns what its refusal says."""
    if kind == "one array":
        savemat(path, {"annPoints": np.zeros((40_000_000, 2), dtype=np.uint8)}, do_compression=True)
        return "the file decompresses to more than 67,108,864 bytes"
    if kind == "many arrays":
        arrays = {f"a{number}": np.zeros((1_000_000, 2), dtype=np.uint8) for number in range(40)}
        savemat(path, arrays | {"annPoints": POINTS}, do_compression=True)
        return "the file decompresses to more than 67,108,864 bytes"
    if kind == "many people":
        savemat(path, {"annPoints": np.zeros((20_000_000, 2), dtype=np.uint8)}, do_compression=True)
        return "holds 20,000,000 points, expected at most 1,000,000"
    if kind == "version 4":
        arrays = (struct.pack("<5i6s", 0, 0, 0, 0, 6, f"{number:05x}".encode()) for number in range(400_000))
        path.write_bytes(b"".join(arrays))
        return "it is of version 4 and has 10,400,000 bytes, expected at most 8,388,608"
    if kind == "cells":
        body = struct.pack("<IIII", 6, 8, CELL_CLASS, 0) + struct.pack("<IIii", 5, 8, 8_000_000, 1)
        body += struct.pack("<II", 1, 9) + b"annPoints".ljust(16, b"\0") + struct.pack("<II", 14, 0) * 8_000_000
        folded = zlib.compress(struct.pack("<II", 14, len(body)) + body)
        path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(folded)) + folded)
        return "it holds more than 200,000 arrays"
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM")
    with open(path, "ab") as file:
        file.truncate(1 << 33)  # a hole of 8 GB
    return "has 8,589,934,592 bytes, expected at most"


CELL_CLASS = 1
LIMITED = """
import resource, sys, time
from workbench.data import open_dataset
from workbench.data.readers.ucf_cc_50 import UCFCC50
from pathlib import Path
import scipy.io
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    started = time.process_time()
    try:
        UCFCC50.read_annotation(Path(path))
    except ValueError as error:
        print(time.process_time() - started, error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6)
"""


@pytest.mark.bad_input
def test_bombs_cost_neither_memory_nor_time(tmp_path):
    kinds = ("one array", "many arrays", "many people", "cells", "version 4", "a hole")
    messages = {tmp_path / f"{kind}.mat": annotation_bomb(kind, tmp_path / f"{kind}.mat") for kind in kinds}
    command = [sys.executable, "-c", LIMITED, *map(str, messages)]
    *said, gigabytes = subprocess.check_output(command, text=True).splitlines()
    for line, (path, message) in zip(said, messages.items(), strict=True):
        assert re.search(rf"{re.escape(str(path))} .*({message})", line)
        assert float(line.split()[0]) < 10
    assert float(gigabytes) < 1
