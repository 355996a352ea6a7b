"""Mistakes that are easily made with pictures of one's own: none is passed over in silence."""

import json
import os
import unicodedata

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from workbench.commands.cli import app
from workbench.data import open_dataset
from workbench.data.check.validator import validate
from workbench.training.experiment import build_config, run_experiment

SIZE = (96, 64)  # width, height


def pictures(folder, names=("a.png", "b.png", "c.png", "d.png", "e.png")):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", SIZE, (number, 40, 80)).save(folder / name)
    return list(names)


def coco(folder, annotations, categories=({"id": 1, "name": "person"}, {"id": 2, "name": "car"}), images=None):
    names = pictures(folder)
    listed = [{"id": n, "file_name": name, "width": 96, "height": 64} for n, name in enumerate(names)]
    said = {"images": listed if images is None else images, "annotations": annotations, "categories": list(categories)}
    (folder / "annotations.json").write_text(json.dumps(said))


def boxes(*kinds):
    """A box of each of these categories in each of the five pictures."""
    given = [(image, kind) for image in range(5) for kind in kinds]
    return [
        {"id": n, "image_id": image, "category_id": kind, "bbox": [10 * kind, 10, 6, 6]}
        for n, (image, kind) in enumerate(given)
    ]


def labelme(folder):
    """A person and a dog in each picture; a dog is a polygon, which is no shape of a person."""
    for name in pictures(folder):
        dog = {"label": "dog", "shape_type": "polygon", "points": [[1, 2], [3, 4], [5, 1]]}
        person = {"label": "person", "shape_type": "point", "points": [[10, 20]]}
        said = {"shapes": [person, dog], "imageHeight": 64, "imageWidth": 96, "imageData": "iVBOR"}
        (folder / name).with_suffix(".json").write_text(json.dumps(said))


def table(folder):
    names = pictures(folder)
    rows = [f"{name},{10 * k + 10},20,{label}" for name in names for k, label in enumerate(("person", "dog"))]
    (folder / "points.csv").write_text("\n".join(["image,x,y,class", *rows]))


def tables(folder):
    for name in pictures(folder):
        (folder / name).with_suffix(".csv").write_text("x,y,label\n10,20,person\n30,20,dog\n")


def plain(folder):
    for name in pictures(folder):
        said = {"points": [[10, 20], [30, 20]], "labels": ["person", "dog"]}
        (folder / name).with_suffix(".json").write_text(json.dumps(said))


def coco_dogs(folder):
    dogs = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
    coco(folder, [entry | ({"iscrowd": 1} if entry["category_id"] == 2 else {}) for entry in boxes(1, 2)], dogs)


@pytest.mark.parametrize("write", [coco_dogs, labelme, table, tables, plain])
def test_what_is_not_a_person_is_not_counted(tmp_path, write):
    write(tmp_path)
    with pytest.raises(ValueError, match=r"several labels: 'person' \(5\), 'dog' \(5\); .*labels=\[\"person\"\]"):
        open_dataset("folder", tmp_path)
    for labels in ("person", ["person"]):
        data = open_dataset("folder", tmp_path, "trainval", labels=labels)
        assert data.counts() == [1] * 4
        assert data[0].count == 1
    where = data.points(0).tolist()
    assert where in ([[10, 20]], [[13, 13]])
    if write is not coco_dogs:
        polygon = write is labelme  # of which one cannot tell where the dog is
        both = open_dataset("folder", tmp_path, "trainval", labels=["dog", "person"])
        if polygon:
            with pytest.raises(ValueError, match="a shape 'polygon' of 3 points"):
                both.points(0)
        else:
            assert both.counts() == [2] * 4
    with pytest.raises(ValueError, match=r"labels names 'cat', but .* holds 'person' \(5\), 'dog' \(5\)"):
        open_dataset("folder", tmp_path, labels=["person", "cat"])


def test_labels_of_a_part_are_held_against_the_whole_set(tmp_path):
    coco(tmp_path / "train", boxes(1))
    coco(tmp_path / "test", boxes(2))
    with pytest.raises(ValueError, match=r"several labels: 'person' \(5\), 'car' \(5\)"):
        open_dataset("folder", tmp_path, "train")
    assert open_dataset("folder", tmp_path, "test", labels=["person"]).counts() == [0] * 5


