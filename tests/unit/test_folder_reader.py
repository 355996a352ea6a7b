"""One's own pictures, in every form of annotation."""

import json
import shutil

import numpy as np
import pytest
import torch
from layouts import HALF, heads, paint, write_image_info, write_picture
from scipy.io import savemat

from workbench.data import open_dataset
from workbench.data.check.validator import save_overlay_sheet, validate
from workbench.data.files.annotations import read_json_of_one, read_mat_points
from workbench.data.files.tables import read_csv

SIZE = (72, 150)


def scenes(folder, count=5, first=0):
    """Pictures of known heads; the second holds nobody."""
    truth = {}
    for number in range(first, first + count):
        points = heads(np.random.default_rng(number), SIZE, 0 if number == 1 else 6 + number)
        write_picture(folder / f"shot {number}.png", paint(SIZE, points) + np.uint8(number))
        truth[f"shot {number}"] = points
    return truth


def csv_with_header(path, points):
    rows = [f'{i},"{x}", {y}\n' for i, (x, y) in enumerate(points)]
    path.with_suffix(".csv").write_text("id,X,y\n" + "".join(rows), encoding="utf-8-sig")


def csv_bare(path, points):
    path.with_suffix(".csv").write_text("".join(f"{x};{y}\r\n" for x, y in points))


def labelme(path, points):
    shapes = [{"label": "head", "shape_type": "point", "points": [[x, y]]} for x, y in points]
    said = {"version": "5.0", "shapes": shapes, "imageHeight": SIZE[0], "imageWidth": SIZE[1], "imageData": None}
    path.with_suffix(".json").write_text(json.dumps(said))


def plain_json(path, points):
    path.with_suffix(".json").write_text(json.dumps({"points": points.tolist()}))


def matlab(path, points):
    savemat(path.with_name(f"{path.stem}_ann.mat"), {"annPoints": points})


def matlab_like_shanghaitech(path, points):
    write_image_info(path.with_name(f"GT_{path.stem}.mat"), points)


FORMS = [csv_with_header, csv_bare, labelme, plain_json, matlab, matlab_like_shanghaitech]


def check(root, truth, split="trainval", **options):
    data = open_dataset("folder", root, split, **options)
    assert data.names == list(truth)
    for index, name in enumerate(data.names):
        sample = data[index]
        np.testing.assert_allclose(sample.points.numpy(), truth[name].reshape(-1, 2), atol=1e-4)
        assert torch.equal(data.points(index), sample.points)
        for x, y in sample.points.long().tolist():
            assert sample.image[:, y - HALF + 1 : y + HALF, x - HALF + 1 : x + HALF].min() > 0.6
    return data


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["beside", "annotations", "labels"])
def test_a_file_for_each_picture(tmp_path, form, place):
    images = tmp_path / "train" / ("" if place == "beside" else "images")
    truth = scenes(images)
    home = images if place == "beside" else tmp_path / "train" / place
    home.mkdir(exist_ok=True)
    for name, points in truth.items():
        form(home / f"{name}.x", points)
    check(tmp_path, truth)
    assert validate("folder", tmp_path).ok
    save_overlay_sheet("folder", tmp_path, tmp_path / "sheet.png")


def coco(path, truth, *, keypoints=None, boxes=True):
    """COCO's form: with no keypoints, with one, or with a body's."""
    images, annotations = [], []
    for number, (name, points) in enumerate(truth.items(), start=7):
        images.append({"id": number, "file_name": f"{name}.png", "height": SIZE[0], "width": SIZE[1]})
        for x, y in points:
            said = {"id": len(annotations), "image_id": number, "category_id": 1}
            if boxes:
                # with keypoints the box is the body's, and its middle is elsewhere
                shift = 20 if keypoints else 0
                said["bbox"] = [x - 3, y - 4 + shift, 6, 8]
            if keypoints == "one":
                said["keypoints"] = [x, y, 2]
            elif keypoints == "body":
                said["keypoints"] = [1, 1, 2, x, y, 1, 0, 0, 0]
            annotations.append(said)
    names = {"one": ["dot"], "body": ["left_ankle", "nose", "neck"]}.get(keypoints)
    kind = {"id": 1, "name": "person"} | ({"keypoints": names} if names else {})
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [kind]}))


@pytest.mark.parametrize("keypoints", [None, "one", "body"])
def test_coco_boxes_and_keypoints(tmp_path, keypoints):
    truth = scenes(tmp_path / "train" / "images")
    coco(tmp_path / "train" / "annotations.json", truth, keypoints=keypoints)
    data = check(tmp_path, truth)
    sample = data[0]
    assert sample.head_sizes.tolist() == [8.0] * sample.count
    assert data[1].count == 0
    assert validate("folder", tmp_path).ok


