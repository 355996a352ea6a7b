import json
import re
import shutil

import numpy as np
import pytest
from layouts import heads, write_image_info, write_shanghaitech
from PIL import Image

from workbench.data.check.validator import save_overlay_sheet, validate
from workbench.data.files.folders import Published
from workbench.data.readers.shanghaitech import ShanghaiTechA
from workbench.plots import basic

TRAIN, TEST = "part_A_final/train_data", "part_A_final/test_data"


def figures(written) -> dict[str, Published]:
    counts = {part: [len(points) for points in images.values()] for part, images in written.items()}
    counts["all"] = counts["train"] + counts["test"]
    return {part: Published(len(c), sum(c), min(c), max(c)) for part, c in counts.items()}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("clean")
    return root, figures(write_shanghaitech(root))


@pytest.fixture
def copy(clean, tmp_path):
    shutil.copytree(clean[0], tmp_path / "copy")
    return tmp_path / "copy", clean[1]


def found(report, kind):
    return {finding.file: finding for finding in report.findings if finding.kind == kind}


def test_a_clean_copy_passes(clean):
    root, published = clean
    report = validate("shanghaitech_a", root, published=published)
    assert report.ok
    assert report.findings == []
    for part, wanted in published.items():
        measured = report.measured[part]
        assert (measured.images, measured.people, measured.least, measured.most) == wanted
    assert report.measured["all"].empty == 2
    assert "0 errors, 0 warnings, 0 notes" in report.to_text()


