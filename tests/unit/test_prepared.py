"""Prepared images: the same samples, read in parts; stopped, changed and damaged preparations."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import write_picture, write_shanghaitech
from layouts_sets import WRITERS

from workbench.data import Draw, open_dataset
from workbench.data.check.validator import reader
from workbench.data.files.preparing import prepare
from workbench.data.patches import TrainingPatches
from workbench.data.readers.shanghaitech import ShanghaiTechA

pytestmark = pytest.mark.pipeline

KNOWN = ("points", "boxes", "head_sizes", "roi", "perspective", "depth")


def assert_same(found, wanted, tolerance=0.0):
    assert (found.name, found.level, found.label, found.attributes) == (
        wanted.name,
        wanted.level,
        wanted.label,
        wanted.attributes,
    )
    assert found.annotated == wanted.annotated
    torch.testing.assert_close(found.image, wanted.image, atol=tolerance, rtol=0)
    for name in KNOWN:
        ours, theirs = getattr(found, name), getattr(wanted, name)
        assert (ours is None) == (theirs is None)
        assert ours is None or (torch.equal(ours, theirs) and ours.dtype == theirs.dtype)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_prepared_samples_are_the_samples(tmp_path, name):
    WRITERS[name](tmp_path / "set")
    plain = open_dataset(name, tmp_path / "set", "test")
    kept = open_dataset(name, tmp_path / "set", "test", prepared=tmp_path / "cache")
    for _ in range(2):  # written, then read
        for index in range(len(plain)):
            assert_same(kept[index], plain[index])
    small = {"resize": "longest:96,multiple:16"}
    plain = open_dataset(name, tmp_path / "set", "test", **small)
    kept = open_dataset(name, tmp_path / "set", "test", prepared=tmp_path / "cache", **small)
    for index in range(len(plain)):
        assert_same(kept[index], plain[index], tolerance=0.5 / 255 + 1e-6)  # eight bits are kept
    assert len(list((tmp_path / "cache").iterdir())) == 2  # one folder for each way of reading


def test_a_patch_of_a_prepared_image_is_that_of_the_image(tmp_path):
    write_shanghaitech(tmp_path / "set")
    plain = TrainingPatches(open_dataset("shanghaitech_a", tmp_path / "set"), 48)
    kept = TrainingPatches(open_dataset("shanghaitech_a", tmp_path / "set", prepared=tmp_path / "cache"), 48)
    for index in range(len(plain)):
        for seed in range(3):
            assert_same(kept[Draw(index, seed)], plain[Draw(index, seed)])


def test_preparation_writes_each_image_once(tmp_path):
    write_shanghaitech(tmp_path / "set")
    seen = []
    done, folder = prepare(ShanghaiTechA, tmp_path / "set", tmp_path / "cache", on_done=seen.append)
    assert done == (16, 0, 16)
    assert [step.prepared for step in seen] == list(range(1, 17))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert len(before) == 2 * 16 + 1
    assert prepare(ShanghaiTechA, tmp_path / "set", tmp_path / "cache", workers=1)[0] == (0, 16, 16)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    about = json.loads((folder / "about.json").read_text())
    assert (about["dataset"], about["resize"], about["format"]) == ("shanghaitech_a", "none", 1)


def test_what_is_damaged_or_changed_is_prepared_anew(tmp_path):
    written = write_shanghaitech(tmp_path / "set", train=3, test=1)
    prepared = open_dataset("shanghaitech_a", tmp_path / "set", "test", prepared=tmp_path / "cache")
    plain = open_dataset("shanghaitech_a", tmp_path / "set", "test")
    _ = prepared[0]
    pixels, people = (next((tmp_path / "cache").rglob(f"*.{kind}")) for kind in ("npy", "npz"))
    for path in (pixels, people):
        whole = path.read_bytes()
        for content in (b"", whole[: len(whole) // 2], b"\x80\x04" + whole):
            path.write_bytes(content)
            assert_same(prepared[0], plain[0])
            assert path.read_bytes() == whole
    image = tmp_path / "set" / "part_A_final" / "test_data" / "images" / "IMG_1.jpg"
    write_picture(image, np.full((*plain[0].size, 3), 7, dtype=np.uint8))
    os.utime(image, ns=(1, 1))
    assert float(prepared[0].image.mean()) == pytest.approx(7 / 255, abs=2e-3)
    assert prepared[0].count == len(written["test"]["IMG_1"])


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    write_shanghaitech(tmp_path / "set", train=2, test=1)
    data = open_dataset("shanghaitech_a", tmp_path / "set", "test", prepared=tmp_path / "cache")
    wanted = data[0]

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    for path in [*(tmp_path / "cache").rglob("*.npy"), *(tmp_path / "cache").rglob("*.npz")]:
        objects = np.array([Trap()], dtype=object)
        with open(path, "wb") as file:
            np.savez(file, about=objects) if path.suffix == ".npz" else np.save(file, objects)
        assert_same(data[0], wanted)
    assert not (tmp_path / "sprung").exists()


def test_points_and_sizes_come_from_what_is_prepared(tmp_path):
    write_shanghaitech(tmp_path / "set")
    plain = open_dataset("shanghaitech_a", tmp_path / "set", resize="multiple:16")
    kept = open_dataset("shanghaitech_a", tmp_path / "set", resize="multiple:16", prepared=tmp_path / "cache")
    before = [kept.points(index) for index in range(len(kept))]
    list(kept)
    for index in range(len(plain)):
        assert torch.equal(before[index], kept.points(index))
        torch.testing.assert_close(plain.points(index), kept.points(index))
        assert plain.size_of(index) == kept.size_of(index) == kept[index].size


def test_a_damaged_image_stops_preparation_with_its_name_and_keeps_the_rest(tmp_path):
    write_shanghaitech(tmp_path / "set")
    image = tmp_path / "set" / "part_A_final" / "train_data" / "images" / "IMG_5.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[:300])
    for workers in (0, 1):
        with pytest.raises(ValueError, match=r"IMG_5\.jpg is a damaged image") as caught:
            prepare(ShanghaiTechA, tmp_path / "set", tmp_path / "cache", workers=workers)
        assert "Traceback" not in str(caught.value)
    image.write_bytes(whole)
    done, _ = prepare(ShanghaiTechA, tmp_path / "set", tmp_path / "cache")
    assert done.found >= 4
    assert done.prepared + done.found == 16


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from workbench.data.files.preparing import prepare
from workbench.data.check.validator import reader
prepare(reader("ucf_cc_50"), sys.argv[1], sys.argv[2], workers=int(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_preparation_goes_on_after_kill_9(tmp_path, workers):
    WRITERS["ucf_cc_50"](tmp_path / "set", images=160)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "set"), str(tmp_path / "cache"), str(workers)]
    kept: dict[Path, int] = {}
    rng, kills = np.random.default_rng(0), 0
    for _ in range(40):
        process = subprocess.Popen(command, start_new_session=True)
        while len(list((tmp_path / "cache").rglob("*.npz"))) < len(kept) + 40 and process.poll() is None:
            time.sleep(0.01)
        time.sleep(float(rng.random()) * 0.02)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # the workers too, at once
            kills += 1
        process.wait()
        # whatever was there before this call is still the same file
        for path, changed in kept.items():
            assert path.stat().st_mtime_ns == changed
        kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npz") if path.name[0] != "."}
        if process.returncode == 0:
            break
    assert kills >= 3
    assert len(kept) == 160
    done, _ = prepare(reader("ucf_cc_50"), tmp_path / "set", tmp_path / "cache")
    assert done == (0, 160, 160)
    plain = open_dataset("ucf_cc_50", tmp_path / "set", "trainval")
    again = open_dataset("ucf_cc_50", tmp_path / "set", "trainval", prepared=tmp_path / "cache")
    for index in range(0, len(plain), 7):
        assert_same(again[index], plain[index])


def resident() -> float:
    """MiB of this process."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="asks the kernel of Linux")
def test_reading_keeps_nothing_in_memory(tmp_path):
    for number in range(60):
        write_picture(tmp_path / "set" / "test" / f"{number}.png", np.full((500, 700, 3), number, dtype=np.uint8))
        (tmp_path / "set" / "test" / f"{number}.csv").write_text("x,y\n5,5\n")
    data = TrainingPatches(open_dataset("folder", tmp_path / "set", "test", prepared=tmp_path / "cache"), 64)
    for index in range(10):
        _ = data[index]
    before = resident()
    for index in range(60):  # prepares 50 images of a megabyte, and reads all
        _ = data[index]
    assert resident() - before < 15