def test_one_table_for_all_pictures(tmp_path):
    truth = scenes(tmp_path / "train" / "images")
    rows = [f"shot {n}.png,{x},{y}\n" for n in (2, 0, 3, 4) for x, y in truth[f"shot {n}"]]
    (tmp_path / "train" / "points.csv").write_text("image,x,y\n" + "".join(rows) + "shot 1.png,,\n")
    check(tmp_path, truth)
    # a picture of which nothing is said is not one of nobody
    (tmp_path / "train" / "points.csv").write_text("image,x,y\n" + "".join(rows))
    with pytest.raises(ValueError, match=r"points\.csv says nothing of shot 1\.png"):
        open_dataset("folder", tmp_path, "trainval").points(1)
    report = validate("folder", tmp_path)
    assert [(f.kind, f.file) for f in report.findings] == [("annotation", "train/points.csv (shot 1)")]


def test_rectangles_and_circles_of_labelme(tmp_path):
    shapes = [
        {"shape_type": "rectangle", "points": [[30, 40], [20, 10]]},
        {"shape_type": "circle", "points": [[5, 6], [9, 9]]},
        {"points": [[1, 2]]},
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"shapes": shapes}))
    assert read_json_of_one(path).annotation(None).points.tolist() == [[25, 25], [5, 6], [1, 2]]
    path.write_text(json.dumps({"shapes": shapes[:1]}))
    found = read_json_of_one(path).annotation(None)
    assert found.boxes.tolist() == [[20, 10, 30, 40]]
    assert found.head_sizes.tolist() == [30]


def test_pictures_without_folders_for_the_parts(tmp_path):
    truth = scenes(tmp_path, 10)
    for name, points in truth.items():
        csv_bare(tmp_path / f"{name}.x", points)
    splits = {s: open_dataset("folder", tmp_path, s).names for s in ("train", "val", "trainval", "test")}
    assert len(splits["test"]) == 2
    assert sorted(splits["test"] + splits["trainval"]) == sorted(truth)
    assert sorted(splits["train"] + splits["val"]) == sorted(splits["trainval"])
    assert open_dataset("folder", tmp_path, "test", seed=5).names == splits["test"]
    report = validate("folder", tmp_path)
    assert report.ok
    assert report.measured["all"].images == 10


