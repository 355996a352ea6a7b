"""Pictures that were annotated with other tools: CVAT, Label Studio, the VGG Image Annotator.

``tests/exports`` holds a file of each, with the fields that the tool writes. CVAT's was written by Datumaro 1.13. Label
Studio's own converter (label-studio-sdk 2.1) reads the other one to the places that stand here, but for the turned box:
it turns in percent, and the tool itself in pixels.
"""

import json
import math
import shutil
from pathlib import Path

import pytest
from PIL import Image

from workbench.data import open_dataset
from workbench.data.check.validator import validate

EXPORTS = Path(__file__).parents[1] / "exports"
TURNED = math.radians(30)
FOUND = {
    "annotations.xml": {"a": [(10.5, 20), (30, 40.25), (50, 12), (3, 5)], "c": [(13, 24), (40, 30)]},
    "project-1-at-2026-11-20-10-15-af0b1c2d.json": {
        "a": [
            (10.5, 20),
            (48 + 5 * math.cos(TURNED) - 3 * math.sin(TURNED), 32 + 5 * math.sin(TURNED) + 3 * math.cos(TURNED)),
        ],
        "c": [(12, 32), (51, 20)],
    },
    "via_project_20Nov2026_10h15m.json": {"a": [(10, 20), (34, 15)], "c": [(13, 24), (40, 30)]},
    "via_export_csv.csv": {"a": [(10, 20), (34, 15)], "c": [(13, 24), (40, 30)]},
}
PROJECT = "project-1-at-2026-11-20-10-15-af0b1c2d.json"
VIA = "via_project_20Nov2026_10h15m.json"


def pictures(folder, prefix=("", "", "")):
    folder.mkdir(parents=True, exist_ok=True)
    for number, (before, name) in enumerate(zip(prefix, "abc", strict=True)):
        Image.new("RGB", (96, 64), (number, 40, 80)).save(folder / f"{before}{name}.png")


@pytest.mark.parametrize("name", FOUND)
def test_what_counts_stands_where_it_was_marked(tmp_path, name):
    pictures(tmp_path / "test")
    shutil.copy(EXPORTS / name, tmp_path / "test")
    with pytest.raises(ValueError, match=r"several labels: 'head' \(\d\), 'dog' \(\d\); .*labels=\[\"head\"\]"):
        open_dataset("folder", tmp_path, "test")
    data = open_dataset("folder", tmp_path, "test", labels="head")
    for index, picture in enumerate(data.names):
        expected = FOUND[name].get(picture[-1], [])
        assert data[index].points.tolist() == [pytest.approx(point, abs=1e-4) for point in expected]
    report = validate("folder", tmp_path, labels=["head"])
    assert not [finding for finding in report.findings if finding.kind in ("stray", "annotation", "outside")]
    dogs = open_dataset("folder", tmp_path, "test", labels=["dog"])
    assert len(dogs.points(0)) == 1
    with pytest.raises(ValueError, match="holds a shape 'polygon', expected points, boxes, circles or ellipses"):
        dogs.points(2)


def test_boxes_give_the_size_of_heads(tmp_path):
    said = json.loads((EXPORTS / VIA).read_text())["_via_img_metadata"]
    for image in said.values():
        image["regions"] = [one for one in image["regions"] if one["shape_attributes"]["name"] == "rect"]
    pictures(tmp_path / "test")
    (tmp_path / "test" / "via_export_json.json").write_text(json.dumps(said))
    sample = open_dataset("folder", tmp_path, "test", labels=["dog", "head"])[0]
    assert sample.boxes.tolist() == [[30, 10, 38, 20], [60, 30, 68, 40]]
    assert sample.head_sizes.tolist() == [10, 10]


def test_uploaded_pictures_keep_either_name(tmp_path):
    pictures(tmp_path / "test", ("3f9c2a10-", "", "0b5de4f1-"))
    shutil.copy(EXPORTS / PROJECT, tmp_path / "test" / "annotations.json")
    data = open_dataset("folder", tmp_path, "test", labels="head")
    assert data.names == ["3f9c2a10-a", "b", "0b5de4f1-c"] or sorted(data.names) == ["0b5de4f1-c", "3f9c2a10-a", "b"]
    assert sorted(data.counts()) == [0, 2, 2]