def test_one_label_needs_no_option_and_unused_categories_are_none(tmp_path):
    coco(tmp_path, boxes(1))
    assert open_dataset("folder", tmp_path, "trainval").counts() == [1] * 4


def test_prepared_pictures_belong_to_their_labels(tmp_path):
    table(tmp_path / "set")
    for label, x in (("person", 10), ("dog", 20), ("person", 10)):
        data = open_dataset("folder", tmp_path / "set", "test", labels=[label], prepared=tmp_path / "kept")
        assert data[0].points.tolist() == [[x, 20]]
        assert torch.equal(data.points(0), data[0].points)


def test_check_names_several_labels_and_takes_the_option(tmp_path):
    labelme(tmp_path)
    report = validate("folder", tmp_path)
    assert not report.ok
    assert any(f.kind == "labels" and "'person' (5), 'dog' (5)" in f.message for f in report.findings)
    assert validate("folder", tmp_path, labels=["person"]).ok
    command = ["data", "check", "folder", "--root", str(tmp_path), "--json"]
    assert CliRunner().invoke(app, command).exit_code == 1
    result = CliRunner().invoke(app, [*command, "--labels", "person", "--overlay", str(tmp_path / "sheet" / "s.png")])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["measured"]["all"]["people"] == 5
    for other in ("check", "prepare"):
        to = ["--to", str(tmp_path / "kept")] if other == "prepare" else []
        result = CliRunner().invoke(app, ["data", other, "mall", "--root", str(tmp_path), "--labels", "person", *to])
        assert result.exit_code == 2
        assert "'mall' has no option 'labels'" in result.output.replace("\n", " ")
    command = ["data", "prepare", "folder", "--root", str(tmp_path), "--to", str(tmp_path / "kept"), "--json"]
    assert json.loads(CliRunner().invoke(app, [*command, "--labels", "person"]).stdout)["prepared"] == 5


@pytest.mark.bad_input
@pytest.mark.parametrize("labels", [[], [1], 5, {"person": 1}])
def test_labels_are_text(tmp_path, labels):
    table(tmp_path)
    with pytest.raises(ValueError, match=r"labels is .*, expected the labels that count"):
        open_dataset("folder", tmp_path, labels=labels)


def test_a_set_of_nobody_is_a_finding(tmp_path):
    coco(tmp_path / "train", [])
    coco(tmp_path / "test", boxes(1))
    report = validate("folder", tmp_path)
    assert [(f.level, f.kind) for f in report.findings if f.kind == "nobody"] == [("warning", "nobody")]
    coco(tmp_path / "test", [])
    report = validate("folder", tmp_path)
    assert not report.ok
    assert "there is nobody in any of the 10 images" in report.to_text()
    assert len(open_dataset("folder", tmp_path, "test")) == 5  # it opens: training warns


@pytest.mark.pipeline
def test_training_on_nobody_warns_before_it_starts(tmp_path):
    coco(tmp_path / "set", [])
    config = build_config(
        dataset="folder",
        root=str(tmp_path / "set"),
        model="mcnn",
        model_options={"width": 0.25},
        crop=32,
        batch_size=2,
        epochs=1,
        accelerator="cpu",
    )
    with pytest.warns(UserWarning, match="nobody in any of the") as caught:
        record = run_experiment(config, tmp_path / "run")
    expected = [f"there is nobody in any of the {part} images" for part in ("3 training", "1 validation", "1 scored")]
    assert [str(one.message) for one in caught][:3] == record.warnings[:3] == expected


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]},
            "holds 2 images with the id 1, expected one",
        ),
        (
            {"images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}]},
            r"holds 2 images named 'a\.png'",
        ),
        ({"annotations": [{"id": 5, "image_id": 1, "category_id": 1}] * 3}, "holds 3 annotations with the id 5"),
        ({"annotations": [{"id": 5, "image_id": 1, "category_id": 9}]}, "annotation 5 is of the category 9, which"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "holds 2 categories with the id 1"),
        ({"annotations": [{"id": [5], "image_id": 1, "category_id": 1}]}, "not of COCO's form: TypeError"),
    ],
)
def test_what_coco_says_twice_or_does_not_list_is_named(tmp_path, change, message):
    coco(tmp_path, boxes(1))
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"annotations\.json.* {message}"):
        open_dataset("folder", tmp_path)


