import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from workbench.commands.cli import app
from workbench.localization.formats import Heads, write_predictions, write_truth

pytestmark = pytest.mark.pipeline

LAYOUTS = Path(__file__).parents[1] / "parity/data/shanghaitech_a_localization.npz"


def call(predictions, truth, *more):
    arguments = ["score", "--predictions", predictions, "--truth", truth, *more]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path):
    people = torch.tensor([[10.0, 10.0], [50.0, 50.0]])
    heads = Heads(people, torch.full((2,), 2.0), torch.full((2,), 5.0), torch.tensor([1, 3]))
    nobody = Heads(people[:0], people[:0, 0], people[:0, 0], torch.zeros(0, dtype=torch.long))
    write_truth(tmp_path / "truth.txt", {"a": heads, "b": nobody})
    found = {"b": torch.zeros(1, 2), "a": people + torch.tensor([3.0, 0.0])}  # in another order
    write_predictions(tmp_path / "found.txt", found)
    return tmp_path / "found.txt", tmp_path / "truth.txt"


def test_the_table_and_the_same_as_json(files, tmp_path):
    result = call(*files, "--radius", 3, "--qnrf", "--json", "--plot", tmp_path / "curve.png")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert (content["images"], content["people"], content["predicted"]) == (2, 2, 3)
    assert content["scores"]["sigma_s"]["true_positives"] == 0
    assert content["scores"]["sigma_l"]["precision"] == pytest.approx(2 / 3)
    assert content["scores"]["3 px"]["error_px"] == pytest.approx(3)
    assert content["scores"]["1 to 100 px"]["recall"] == pytest.approx(0.98)
    assert content["recall_by_level"] == {"10^1 to 10^2": 1, "10^3 to 10^4": 1}
    assert content["counts"]["mae"] == 0.5
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.format == "PNG"
    text = call(*files).stdout
    assert "2 images, 2 people, 3 predicted points" in text
    (line,) = (line for line in text.splitlines() if line.startswith("sigma_l "))
    assert line.split() == ["sigma_l", "0.6667", "1.0000", "0.8000"]


def test_what_does_not_fit_together_is_one_line(files, tmp_path):
    found, truth = files
    other = tmp_path / "other.txt"
    for content, message in (
        ("a 0\n", "other.txt lacks 1 of the images of"),
        ("a 0\nb 0\nc 0\n", "truth.txt lacks 1 of the images of"),
        ("a 1 2\nb 0\n", "other.txt, line 1: found 1 numbers for 1 points"),
    ):
        other.write_text(content)
        result = call(other, truth)
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    other.write_text("")
    assert "holds no image" in call(other, other).stderr
    assert "no.txt" in call(found, tmp_path / "no.txt").stderr


def test_the_reference_figures_of_a_published_method(tmp_path):
    """The points of one published method on ShanghaiTech A's 182 test images, and its figures at 4 and 8 px."""
    with np.load(LAYOUTS) as layouts:
        names = layouts["names"].tolist()
        split = {
            key: torch.from_numpy(layouts[key].astype(np.float32)).split(layouts[f"{key}_counts"].tolist())
            for key in ("truth", "predicted")
        }
    four, eight = (torch.full((3000,), radius) for radius in (4.0, 8.0))
    heads = {
        name: Heads(people, four[: len(people)], eight[: len(people)], torch.ones(len(people), dtype=torch.long))
        for name, people in zip(names, split["truth"], strict=True)
    }
    write_truth(tmp_path / "truth.txt", heads)
    write_predictions(tmp_path / "found.txt", dict(zip(names, split["predicted"], strict=True)))
    result = call(tmp_path / "found.txt", tmp_path / "truth.txt", "--json")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)["scores"]
    expected = {"sigma_s": (0.5914, 0.5825, 0.5869), "sigma_l": (0.7820, 0.7702, 0.7760)}
    for name, figures in expected.items():
        assert [scores[name][key] for key in ("precision", "recall", "f1")] == pytest.approx(figures, abs=1e-4)
