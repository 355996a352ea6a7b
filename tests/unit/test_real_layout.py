"""The command line on a real data set's layout, awkward pictures included: check, train, predict."""

import json

import pytest
from layouts import write_shanghaitech
from PIL import Image
from typer.testing import CliRunner

from workbench.commands.cli import app

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("shanghaitech")
    truth = write_shanghaitech(root, "A", final=False, truth="ground_truth")
    out = root / "run"
    settings = {
        "dataset": "shanghaitech_a",
        "root": str(root),
        "dataset_options": {"validation": 0.25},
        "model": "mcnn",
        "model_options": {"width": 0.25, "norm": "batch"},
        "crop": 96,
        "batch_size": 3,
        "epochs": 20,
        "learning_rate": 0.005,
        "accelerator": "cpu",
    }
    (root / "config.yaml").write_text(json.dumps(settings))
    result = CliRunner().invoke(app, ["train", "--config", str(root / "config.yaml"), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    return root, truth, json.loads(result.stdout)


def test_training_beats_the_mean_on_squares_anybody_could_count(trained):
    record = trained[2]
    assert record["metrics"]["mae"] < record["metrics"]["baseline_mae"]
    assert len(record["history"]) == 20
    (table,) = record["tables"]
    assert [row[1] for row in table["rows"]] == [len(points) for points in trained[1]["test"].values()]


def test_predict_takes_every_kind_of_picture(trained, tmp_path):
    root, truth, _ = trained
    images = [root / "part_A" / "train_data" / "images" / f"IMG_{number}.jpg" for number in (1, 2, 3, 4, 5)]
    command = ["predict", *map(str, images), "--weights", str(root / "run" / "weights.pt")]
    result = CliRunner().invoke(app, [*command, "--overlay", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["image"] for row in rows] == [str(path) for path in images]
    for row, path in zip(rows, images, strict=True):
        with Image.open(row["overlay"]) as drawn:
            assert drawn.width > 800
        people = len(truth["train"][path.stem])
        assert abs(row["count"] - people) < max(8, 0.8 * people)  # grey, CMYK and turned ones are the same picture


def test_large_pictures_are_tiled(trained, tmp_path):
    root = trained[0]
    Image.new("RGB", (700, 300), (20, 20, 20)).save(tmp_path / "wide.png")
    counts = []
    for tile in ("64", "4096"):
        command = ["predict", str(tmp_path / "wide.png"), "--weights", str(root / "run" / "weights.pt"), "--tile", tile]
        counts.append(json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)[0]["count"])
    assert counts[0] == pytest.approx(counts[1], abs=1e-3)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "none.jpg", "--weights", "W"], "none.jpg"),
        (["predict", "T", "--weights", "W"], "text.jpg"),
        (["predict", "T", "--weights", "none.pt"], "none.pt"),
        (["train", "--out", "O", "-p", "dataset=shanghaitech_a", "-p", "root=EMPTY"], "EMPTY"),
        (["train", "--out", "O", "-p", "epohs=3"], "unknown key 'epohs'"),
        (["train", "--out", "O", "-p", "crop=-5"], "crop is -5"),
        (["train", "--out", "O", "-p", "model=unet"], "unknown model 'unet'"),
    ],
)
def test_one_line_an_error(trained, tmp_path, arguments, message):
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "EMPTY").mkdir()
    places = {
        "W": trained[0] / "run" / "weights.pt",
        "T": tmp_path / "text.jpg",
        "O": tmp_path / "out",
        "root=EMPTY": f"root={tmp_path / 'EMPTY'}",
    }
    result = CliRunner().invoke(app, [str(places.get(argument, argument)) for argument in arguments])
    assert result.exit_code == 2
    *progress, error = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert not [line for line in progress if not line.endswith("reading the data")]  # what train says before it reads
