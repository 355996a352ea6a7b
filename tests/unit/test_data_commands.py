"""The commands on data sets: where they are looked for, and preparing them."""

import json

import numpy as np
import pytest
from layouts import write_image_info, write_shanghaitech
from typer.testing import CliRunner

from workbench.commands.cli import app
from workbench.data import DATASETS, open_dataset
from workbench.registry import look_up


def call(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def test_the_list_says_where_each_set_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    (tmp_path / "mall").mkdir()
    rows = {row["name"]: row for row in json.loads(call("list", "--json").stdout)}
    assert set(rows) == set(DATASETS)
    assert rows["scenes"]["place"] is None
    assert rows["mall"] | {"about": ""} == {"name": "mall", "about": "", "place": str(tmp_path / "mall"), "there": True}
    assert not rows["nwpu_crowd"]["there"]
    text = call("list").stdout
    assert "nwpu_crowd (not there)" in text
    assert "built in" in text
    for name in DATASETS:
        assert getattr(look_up(DATASETS, name, "dataset"), "name", name) == name or name in ("digits", "scenes")


def test_a_set_is_found_where_the_list_says(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    write_shanghaitech(tmp_path / "shanghaitech_a")
    assert len(open_dataset("shanghaitech_a", split="test")) == 4
    result = call("check", "shanghaitech_a", "--json")
    assert json.loads(result.stdout)["measured"]["test"]["images"] == 4
    with pytest.raises(
        ValueError, match=r"root is None, expected the folder that holds Mall .* there is no .*mall either"
    ):
        open_dataset("mall")


def test_prepare_then_train_on_it(tmp_path):
    root, cache = tmp_path / "set", tmp_path / "cache"
    write_shanghaitech(root)
    command = ["prepare", "shanghaitech_a", "--root", root, "--to", cache, "--resize", "longest:128", "--json"]
    first, second = (json.loads(call(*command).stdout) for _ in range(2))
    assert (first["prepared"], first["found"], second["prepared"], second["found"]) == (16, 0, 0, 16)
    assert first["folder"] == second["folder"]
    settings = [
        *("-p", "dataset=shanghaitech_a", "-p", f"root={root}", "-p", "model=mcnn", "-p", "model_options.width=0.25"),
        *("-p", f"dataset_options.prepared={cache}", "-p", "dataset_options.resize=longest:128"),
        *("-p", "crop=64", "-p", "epochs=1", "-p", "accelerator=cpu"),
    ]
    result = CliRunner().invoke(app, ["train", "--out", str(tmp_path / "run"), *settings, "--json"])
    assert result.exit_code == 0, result.output
    assert len(list(cache.rglob("*.npz"))) == 16  # nothing was prepared a second time


@pytest.mark.bad_input
@pytest.mark.parametrize("part", ["train_data", "test_data"])
def test_an_annotation_that_does_not_fit_stops_training_before_it_starts(tmp_path, part):
    root = tmp_path / "set"
    write_shanghaitech(root)
    write_image_info(root / "part_A_final" / part / "ground-truth" / "GT_IMG_4.mat", np.array([[900.0, 5.0]]))
    settings = ["-p", "dataset=shanghaitech_a", "-p", f"root={root}", "-p", "model=mcnn", "-p", "accelerator=cpu"]
    result = CliRunner().invoke(app, ["train", "--out", str(tmp_path / "run"), *settings])
    assert result.exit_code == 2
    assert "GT_IMG_4.mat has 1 of 1 points outside the image" in result.stderr
    assert "clamp" in result.stderr
    assert not list((tmp_path / "run").glob("*.json"))


@pytest.mark.bad_input
def test_mistakes_are_one_line(tmp_path):
    for arguments, message in [
        (["prepare", "scenes", "--to", tmp_path], "dataset 'scenes' is built in"),
        (["prepare", "mall", "--to", tmp_path, "--root", tmp_path / "none"], "there is no folder"),
        (["prepare", "mall", "--to", tmp_path, "--root", tmp_path, "--resize", "big"], "resize is 'big'"),
        (["prepare", "mall", "--to", tmp_path, "--root", tmp_path, "--outside", "no"], "outside is 'no'"),
    ]:
        result = call(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert message in result.stderr
