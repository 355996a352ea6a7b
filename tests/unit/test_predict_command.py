"""`workbench predict` and `evaluate`: the training's resize rule, names that collide, files that fail, points."""

import json

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from typer.testing import CliRunner

from workbench.commands.cli import app
from workbench.data import open_dataset
from workbench.localization.formats import read_predictions
from workbench.models import build_model
from workbench.training.evaluation import evaluate
from workbench.training.experiment import build_config, open_model, save_weights
from workbench.training.predict import locate, marker_size, predict_density, predict_image, save_overlay

pytestmark = pytest.mark.pipeline

OPTIONS = {"width": 0.25, "norm": "batch"}


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def picture(path, size=(90, 60), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = torch.randint(256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    Image.fromarray(values.to(torch.uint8).numpy()).save(path)
    return path


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    model = build_model("mcnn", **OPTIONS)
    model.calibrate(0.1)
    config = build_config(
        dataset="folder", dataset_options={"resize": "longest:48"}, model="mcnn", model_options=OPTIONS
    )
    save_weights(model, config, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_pictures_are_resized_as_in_the_training(weights, tmp_path):
    for split, number in (("train", 1), ("test", 2)):
        path = picture(tmp_path / "set" / split / f"{number}.png", seed=number)
        path.with_suffix(".csv").write_text("x,y\n10,20\n70,50\n")
    data = open_dataset("folder", tmp_path / "set", "test", resize="longest:48")
    (expected,) = evaluate(open_model(weights), data)
    result = call("predict", path, "--weights", weights, "--json")
    (row,) = json.loads(result.stdout)
    assert row["count"] == pytest.approx(expected.predicted, rel=1e-5)
    assert (row["size"], row["seen"]) == ([60, 90], [32, 48])
    assert all(0 <= x <= 90 and 0 <= y <= 60 for x, y in row["points"])
    assert "pictures are resized by longest:48, as in the training" in result.stderr
    plain = json.loads(call("predict", path, "--weights", weights, "--json", "--resize", "none").stdout)
    assert plain[0]["seen"] == [60, 90]
    assert abs(plain[0]["count"] - row["count"]) > 0.1 * row["count"]
    assert "resize is 'long'" in call("predict", path, "--weights", weights, "--resize", "long").stderr

    scored = call(
        *("evaluate", weights, "--dataset", "folder", "--root", tmp_path / "set", "--points", tmp_path / "p", "--json")
    )
    content = json.loads(scored.stdout)
    assert content["counts"]["mae"] == pytest.approx(abs(expected.predicted - 2), rel=1e-5)
    assert content["localization"]["people"] == 2
    files = ("--predictions", tmp_path / "p/predictions.txt", "--truth", tmp_path / "p/truth.txt")
    assert json.loads(call("score", *files, "--json").stdout) == content["localization"]


def test_points_lie_where_the_picture_has_them(tmp_path):
    """Found in a picture resized to the half, told in the pixels of the file."""
    model = build_model("mcnn", **OPTIONS).eval()
    model.calibrate(0.1)
    picture(tmp_path / "large.png", (128, 96))
    found = predict_image(model, tmp_path / "large.png", resize="exact:48x64")
    shown = F.interpolate(found.image[None], size=(48, 64), mode="bilinear", antialias=True, align_corners=False)[0]
    expected = locate(predict_density(model, shown), "local_maxima", model.stride, (48, 64)).points
    assert len(expected) > 0
    assert torch.allclose(found.points, 2 * expected, atol=1e-3)


def test_pictures_of_one_name_a_folder_and_a_damaged_file(weights, tmp_path):
    cams = [
        picture(tmp_path / "cam1/0001.jpg"),
        picture(tmp_path / "cam1/0001.png"),
        picture(tmp_path / "cam2/0001.png"),
    ]
    (tmp_path / "cam2/0002.png").write_text("not a picture")
    points = tmp_path / "points.txt"
    result = call(
        *("predict", tmp_path / "cam1", tmp_path / "cam2", tmp_path / "none.jpg", cams[0], "--weights", weights),
        *("--overlay", tmp_path / "drawn", "--points", points, "--json"),
    )
    assert result.exit_code == 2
    rows = json.loads(result.stdout)
    assert [row["image"] for row in rows] == [
        str(path) for path in (*cams, tmp_path / "cam2/0002.png", tmp_path / "none.jpg")
    ]
    assert ["error" in row for row in rows] == [False, False, False, True, True]
    assert "0002.png is not an image" in rows[3]["error"]
    assert "2 of 5 pictures failed" in result.stderr
    drawn = {path.relative_to(tmp_path / "drawn").as_posix() for path in (tmp_path / "drawn").rglob("*.png")}
    assert drawn == {"cam1/0001.jpg_people.png", "cam1/0001.png_people.png", "cam2/0001.png_people.png"}
    found = read_predictions(points)
    assert list(found) == ["cam1/0001.jpg", "cam1/0001.png", "cam2/0001.png"]
    assert [len(one) for one in found.values()] == [len(row["points"]) for row in rows[:3]]


def test_points_as_a_table_and_names_with_blanks(weights, tmp_path):
    path = picture(tmp_path / "a crowd.png")
    refused = call("predict", path, "--weights", weights, "--points", tmp_path / "p.txt")
    assert refused.exit_code == 2
    assert "has a blank in its name" in refused.stderr
    done = call("predict", path, "--weights", weights, "--points", tmp_path / "p.csv", "--format", "csv", "--json")
    (row,) = json.loads(done.stdout)
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "image,x,y,score"
    assert len(lines) == 1 + len(row["points"]) > 1
    assert lines[1].startswith("a crowd,")


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
def test_an_overlay_is_bounded(tmp_path, size):
    model = build_model("mcnn", **OPTIONS).eval()
    save_overlay(predict_image(model, picture(tmp_path / "thin.png", size)), tmp_path / "overlay.png")
    with Image.open(tmp_path / "overlay.png") as drawn:
        assert drawn.width == 1200
        assert drawn.height <= 1050


def test_markers_shrink_in_a_dense_crowd():
    x, y = torch.meshgrid(torch.arange(10.0), torch.arange(10.0), indexing="xy")
    grid = torch.stack([x.flatten(), y.flatten()], dim=1)
    assert marker_size(grid * 100, 1.0) == 14
    assert marker_size(grid * 4, 1.0) == 4  # half of 4 points wide, squared
    assert marker_size(grid[:1], 1.0) == 14
