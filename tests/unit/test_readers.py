"""Every reader on a small copy of its data set's exact layout."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from layouts import HALF, heads
from layouts_sets import (
    WRITERS,
    write_jhu_crowd,
    write_mall,
    write_nwpu_crowd,
    write_trancos,
    write_ucf_cc_50,
    write_worldexpo10,
)
from scipy.io import loadmat, savemat

from workbench.data import collate, open_dataset
from workbench.data.check.validator import reader, save_overlay_sheet, validate
from workbench.data.files.entries import Published
from workbench.metrics import game, group_means

EACH = pytest.mark.parametrize("name", sorted(WRITERS))


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Each data set, written once: its folder, and the points that a reader shall find."""
    made = {}

    def copy(name):
        if name not in made:
            root = tmp_path_factory.mktemp(name) / "copy"
            made[name] = root, WRITERS[name](root)
        return made[name]

    return copy


def parts(name, written):
    """(options, names and points) of every part that can be opened."""
    if name == "ucf_cc_50":
        chosen = list(written["all"].items())
        return [({"split": "test", "fold": k}, dict(chosen[2 * k : 2 * k + 2])) for k in range(5)]
    splits = {"train": "trainval"} if "val" not in written else {}
    return [({"split": splits.get(part, part)}, found) for part, found in written.items()]


@EACH
def test_points_lie_on_the_painted_heads(copies, name):
    root, written = copies(name)
    seen, wrong_way = 0, 0
    for options, truth in parts(name, written):
        data = open_dataset(name, root, **options)
        assert data.names == list(truth)
        for index, image in enumerate(data.names):
            sample = data[index]
            np.testing.assert_allclose(sample.points.numpy(), truth[image], atol=1e-4)
            assert sample.points.dtype == sample.image.dtype == torch.float32
            if sample.annotated:
                assert torch.equal(data.points(index), sample.points)
                assert sample.count == len(truth[image])
            bright = sample.image.min(dim=0).values > 0.6
            for x, y in sample.points.long().tolist():
                square = bright[y - HALF + 1 : y + HALF, x - HALF + 1 : x + HALF]
                assert square.all() if sample.roi is None else bright[y, x], image
                wrong_way += not (x < bright.shape[0] and y < bright.shape[1] and bool(bright[x, y]))
                seen += 1
    assert seen > 30
    assert wrong_way > 0.7 * seen


@EACH
def test_a_clean_copy_passes_and_an_overlay_is_drawn(copies, name, tmp_path):
    root, _ = copies(name)
    counted = validate(name, root, published={})
    assert counted.ok, counted.to_text()
    assert {f.kind for f in counted.findings} <= {"outside roi"}
    published = {
        part: Published(figure.images, figure.people, figure.least, figure.most)
        for part, figure in counted.measured.items()
    }
    assert validate(name, root, published=published).ok
    wrong = published | {"all": published["all"]._replace(people=published["all"].people + 1)}
    assert [f.kind for f in validate(name, root, published=wrong).findings if f.level == "error"] == ["total"]
    assert not validate(name, root).ok  # so small a copy has not the published totals
    save_overlay_sheet(name, root, tmp_path / "sheet.png", count=4)
    assert (tmp_path / "sheet.png").stat().st_size > 5_000