def test_parts_with_a_validation_folder(tmp_path):
    for number, part in enumerate(("train", "val", "test")):
        for name, points in scenes(tmp_path / part, 2, 10 * number).items():
            csv_with_header(tmp_path / part / f"{name}.x", points)
    assert open_dataset("folder", tmp_path, "val").names == ["shot 10", "shot 11"]
    assert len(open_dataset("folder", tmp_path, "trainval")) == 4
    shutil.rmtree(tmp_path / "val")
    assert len(open_dataset("folder", tmp_path, "val", validation=0.5)) == 1
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(FileNotFoundError, match=r"no folder .*test"):
        open_dataset("folder", tmp_path, "test")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", r"has the columns 'a', 'b', expected 'x', 'y' among them"),
        ("x,y\n1\n", r"holds 1 cells in line 2, expected 2 as in its header$"),
        ("x,y\n\n10,5,20,5\n", r"holds 4 cells in line 3, expected 2 as in its header; if these are decimal commas"),
        ("x,y,x\n1,2,3\n", r"has 2 columns 'x', expected one of each name"),
        ("X,y,x\n1,2,3\n", r"has 2 columns 'x'"),
        ("x,y\n1,2\nx,y\n3,4\n", r"holds 'x' in line 3, expected a number$"),
        ("1,2,3\n", r"holds 3 cells in line 1, expected two"),
        ("10,5,20,5\n", r"holds 4 cells in line 1, expected two.*; if these are decimal commas"),
        ("x;y\n12,5;20,25\n", r"holds '12,5' in line 2, expected a number; write decimals with a point: 12\.5"),
        ("12,5;20,25\n", r"holds '12,5' in line 1, expected a number; write decimals with a point: 12\.5"),
        ("12,5\t20\n", r"holds '12,5' in line 1, expected a number; write decimals with a point: 12\.5"),
        ('x,y\n"12,5",20\n', r"holds '12,5' in line 2, expected a number; write decimals with a point: 12\.5"),
        ("1,2\nthree,4\n", r"holds 'three' in line 2, expected a number$"),
        ("1,2\n1_0,4\n", r"holds '1_0' in line 2, expected a number$"),
        ("1,2\n\u0661,4\n", r"holds '\u0661' in line 2, expected a number$"),
        ("x,y\n1,nan\n", r"NaN or infinite"),
        ("x,y\n1,1e400\n", r"NaN or infinite"),
        ("x,y\n1,\n", r"holds '' in line 2, expected a number"),
        ("\0\0", r"zero bytes"),
        ("1,2\x0b3,4", r"holds the control character '\\x0b'"),
        (b"\xff\xfe1,2", r"not text in UTF-8"),
        ('"' + "9" * 200_000, r"is not CSV"),
    ],
)
def test_bad_tables_are_named(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"a\.csv.*{message}"):
        read_csv(path).annotation(None)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON that can be read: it nests too deeply"),
        ('{"a":' * 100_000, "is not JSON that can be read: it nests too deeply"),
        ('{"points": [[1, 2]], "points": []}', "is not JSON: an object has the key 'points' 2 times, expected once"),
        ('{"shapes": [{"points": [[1, 2]], "points": []}]}', "the key 'points' 2 times"),
        ('{"points": [[1, 2]], "labels": []}', "0 labels and 1 points"),
        ('{"points": [[1, 2]], "labels": "head"}', "0 labels and 1 points"),
        ("[[1, 2]]", "holds a JSON list, expected an object"),
        ('{"people": 3}', "holds 'people', expected LabelMe's 'shapes', or 'points'"),
        ('{"shapes": 3}', "shapes is not a list of objects"),
        (
            '{"shapes": [{"shape_type": "polygon", "points": [[1, 2], [3, 4], [5, 6]]}]}',
            "a shape 'polygon' of 3 points",
        ),
        ('{"shapes": [{"shape_type": ["point"], "points": [[1, 2]]}]}', "a shape"),
        ('{"shapes": [{"points": "here"}]}', "points that are not numbers"),
        ('{"points": [[1, 2, 3]]}', r"points of shape \(1, 3\)"),
        ('{"points": [[1, NaN]]}', "NaN or infinite"),
        ('{"points": [[1, 2], [3]]}', "points that are not numbers"),
        ('{"points": [[1, 2]], "boxes": []}', "0 boxes and 1 points"),
        ('{"points": {"x": 1}}', "points that are not numbers"),
    ],
)
def test_bad_json_is_named(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=rf"a\.json.*{message}"):
        read_json_of_one(tmp_path / "a.json").annotation(None)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [{"id": 1}]}, "not of COCO's form: KeyError 'file_name'"),
        ({"images": 5}, "not of COCO's form"),
        ({"annotations": [{"image_id": 99}]}, "belongs to image 99, which is not listed"),
        ({"annotations": [{"image_id": 7, "iscrowd": 1, "id": 4}]}, "annotation 4 is a region of many people"),
        ({"annotations": [{"image_id": 7}]}, "a person without a visible head, nose, single keypoint or box"),
        ({"annotations": [{"image_id": 7, "bbox": [1, 2, 3]}]}, r"a box \[1, 2, 3\]"),
        ({"annotations": [{"image_id": 7, "bbox": [1, 2, -3, 1]}]}, "end before they begin"),
        ({"annotations": [{"image_id": 7, "keypoints": [1, 2]}]}, "not x, y and visibility in turn"),
        ({"annotations": [{"image_id": 7, "keypoints": ["a", "b", 2]}]}, "points that are not numbers"),
        ({"images": [{"id": 7, "file_name": "../a.png"}]}, r"names the image '\.\./a\.png'"),
        ({"images": [{"id": 7, "file_name": "shot 0.png", "height": 9, "width": 9}]}, r"was made for an image of"),
    ],
)
def test_bad_coco_is_named(tmp_path, change, message):
    truth = scenes(tmp_path / "train", 1)
    coco(tmp_path / "train" / "annotations.json", truth)
    found = json.loads((tmp_path / "train" / "annotations.json").read_text())
    (tmp_path / "train" / "annotations.json").write_text(json.dumps(found | change))
    with pytest.raises(ValueError, match=rf"annotations\.json.*{message}"):
        open_dataset("folder", tmp_path, "trainval")[0]


@pytest.mark.bad_input
def test_other_mistakes_are_named(tmp_path):
    truth = scenes(tmp_path, 3)
    csv_bare(tmp_path / "shot 0.x", truth["shot 0"])
    with pytest.raises(
        FileNotFoundError, match=r"2 of 3 images have no annotation, .*shot 1\.png, expected .*shot 1\.csv"
    ):
        open_dataset("folder", tmp_path)
    for name, points in truth.items():
        csv_bare(tmp_path / f"{name}.x", points)
    labelme(tmp_path / "shot 2.x", truth["shot 2"])
    with pytest.raises(ValueError, match=r"shot 2\.png has 2 annotations, expected one: .*csv, .*json"):
        open_dataset("folder", tmp_path)
    savemat(tmp_path / "a.mat", {"a": np.ones((2, 2)), "b": np.ones((2, 2))})
    with pytest.raises(ValueError, match=r"a\.mat holds 'a', 'b', expected one of 'annPoints'"):
        read_mat_points(tmp_path / "a.mat")
    savemat(tmp_path / "a.mat", {"image_info": {"where": np.ones((2, 2))}})
    with pytest.raises(ValueError, match=r"a\.mat: image_info is a struct with the fields 'where'"):
        read_mat_points(tmp_path / "a.mat")
    for path in tmp_path.glob("shot [12].*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="holds 1 images, too few for a part 'test'"):
        open_dataset("folder", tmp_path, "test")