def test_every_planted_fault_is_named_with_its_file(copy):
    root, published = copy
    images, truths = root / TRAIN / "images", root / TRAIN / "ground-truth"
    points = heads(np.random.default_rng(1), (132, 156), 12)

    whole = (images / "IMG_1.jpg").read_bytes()
    (images / "IMG_1.jpg").write_bytes(whole[: len(whole) // 2])
    write_image_info(truths / "GT_IMG_2.mat", points, key="annPoints")
    write_image_info(truths / "GT_IMG_3.mat", np.array([[500.0, 5.0], [5.0, 5.0]]))
    (truths / "GT_IMG_4.mat").unlink()
    write_image_info(truths / "GT_IMG_5.mat", np.zeros((0, 2)), number=3)
    write_image_info(truths / "GT_IMG_8.mat", np.array([[5.0, 6.0], [5.0, 6.0], [9.0, 9.0]]))
    tall = Image.open(images / "IMG_9.jpg").size
    write_image_info(truths / "GT_IMG_9.mat", np.array([[10.0, tall[0] - 1.0], [tall[1] - 1.0, 3.0]]))
    shutil.copy(images / "IMG_10.jpg", root / TEST / "images" / "IMG_4.jpg")
    (images / "IMG_11.jpg").write_text("not an image")
    (truths / "GT_IMG_12.mat").write_bytes(b"\x00" * 500)
    write_image_info(truths / "GT_IMG_99.mat", points)
    write_image_info(truths / "GT_IMG_6.mat", np.array([[np.nan, 1.0]]))

    report = validate("shanghaitech_a", root, published=published)
    assert not report.ok
    expected = {
        ("image", f"{TRAIN}/images/IMG_1.jpg"): "truncated",
        ("annotation", f"{TRAIN}/ground-truth/GT_IMG_2.mat"): "holds 'annPoints', expected the variable 'image_info'",
        ("outside", f"{TRAIN}/ground-truth/GT_IMG_3.mat"): r"1 of 2 points .* \(500, 5\)",
        ("missing annotation", f"{TRAIN}/images/IMG_4.jpg"): "there is no .*GT_IMG_4.mat",
        ("count", f"{TRAIN}/ground-truth/GT_IMG_5.mat"): "states 3 people and holds 0",
        ("annotation", f"{TRAIN}/ground-truth/GT_IMG_6.mat"): "NaN or infinite",
        ("duplicate points", f"{TRAIN}/ground-truth/GT_IMG_8.mat"): "1 of 3 points",
        ("axes", f"{TRAIN}/ground-truth/GT_IMG_9.mat"): "inside with x and y exchanged",
        ("image", f"{TRAIN}/images/IMG_11.jpg"): "not an image",
        ("annotation", f"{TRAIN}/ground-truth/GT_IMG_12.mat"): "not a MATLAB file",
        ("missing image", f"{TRAIN}/ground-truth/GT_IMG_99.mat"): "no image",
        ("duplicate image", f"{TEST}/images/IMG_4.jpg"): "the same file as .*IMG_10.jpg",
    }
    for (kind, file), message in expected.items():
        assert file in found(report, kind), (kind, file)
        assert re.search(message, found(report, kind)[file].message), (kind, file)
    per_file = [f for f in report.findings if f.kind not in ("total", "extreme", "outside")]
    # nothing else is found, but that the copied picture's own annotation may not fit it
    assert {(f.kind, f.file) for f in per_file} <= set(expected) | {("axes", f"{TEST}/ground-truth/GT_IMG_4.mat")}
    assert found(report, "total")["."].message.startswith("all has")
    assert json.loads(json.dumps(report.to_dict()))["ok"] is False
    text = report.to_text()
    assert all(file in text for _, file in expected)


def test_totals_are_held_against_the_published_ones(clean):
    root, published = clean
    report = validate("shanghaitech_a", root)
    assert not report.ok
    messages = [f.message for f in report.findings]
    assert "train has 12 images, published are 300" in messages
    people = published["test"].people
    assert f"test has {people} people, published are 78,862 (the paper prints 78,970)" in messages
    assert any(m.startswith("test has at most") and m.endswith("published are 2,256") for m in messages)
    assert {f.kind for f in report.findings} == {"total", "extreme"}
    # a figure that could not be verified does not fail
    unknown = {part: Published(images=p.images) for part, p in published.items()}
    assert validate("shanghaitech_a", root, published=unknown).ok
    more = published | {"all": published["all"]._replace(people=published["all"].people + 1)}
    only = validate("shanghaitech_a", root, published=more).findings
    assert [f.kind for f in only] == ["total"]


def test_a_part_that_is_not_there_is_one_finding(copy):
    root, published = copy
    shutil.rmtree(root / TEST)
    report = validate("shanghaitech_a", root, published=published)
    assert [f.kind for f in report.findings] == ["missing part"]
    assert set(report.measured) == {"train"}


def test_known_errors_of_the_published_set_are_remarked(tmp_path):
    written = write_shanghaitech(tmp_path, "B", train=2, test=1)
    folder = tmp_path / "part_B_final" / "train_data"
    (folder / "images" / "IMG_2.jpg").rename(folder / "images" / "IMG_108.jpg")
    (folder / "ground-truth" / "GT_IMG_2.mat").rename(folder / "ground-truth" / "GT_IMG_108.mat")
    report = validate("shanghaitech_b", tmp_path, published=figures(written))
    assert report.ok
    (known,) = report.findings
    assert (known.level, known.file) == ("warning", "part_B_final/train_data/images/IMG_108.jpg")
    assert known.message == "its points are wrong: known of the published set"


def test_one_picture_in_two_parts_is_named_once_where_that_is_known(tmp_path):
    written = write_shanghaitech(tmp_path, "A", train=2, test=1)
    for part, old, new in ((TRAIN, "IMG_2", "IMG_121"), (TEST, "IMG_1", "IMG_98")):
        (tmp_path / part / "images" / f"{old}.jpg").rename(tmp_path / part / "images" / f"{new}.jpg")
        (tmp_path / part / "ground-truth" / f"GT_{old}.mat").rename(tmp_path / part / "ground-truth" / f"GT_{new}.mat")
    for file in ("images/{}.jpg", "ground-truth/GT_{}.mat"):
        shutil.copy(tmp_path / TRAIN / file.format("IMG_121"), tmp_path / TEST / file.format("IMG_98"))
    findings = validate("shanghaitech_a", tmp_path, published={}).findings
    assert written["train"]
    assert {(f.level, f.kind, f.file) for f in findings} == {
        ("warning", "known", f"{TRAIN}/images/IMG_121.jpg"),
        ("warning", "known", f"{TEST}/images/IMG_98.jpg"),
    }


def test_totals_of_the_published_files_are_right_and_the_papers_are_mentioned(clean, monkeypatch):
    root, published = clean
    people = published["test"].people
    monkeypatch.setattr(ShanghaiTechA, "published", published)
    monkeypatch.setattr(ShanghaiTechA, "printed", {"test": Published(people=people + 108)})
    report = validate("shanghaitech_a", root)
    assert report.ok
    assert [(f.level, f.message) for f in report.findings] == [
        ("note", f"test has {people} people, as the published files have (the paper prints {people + 108})")
    ]
    # a copy that has the paper's total is right too, any other is not
    monkeypatch.setattr(ShanghaiTechA, "printed", {"test": Published(people=people)})
    for known, ok in ((people + 5, True), (people, True)):
        monkeypatch.setattr(ShanghaiTechA, "published", published | {"test": published["test"]._replace(people=known)})
        assert validate("shanghaitech_a", root).ok is ok
    monkeypatch.setattr(ShanghaiTechA, "printed", {"test": Published(people=people + 1)})
    monkeypatch.setattr(ShanghaiTechA, "published", published | {"test": published["test"]._replace(people=people + 5)})
    assert not validate("shanghaitech_a", root).ok


def test_columns_of_the_report_never_run_together(copy):
    root, published = copy
    (root / TRAIN / "ground-truth" / "GT_IMG_4.mat").unlink()
    huge = {part: Published(10**9, 10**12, 10**9, 10**12) for part in published}
    lines = validate("shanghaitech_a", root, published=huge).to_text().splitlines()
    assert lines[2].split() == ["part", "images", "people", "least", "most"]
    for line, part in zip(lines[3:6], ("train", "test", "all"), strict=True):
        cells = re.split(r"  +", line)
        assert len(cells) == 5
        assert cells[0] == part
        assert all(re.fullmatch(r"[\d,]+ \(published [\d,]+\)", cell) for cell in cells[1:])
    assert any(
        re.match(rf"error  +missing annotation  +{TRAIN}/images/IMG_4\.jpg: there is no ", line) for line in lines
    )


def test_the_option_that_helps_is_named(copy):
    root, _ = copy
    write_image_info(root / TRAIN / "ground-truth" / "GT_IMG_3.mat", np.array([[500.0, 5.0], [5.0, 5.0]]))
    write_image_info(root / TRAIN / "ground-truth" / "GT_IMG_5.mat", np.zeros((0, 2)), number=3)
    report = validate("shanghaitech_a", root, published={})
    assert found(report, "outside")[f"{TRAIN}/ground-truth/GT_IMG_3.mat"].message.endswith(
        'outside="clamp" moves such points to the border, "drop" leaves them out'
    )
    assert 'stated="ignore"' in found(report, "count")[f"{TRAIN}/ground-truth/GT_IMG_5.mat"].message


def test_the_sheet_shows_the_images_and_their_points(copy, tmp_path):
    root, _ = copy
    (root / TRAIN / "images" / "IMG_8.jpg").write_text("not an image")
    (root / TRAIN / "ground-truth" / "GT_IMG_9.mat").write_text("not an annotation")
    save_overlay_sheet("shanghaitech_a", root, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert pixels.shape[0] > 500
    assert pixels.shape[1] > 1000
    orange = np.abs(pixels - np.array([0xE6, 0x9F, 0x00])).max(axis=2) < 40
    assert orange.sum() > 500
    # beside each ring of a point lies the bright head that it stands on
    rows, columns = np.nonzero(orange)
    bright = pixels.min(axis=2) > 200
    near = [bright[max(0, r - 4) : r + 5, max(0, c - 4) : c + 5].any() for r, c in zip(rows, columns, strict=True)]
    assert np.mean(near) > 0.95
    assert sorted(p.name for p in tmp_path.glob("*.p*")) == ["sheet.png"]


def test_a_large_image_and_a_point_far_away_are_drawn(copy, tmp_path, monkeypatch):
    root, _ = copy
    drawn, show = [], basic.show_image
    monkeypatch.setattr(
        basic, "show_image", lambda ax, image, title: drawn.append(image.shape) or show(ax, image, title)
    )
    for path in (root / TRAIN / "images").glob("*.jpg"):
        Image.new("RGB", (4_000, 3_001)).save(path)
    write_image_info(root / TRAIN / "ground-truth" / "GT_IMG_1.mat", np.array([[3e38, -3e38], [3_999.0, 3_000.0]]))
    save_overlay_sheet("shanghaitech_a", root, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1_000
    assert max(max(shape) for shape in drawn) == 1_000  # twelve whole photographs would take gigabytes


@pytest.mark.bad_input
def test_bad_names_and_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="dataset 'scenes' is built in"):
        validate("scenes", tmp_path)
    with pytest.raises(ValueError, match="unknown dataset 'shanghai'"):
        validate("shanghai", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        validate("shanghaitech_a", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is not ShanghaiTech part A"):
        validate("shanghaitech_a", tmp_path)
    write_shanghaitech(tmp_path, train=1, test=1)
    for truth in tmp_path.rglob("*.mat"):
        truth.unlink()
    with pytest.raises(ValueError, match="none of the 2 images and annotations can be read"):
        save_overlay_sheet("shanghaitech_a", tmp_path, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