@EACH
def test_a_missing_file_and_a_damaged_one_are_named(copies, name, tmp_path):
    root, _ = copies(name)
    shutil.copytree(root, tmp_path / "copy")
    cls = reader(name)
    entries = [entry for part in cls.parts for entry in cls.entries(tmp_path / "copy", part) if entry.annotation]
    for path in {file for entry in entries[:1] for file in entry.files}:
        kept = path.read_bytes()
        path.write_bytes(kept[: len(kept) // 2] + b"\xff\0")
        assert path.name in errors(name, tmp_path / "copy")
        path.unlink()
        # of an image that a folder no longer lists its annotation says so; files of RGBD are found by their number
        listed = path == entries[0].image and name not in ("mall", "trancos")
        named = path.stem if listed else path.name if name != "shanghaitech_rgbd" else path.name[-8:]
        assert named in errors(name, tmp_path / "copy")
        if not listed:
            with pytest.raises(FileNotFoundError, match=re.escape(named)):
                open_dataset(name, tmp_path / "copy", "trainval"), open_dataset(name, tmp_path / "copy", "test")
        path.write_bytes(kept)


def errors(name, root):
    """What a look through a copy names as wrong."""
    try:
        report = validate(name, root, published={})
    except FileNotFoundError as error:  # nothing of the set is there at all
        return str(error)
    return " ".join(f"{f.file} {f.message}" for f in report.findings if f.level == "error")


@EACH
def test_splits_share_nobody(copies, name):
    root, written = copies(name)
    named = {split: open_dataset(name, root, split).names for split in ("train", "val", "trainval", "test")}
    assert sorted(named["train"] + named["val"]) == sorted(named["trainval"])
    assert named["train"]
    assert named["val"]
    if name not in ("jhu_crowd", "nwpu_crowd", "trancos"):
        return
    assert named["val"] == list(written["val"])
    with pytest.raises(ValueError, match=r"validation is 0\.1, expected None: .* has a validation part"):
        open_dataset(name, root, validation=0.1)


@EACH
def test_stray_files_are_named_and_not_read(copies, name, tmp_path):
    root, written = copies(name)
    shutil.copytree(root, tmp_path / "copy")
    image = next(
        path for path in sorted(root.rglob("*")) if path.suffix in (".jpg", ".png") and "dots" not in path.stem
    )
    folders = {path.parent for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    for folder in folders:
        for stray in ("2_ann.png", "Thumbs.db", "copy of 1.jpg", "desktop.ini"):
            shutil.copy(image, folder / stray)
    for options, truth in parts(name, written):
        assert open_dataset(name, tmp_path / "copy", **options).names == list(truth)
    whole, report = validate(name, root, published={}), validate(name, tmp_path / "copy", published={})
    assert report.measured == whole.measured
    assert report.ok
    named = [f for f in report.findings if f.kind == "stray"]
    assert named
    for finding in named:
        assert finding.level == "warning"
        assert all(stray in finding.message for stray in ("2_ann.png", "Thumbs.db", "copy of 1.jpg", "desktop.ini"))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", sorted({*WRITERS} - {"trancos"}))  # whose lists say the ending
def test_two_images_of_one_name_are_an_error(copies, name, tmp_path):
    shutil.copytree(copies(name)[0], tmp_path / "copy")
    cls = reader(name)
    image = cls.entries(tmp_path / "copy", cls.parts[0])[0].image
    twin = image.with_suffix(".bmp")
    shutil.copy(image, twin)
    with pytest.raises(ValueError, match=rf"{image.stem}\.\w+ and {image.stem}\.\w+, expected one image of a name"):
        open_dataset(name, tmp_path / "copy", "trainval")
    assert twin.name in errors(name, tmp_path / "copy")


def test_known_faults_of_the_published_set_count_and_unknown_ones_are_refused_at_once(tmp_path):
    written = write_ucf_cc_50(tmp_path / "set")["all"]
    for number in range(1, 6):
        points = np.concatenate([written[str(number)], [[1_000.0 + number, 7.0]]])
        savemat(tmp_path / "set" / f"{number}_ann.mat", {"annPoints": points})
    people = 0
    for fold in range(5):
        for sample in open_dataset("ucf_cc_50", tmp_path / "set", "test", fold=fold):
            assert sample.points[:, 0].max(dim=0).values <= sample.size[1] if sample.count else True
            people += sample.count
    assert people == sum(map(len, written.values())) + 5
    assert open_dataset("ucf_cc_50", tmp_path / "set", "test", outside="drop")[0].count == len(written["1"])
    report = validate("ucf_cc_50", tmp_path / "set", published={})
    assert report.ok
    assert [f.level for f in report.findings if f.kind == "outside"] == ["warning"] * 5
    assert all("known to have 5 such points: they count" in f.message for f in report.findings if f.kind == "outside")

    savemat(tmp_path / "set" / "7_ann.mat", {"annPoints": np.array([[-3.0, 5.0]])})
    for split in ("train", "val", "test"):  # wherever it lies
        with pytest.raises(ValueError, match=r'holds 6 points outside .*expected at most 5, .*outside="clamp"'):
            open_dataset("ucf_cc_50", tmp_path / "set", split)
    assert not validate("ucf_cc_50", tmp_path / "set", published={}).ok
    assert open_dataset("ucf_cc_50", tmp_path / "set", outside="clamp").check() is None


@pytest.mark.bad_input
def test_what_is_said_twice_is_an_error(copies, tmp_path):
    for name in ("jhu_crowd", "nwpu_crowd", "trancos", "shanghaitech_rgbd"):
        shutil.copytree(copies(name)[0], tmp_path / name)

    def add(file, line):
        path = tmp_path / file
        kept = path.read_text()
        path.write_text(kept + line)
        return path, kept

    for name, file, line, message in [
        ("jhu_crowd", "train/image_labels.txt", "0001,3,a,0,0\n", r"image_labels\.txt names '0001' a second time"),
        ("nwpu_crowd", "train.txt", "0002 1 3\n", r"train\.txt names '0002' a second time, the first is in train\.txt"),
        ("nwpu_crowd", "val.txt", "0002 1 3\n", r"val\.txt names '0002' a second time, the first is in train\.txt"),
        ("trancos", "image_sets/test.txt", "image-1-000002.jpg\n", r"test\.txt names .* the first is in training\.txt"),
    ]:
        path, kept = add(f"{name}/{file}", line)
        with pytest.raises(ValueError, match=message):
            open_dataset(name, tmp_path / name)
        path.write_text(kept)
        assert len(open_dataset(name, tmp_path / name))
    depth = tmp_path / "shanghaitech_rgbd" / "train_data" / "train_depth"
    shutil.copy(depth / "DEPTH_0001.mat", depth / "OTHER_0001.mat")
    with pytest.raises(ValueError, match=r"DEPTH_0001\.mat and OTHER_0001\.mat end in one number"):
        open_dataset("shanghaitech_rgbd", tmp_path / "shanghaitech_rgbd")


def test_check_reads_every_annotation(tmp_path):
    write_jhu_crowd(tmp_path / "set")
    data = open_dataset("jhu_crowd", tmp_path / "set")
    data.check()
    (tmp_path / "set" / "train" / "gt" / "0005.txt").write_text("9000 9 3 3 1 0\n" * len(data.points(4)))
    with pytest.raises(ValueError, match=r"0005\.txt has .* points outside"):
        data.check()


def test_the_folds_of_ucf_cc_50_are_a_partition(copies):
    root, written = copies("ucf_cc_50")
    tested = [open_dataset("ucf_cc_50", root, "test", fold=k).names for k in range(5)]
    assert [name for names in tested for name in names] == list(written["all"])
    for fold, names in enumerate(tested):
        rest = open_dataset("ucf_cc_50", root, "trainval", fold=fold).names
        assert sorted(rest + names) == sorted(written["all"])
        assert not set(rest) & set(names)


def test_jhu_knows_boxes_sizes_levels_and_weather(copies):
    root, _ = copies("jhu_crowd")
    data = open_dataset("jhu_crowd", root, "train")
    sample = data[3]
    assert sample.level == "low"
    assert sample.attributes == {"scene": "stadium", "weather": "none", "distractor": 0}
    assert data[1].attributes == {"scene": "stadium", "weather": "rain", "distractor": 1}
    expected = [6 + i % 4 for i in range(sample.count)]
    assert sample.head_sizes.tolist() == expected
    assert (sample.boxes[:, 3] - sample.boxes[:, 1]).tolist() == expected
    torch.testing.assert_close((sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2, sample.points)
    assert data[1].boxes.shape == (0, 4)


def test_jhu_labels_with_spaces_for_commas(copies, tmp_path):
    shutil.copytree(copies("jhu_crowd")[0], tmp_path / "copy")
    labels = tmp_path / "copy" / "train" / "image_labels.txt"
    labels.write_text(labels.read_text().replace(",", " ").replace("stadium", "street march"))
    sample = open_dataset("jhu_crowd", tmp_path / "copy", "train")[1]
    assert sample.attributes == {"scene": "street march", "weather": "rain", "distractor": 1}


def test_a_stated_number_that_is_not_that_of_the_points(copies, tmp_path):
    shutil.copytree(copies("jhu_crowd")[0], tmp_path / "copy")
    (tmp_path / "copy" / "test" / "gt" / "0201.txt").write_text("9 9 3 3 1 0\n")
    with pytest.raises(ValueError, match=r"0201\.txt: \d+ people are stated of 0201 and 1 points .* stated=\"ignore\""):
        open_dataset("jhu_crowd", tmp_path / "copy", "test").points(0)
    assert open_dataset("jhu_crowd", tmp_path / "copy", "test", stated="ignore")[0].count == 1


@pytest.mark.parametrize("kind", ["jsons", "mats"])
@pytest.mark.parametrize("lists", [True, False])
def test_nwpu_in_both_forms_with_and_without_lists(tmp_path, kind, lists):
    written = write_nwpu_crowd(tmp_path, kind=kind, lists=lists)
    for split in ("train", "val"):
        data = open_dataset("nwpu_crowd", tmp_path, split)
        assert sorted(data.names) == sorted(written[split])
        for index, name in enumerate(data.names):
            np.testing.assert_allclose(data[index].points.numpy(), written[split][name])
    sample = open_dataset("nwpu_crowd", tmp_path, "train")[0]
    torch.testing.assert_close(sample.boxes[:, :2], sample.points - 3.5)
    assert sample.head_sizes.tolist() == [8.0] * sample.count
    levels = [s.level for s in open_dataset("nwpu_crowd", tmp_path, "train")]
    assert levels[:3] == ["S1", "S0", "S1"]


def test_the_people_of_unlabelled_images_are_not_nobody(copies):
    root, written = copies("nwpu_crowd")
    test = open_dataset("nwpu_crowd", root, "test")
    assert test.names == list(written["test"])
    assert not test[0].annotated
    with pytest.raises(ValueError, match=r'option evaluate_on="val" .*holds out training images to choose the weights'):
        test.points(0)
    for ask in (lambda: test[0].count, lambda: test.points(0), lambda: collate([test[0]])):
        with pytest.raises(ValueError, match="published"):
            ask()
    instead = open_dataset("nwpu_crowd", root, "test", evaluate_on="val")
    assert instead.names == list(written["val"])
    train, val = (open_dataset("nwpu_crowd", root, split, evaluate_on="val").names for split in ("train", "val"))
    assert sorted(train + val) == sorted(written["train"])


@pytest.mark.parametrize("name", ["worldexpo10", "trancos"])
def test_only_who_is_in_the_region_counts_and_only_there_one_sees_anybody(copies, name):
    root, _ = copies(name)
    data = open_dataset(name, root, "test")
    kept = open_dataset(name, root, "test", roi="keep")
    hidden = 0
    for black, whole in zip(data, kept, strict=True):
        assert torch.equal(black.points, whole.points)
        assert torch.equal(black.roi, whole.roi)
        assert 0 < int(black.roi.sum()) < black.roi.numel()
        assert torch.count_nonzero(black.image[:, ~black.roi]) == 0
        assert torch.equal(black.image[:, black.roi], whole.image[:, whole.roi])
        hidden += int((whole.image.min(dim=0).values[~whole.roi] > 0.6).sum())
    assert hidden > 100  # there was somebody outside
    notes = [f for f in validate(name, root, published={}).findings if f.kind == "outside roi"]
    assert notes
    assert all(f.level == "note" for f in notes)


def test_worldexpo_knows_its_scenes_and_their_perspective(copies):
    root, _ = copies("worldexpo10")
    data = open_dataset("worldexpo10", root, "test")
    assert data.labels() == [104207] * 3 + [200608] * 3
    errors = [1.0, 2.0, 3.0, 5.0, 5.0, 5.0]
    assert group_means(errors, data.labels()) == {104207: 2.0, 200608: 5.0}
    perspective = data[0].perspective
    assert float(perspective[0, 0]) == pytest.approx(2.5)
    assert float(perspective[-1, 5]) == pytest.approx(15)
    # of the 72 rows the region has 110 to 150 pixels
    widths = data[0].roi.sum(dim=1)
    assert (int(widths[0]), int(widths[-1])) == (110, 150)


def test_worldexpo_without_perspective_maps(tmp_path):
    write_worldexpo10(tmp_path, perspective=False)
    assert open_dataset("worldexpo10", tmp_path)[0].perspective is None


def test_trancos_is_scored_by_game_inside_its_mask(copies):
    data = open_dataset("trancos", copies("trancos")[0], "test")
    sample = data[0]
    density = torch.zeros(*sample.size)
    for x, y in sample.points.long().tolist():
        density[y, x] += 1
    assert [game(density, sample.points, level, stride=1) for level in range(4)] == [0, 0, 0, 0]


def test_depth_is_given_with_the_picture(copies):
    root, _ = copies("shanghaitech_rgbd")
    for split in ("trainval", "test"):
        for sample in open_dataset("shanghaitech_rgbd", root, split):
            assert sample.depth.shape == sample.size
            assert sample.depth[0, :2].tolist() == [0, 0]  # what was not measured
            for x, y in sample.points.long().tolist():
                assert sample.depth[y, x] == 5_000
    test = open_dataset("shanghaitech_rgbd", root, "test")[0]
    assert test.head_sizes.tolist() == [7.0] * test.count


def test_mall_holds_out_an_eighth_and_reads_its_file_once(copies):
    root, _ = copies("mall")
    assert len(open_dataset("mall", root, "val")) == 1
    assert len(open_dataset("mall", root, "val", validation=0.5)) == 4


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("jhu_crowd", "train/gt/0001.txt", "1 2 3 4 5\n", r"0001\.txt holds '1 2 3 4 5' in line 1, expected 6 numbers"),
        ("jhu_crowd", "train/gt/0001.txt", "1 2 -3 4 1 0\n", r"0001\.txt holds a box of -3 pixels"),
        ("jhu_crowd", "train/gt/0001.txt", "1 nan 3 4 1 0\n", r"0001\.txt holds heads that are NaN"),
        ("jhu_crowd", "train/image_labels.txt", "0001,many,a,0,0\n", r"image_labels\.txt holds .* in line 1"),
        ("jhu_crowd", "train/image_labels.txt", "0001,4,a,0,\n", r"image_labels\.txt holds '0001,4,a,0,' in line 1"),
        ("nwpu_crowd", "jsons/0001.json", "[1, 2]", r"0001\.json holds a JSON list, expected an object"),
        ("nwpu_crowd", "jsons/0001.json", "{", r"0001\.json is not JSON"),
        (
            "nwpu_crowd",
            "jsons/0001.json",
            '{"points": []}',
            r"0001\.json holds 'points', expected 'human_num', 'points'",
        ),
        ("nwpu_crowd", "jsons/0001.json", '{"human_num": 1.5, "points": []}', r"states human_num 1\.5"),
        (
            "nwpu_crowd",
            "jsons/0001.json",
            '{"human_num": 1, "points": [[1, 2]], "boxes": [[5, 5, 1, 1]]}',
            r"0001\.json holds 1 boxes that end before they begin",
        ),
        (
            "nwpu_crowd",
            "jsons/0001.json",
            '{"human_num": 1, "points": [[1, 2]], "boxes": []}',
            r"0001\.json holds 0 boxes and 1 points",
        ),
        ("nwpu_crowd", "jsons/0001.json", '{"human_num": 1, "points": [[1e999, 2]]}', "NaN or infinite"),
        ("trancos", "images/image-1-000001.txt", "1\t2\t3\n", r"image-1-000001\.txt holds .* expected 2 numbers"),
        ("trancos", "image_sets/training.txt", "../secret.jpg\n", r"training\.txt lists '\.\./secret\.jpg'"),
        ("nwpu_crowd", "train.txt", "one\n", r"train\.txt lists 'one', expected numbers"),
    ],
)
def test_bad_text_is_named(copies, tmp_path, name, file, content, message):
    shutil.copytree(copies(name)[0], tmp_path / "copy")
    (tmp_path / "copy" / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        open_dataset(name, tmp_path / "copy", "train")[0]


@pytest.mark.bad_input
def test_a_part_of_which_no_image_is_left_is_named(copies, tmp_path):
    shutil.copytree(copies("nwpu_crowd")[0], tmp_path / "copy")
    (tmp_path / "copy" / "val.txt").write_text("\n")
    with pytest.raises(FileNotFoundError, match=r"val\.txt lists no images"):
        open_dataset("nwpu_crowd", tmp_path / "copy", "val")
    for image in (tmp_path / "copy" / "images").glob("[35]*.jpg"):
        if image.stem in ("3610", "5109"):
            image.unlink()
    (tmp_path / "copy" / "val.txt").write_text("3098\n3110\n3609\n")
    with pytest.raises(FileNotFoundError, match="holds no images of the part 'test' of NWPU-Crowd"):
        open_dataset("nwpu_crowd", tmp_path / "copy", "test")


@pytest.mark.bad_input
def test_bad_maps_and_frames_are_named(tmp_path):
    write_trancos(tmp_path / "trancos")
    savemat(tmp_path / "trancos" / "images" / "image-1-000001mask.mat", {"BW": np.ones((3, 4))})
    with pytest.raises(ValueError, match=r"image-1-000001mask\.mat: BW has shape \(3, 4\), the image has"):
        open_dataset("trancos", tmp_path / "trancos")[0]
    write_worldexpo10(tmp_path / "expo")
    roi = tmp_path / "expo" / "train_label" / "100156" / "roi.mat"
    savemat(roi, {"maskVerticesXCoordinates": np.ones((2, 1)), "maskVerticesYCoordinates": np.ones((2, 1))})
    with pytest.raises(ValueError, match=r"roi\.mat holds 2 x and 2 y of a region, expected three or more"):
        open_dataset("worldexpo10", tmp_path / "expo", "trainval")[0]
    write_mall(tmp_path / "mall")
    found = loadmat(tmp_path / "mall" / "mall_gt.mat")
    savemat(tmp_path / "mall" / "mall_gt.mat", {"frame": found["frame"][:, :5], "count": found["count"][:5]})
    with pytest.raises(ValueError, match=r"mall_gt\.mat holds 5 frames, .*seq_000006\.jpg is not among them"):
        open_dataset("mall", tmp_path / "mall")
    with pytest.raises(ValueError, match="fold is 5, expected 0 to 4"):
        open_dataset("ucf_cc_50", tmp_path, fold=5)
    with pytest.raises(ValueError, match="evaluate_on is 'train', expected one of 'test', 'val'"):
        open_dataset("nwpu_crowd", tmp_path, evaluate_on="train")


def test_the_stated_number_of_each_set_is_held_against_its_points(tmp_path):
    for name, file, change in [
        ("jhu_crowd", "train/gt/0001.txt", lambda path: path.write_text("9 9 3 3 1 0\n")),
        (
            "nwpu_crowd",
            "jsons/0001.json",
            lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"human_num": 999})),
        ),
        (
            "worldexpo10",
            "test_label/104207/104207_A02-S20100626080.mat",
            lambda path: savemat(
                path, {"point_position": heads(np.random.default_rng(0), (72, 90), 3), "point_num": 4}
            ),
        ),
    ]:
        root = tmp_path / name
        WRITERS[name](root)
        change(root / file)
        assert ("count", file) in {(f.kind, f.file) for f in validate(name, root, published={}).findings}