def test_a_key_that_stands_twice_is_named(tmp_path):
    coco(tmp_path, boxes(1))
    path = tmp_path / "annotations.json"
    path.write_text(path.read_text()[:-1] + ', "annotations": []}')
    with pytest.raises(ValueError, match=r"annotations\.json is not JSON: an object has the key 'annotations' 2 times"):
        open_dataset("folder", tmp_path)


def test_every_kind_of_picture_is_read_or_refused(tmp_path):
    for name in pictures(tmp_path, ["a.jpg", "b.webp", "c.png", "d.bmp", "e.gif"]):
        (tmp_path / name).with_suffix(".csv").write_text("10,20\n")
    assert validate("folder", tmp_path).measured["all"].images == 5
    (tmp_path / "f.HEIC").write_bytes(b"...")
    (tmp_path / "f.csv").write_text("10,20\n")
    with pytest.raises(ValueError, match=r"holds 1 images of kinds that are not read, for instance f\.HEIC; .*\.webp"):
        open_dataset("folder", tmp_path)


def test_two_pictures_of_one_name_are_refused(tmp_path):
    for name in pictures(tmp_path, ["a.jpg", "a.png", "b.png"]):
        (tmp_path / name).with_suffix(".csv").write_text("10,20\n")
    with pytest.raises(ValueError, match=r"holds a\.jpg and a\.png, expected one image of a name: they share"):
        open_dataset("folder", tmp_path)
    # in a table they are two
    (tmp_path / "points.csv").write_text("image,x,y\na.jpg,1,2\na.png,,\nb.png,3,4\n")
    assert sorted(open_dataset("folder", tmp_path, "trainval").counts()) in ([0, 1], [1, 1])


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_compared_in_one_normal_form(tmp_path, form):
    other = "NFD" if form == "NFC" else "NFC"
    names = pictures(tmp_path, [unicodedata.normalize(form, f"Caf\xe9_{n}.png") for n in range(5)])
    rows = [f"{unicodedata.normalize(other, name)},10,20\n" for name in names]
    (tmp_path / "points.csv").write_text("image,x,y\n" + "".join(rows))
    assert open_dataset("folder", tmp_path, "trainval").counts() == [1] * 4
    (tmp_path / "points.csv").unlink()
    for name in names:
        (tmp_path / unicodedata.normalize(other, name)).with_suffix(".csv").write_text("10,20\n11,30\n")
    assert open_dataset("folder", tmp_path, "trainval").counts() == [2] * 4


def test_a_table_with_decimal_commas_is_named(tmp_path):
    names = pictures(tmp_path)
    (tmp_path / "points.csv").write_text("image;x;y\n" + "".join(f"{name};12,5;20,25\n" for name in names))
    with pytest.raises(
        ValueError, match=r"points\.csv holds '12,5' in line 2, expected a number; write decimals with a point: 12\.5"
    ):
        open_dataset("folder", tmp_path)


@pytest.mark.parametrize("suffix", [".txt", ".xml", ".npy"])
def test_other_forms_of_annotation_give_one_message(tmp_path, suffix):
    for name in pictures(tmp_path):
        (tmp_path / name).with_suffix(suffix).write_text("0 0.5 0.5 0.1 0.1")
    expected = rf"5 images and no annotation of a form that is read; found 5 \{suffix} .*annotations\.json.*points\.csv"
    with pytest.raises(FileNotFoundError, match=expected + r".*NAME\.csv .*NAME\.json .*NAME\.mat"):
        open_dataset("folder", tmp_path)
    result = CliRunner().invoke(app, ["data", "check", "folder", "--root", str(tmp_path)])
    assert result.exit_code == 2
    assert result.output.count("of a form that is read") == 1


def test_annotations_in_two_places_are_refused(tmp_path):
    coco(tmp_path, boxes(1))
    (tmp_path / "points.csv").write_text("image,x,y\na.png,1,2\n")
    with pytest.raises(ValueError, match=r"holds annotations\.json and points\.csv, expected one of them"):
        open_dataset("folder", tmp_path)


@pytest.mark.bad_input
def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path):
    pictures(tmp_path, ["a.png"])
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises((ValueError, FileNotFoundError), match=r"a\.csv"):
        open_dataset("folder", tmp_path, "trainval")