def test_version_1_of_via_numbers_its_regions(tmp_path):
    said = json.loads((EXPORTS / VIA).read_text())["_via_img_metadata"]
    for image in said.values():
        image["regions"] = {str(number): region for number, region in enumerate(image["regions"])}
    pictures(tmp_path / "test")
    (tmp_path / "test" / "via_region_data.json").write_text(json.dumps(said))
    assert open_dataset("folder", tmp_path, "test", labels="head").counts() == [2, 0, 2]
    table = (EXPORTS / "via_export_csv.csv").read_text()
    (tmp_path / "test" / "via_region_data.json").unlink()
    (tmp_path / "test" / "via_region_data.csv").write_text(f"#{table}")
    assert open_dataset("folder", tmp_path, "test", labels="head").counts() == [2, 0, 2]


def test_options_of_a_checkbox_are_one_label(tmp_path):
    text = (EXPORTS / VIA).read_text().replace('"kind": "head"', '"kind": {"head": true, "hat": true, "bag": false}')
    pictures(tmp_path / "test")
    (tmp_path / "test" / VIA).write_text(text)
    assert open_dataset("folder", tmp_path, "test", labels=["head, hat"]).counts() == [2, 0, 2]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("annotations.xml", "<?xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><?xml", "is not XML that is read"),
        ("annotations.xml", '<?xml version="1.0" encoding="utf-8"?>', "<!DOCTYPE a [<!ENTITY b 'c'>]>", "DTDForbidden"),
        ("annotations.xml", "</annotations>", "", "is not XML that is read"),
        ("annotations.xml", "annotations>", "dataset>", r"holds <dataset>, expected CVAT's <annotations>"),
        ("annotations.xml", "</meta>", '</meta><track id="0" label="head"/>', "holds tracks of a video"),
        ("annotations.xml", 'name="b.png"', 'name="a.png"', r"several images named 'a\.png'"),
        ("annotations.xml", "50.00,12.00", "50.00,twelve", "holds '50.00,twelve', expected 2 numbers"),
        ("annotations.xml", 'points="50.00,12.00" ', "", "holds <points> without 'points'"),
        ("annotations.xml", 'xbr="5.00"', 'xbr="0.00"', "end before they begin"),
        ("annotations.xml", 'width="96" height="64"', 'width="64" height="96"', "was made for an image of"),
        ("annotations.xml", "b.png", "d.png", "images have no image"),
        (PROJECT, '"image_rotation": 0', '"image_rotation": 90', "'3f9c2a10-a.png' was turned in Label Studio"),
        (PROJECT, '"was_cancelled": true', '"was_cancelled": false', "holds 2 annotations of '0b5de4f1-c.png'"),
        (PROJECT, "77aa01bc-b.png", "3f9c2a10-a.png", "several tasks of the image '3f9c2a10-a.png'"),
        (PROJECT, '{"image": "/data/upload/1/77aa01bc-b.png"}', '{"text": "b"}', "data 'text' name 0 images"),
        (PROJECT, '"x": 10.9375', '"x": "10"', "a keypoint whose place .* is not made of numbers"),
        (PROJECT, '"value": {"x": 10.9375, ', '"value": {', "not of Label Studio's form: KeyError 'x'"),
        (PROJECT, '"annotations"', '"completions"', "not of Label Studio's form: KeyError 'annotations'"),
        (
            VIA,
            '"region_attributes": {',
            '"region_attributes": {"age": 3, ',
            "with the attributes 'age', 'kind', expected",
        ),
        (VIA, '"filename": "b.png"', '"filename": "a.png"', r"holds 2 images named 'a\.png'"),
        (VIA, '"cx": 10, ', "", "not of VIA's form: KeyError 'cx'"),
        (VIA, '"_via_img_metadata"', '"file"', "holds '_via_settings', .* expected COCO's 'images'"),
        ("via_export_csv.csv", '"{}","{}"', '"{","{}"', "a cell in line 5 that is not JSON"),
        ("via_export_csv.csv", '""cx"":10', '""cx"":""a""', "points that are not numbers"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, old, new, message):
    pictures(tmp_path / "test")
    text = (EXPORTS / name).read_text()
    assert old in text
    (tmp_path / "test" / name).write_text(text.replace(old, new))
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        open_dataset("folder", tmp_path, "test", labels="head")[0]
    assert "images have no image" in message or name in str(caught.value)
