"""Fourteen faults of different kinds in one copy, each named with its file."""

import re
import shutil

import numpy as np
from layouts import heads
from layouts_sets import write_ucf_qnrf, write_worldexpo10
from PIL import Image
from scipy.io import savemat

from workbench.data.check.validator import validate
from workbench.data.files.entries import Published

SIZE = (72, 180)


def test_every_kind_of_fault_is_named_with_its_file(tmp_path):
    write_worldexpo10(tmp_path, frames=6)
    measured = validate("worldexpo10", tmp_path, published={}).measured
    published = {part: Published(f.images, f.people, f.least, f.most) for part, f in measured.items()}
    assert validate("worldexpo10", tmp_path, published=published).ok

    def image(scene, number):
        folder = "train_frame" if scene[0] == "1" and scene != "104207" else f"test_frame/{scene}"
        return f"{folder}/{scene}_A02-S2010062608{number}.jpg"

    def label(scene, number):
        part = "train" if scene in ("100156", "104242") else "test"
        return f"{part}_label/{scene}/{scene}_A02-S2010062608{number}.mat"

    def write(scene, number, points, people=None):
        said = {"point_position": np.asarray(points, dtype=float)}
        savemat(tmp_path / label(scene, number), said | {"point_num": len(points) if people is None else people})

    few = heads(np.random.default_rng(1), (60, 90), 5)
    whole = (tmp_path / image("100156", 0)).read_bytes()
    (tmp_path / image("100156", 0)).write_bytes(whole[: len(whole) // 2])
    (tmp_path / label("100156", 1)).write_bytes(b"x" * 300)
    (tmp_path / label("100156", 2)).unlink()
    (tmp_path / image("100156", 3)).unlink()
    write("100156", 4, few, people=6)
    write("100156", 5, [*few, few[0]])
    write("104242", 0, [*few, [181.0, 5.0]])
    write("104242", 1, [[5.0, 170.0], [60.0, 100.0]])
    shutil.copy(tmp_path / image("104242", 2), tmp_path / image("104242", 3))
    write("104242", 4, [[170.0, 10.0], [5.0, 5.0]])
    Image.new("RGB", (90, 60)).save(tmp_path / image("104207", 0))  # its region's map is of another size
    savemat(tmp_path / "test_label" / "200608" / "roi.mat", {"region": few})
    (tmp_path / "test_label" / "104207" / "roi.mat").unlink()

    report = validate("worldexpo10", tmp_path, published=published)
    expected = {
        ("image", image("100156", 0)): "truncated",
        ("annotation", label("100156", 1)): "not a MATLAB file",
        ("missing annotation", image("100156", 2)): f"there is no {label('100156', 2)}",
        ("missing image", label("100156", 3)): "no image to this annotation",
        ("count", label("100156", 4)): "states 6 people and holds 5",
        ("duplicate points", label("100156", 5)): "1 of 6 points",
        ("outside", label("104242", 0)): r"1 of 6 points .*\(181, 5\)",
        ("axes", label("104242", 1)): "inside with x and y exchanged",
        ("duplicate image", image("104242", 3)): "the same file as .*S20100626082",
        ("outside roi", image("104242", 4)): "1 of 2 points .* not counted",
        ("roi", "test_label/200608/roi.mat"): "holds 'region', expected the variable 'maskVerticesX",
        ("missing roi", image("104207", 0)): r"there is no test_label/104207/roi\.mat",
        ("total", "."): "train has 11 images, published are 12",
        ("extreme", "."): "",
    }
    for (kind, file), message in expected.items():
        said = [f.message for f in report.findings if (f.kind, f.file) == (kind, file)]
        assert said, (kind, file)
        assert any(re.search(message, text) for text in said), (kind, file, said)
    assert len({kind for kind, _ in expected}) == 14
    assert not report.ok


def test_maps_boxes_sizes_and_lists(tmp_path):
    """Kinds that other sets have: a map of another size, heads beside their box, a list that is damaged."""
    write_worldexpo10(tmp_path / "expo")
    savemat(tmp_path / "expo" / "test_perspective" / "104207.mat", {"pMap": np.ones((9, 9))})
    found = validate("worldexpo10", tmp_path / "expo", published={}).findings
    assert ("map", "test_perspective/104207.mat") in {(f.kind, f.file) for f in found}

    (tmp_path / "own").mkdir()
    Image.new("RGB", (20, 10)).save(tmp_path / "own" / "a.png")
    (tmp_path / "own" / "a.json").write_text('{"points": [[1, 1]], "boxes": [[5, 5, 9, 9]]}')
    Image.new("RGB", (20, 10), "red").save(tmp_path / "own" / "b.png")
    (tmp_path / "own" / "b.json").write_text('{"shapes": [], "imageHeight": 20, "imageWidth": 40}')
    found = validate("folder", tmp_path / "own").findings
    assert [(f.kind, f.level, f.file) for f in found] == [("box", "warning", "a.json"), ("size", "error", "b.json")]

    (tmp_path / "own" / "points.csv").write_text("a,b\n1,2\n")
    (finding,) = validate("folder", tmp_path / "own").findings
    assert finding.kind == "list"
    assert "points.csv has the columns 'a', 'b'" in finding.message

    write_ucf_qnrf(tmp_path / "qnrf")
    shutil.rmtree(tmp_path / "qnrf" / "Test")
    assert [f.kind for f in validate("ucf_qnrf", tmp_path / "qnrf", published={}).findings] == ["missing part"]
