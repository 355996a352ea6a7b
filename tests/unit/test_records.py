"""Records: what is written can be read, nothing unknown is, and numbers of every library become plain ones."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.runs.record import Figure, Record, Table, Timing, number, plain, read_record, versions

TIMING = Timing(started="2026-01-02T03:04:05+00:00", seconds=1.5)


def full_record() -> Record:
    return Record(
        name="000_quickstart",
        kind="notebook",
        preset="smoke",
        config={"lr": 1e-4, "options": {"sizes": [1, 2]}, "root": None},
        seed=3,
        versions={"python": "3.11"},
        metrics={"mae": 2.5},
        history=[{"epoch": 1, "loss": 0.25, "mae": None}],
        figures=[Figure(name="curve", file="curve.png", caption="Loss over steps")],
        tables=[Table(name="scores", columns=["model", "mae"], rows=[["csrnet", 2.5], ["mean", None]])],
        timing=TIMING,
    )


def test_a_record_is_read_as_it_was_written(tmp_path):
    full_record().write(tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == full_record()


def test_an_old_record_stays_where_a_new_one_cannot_be_written(tmp_path):
    path = tmp_path / "record.json"
    full_record().write(path)
    broken = full_record().model_copy(update={"config": {"lr": math.nan}})
    with pytest.raises(ValueError, match=r"record\.json"):
        broken.write(path)
    assert read_record(path) == full_record()
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"mood": "good"}, "mood"),
        ({"format": 2}, "format"),
        ({"timing": {"started": "2026", "seconds": 1, "minutes": 0}}, "timing.minutes"),
        ({"timing": {"started": "2026", "seconds": -1}}, "timing.seconds"),
        ({"metrics": {"mae": "good"}}, "metrics.mae"),
        ({"name": ""}, "name"),
    ],
)
def test_reading_refuses_what_is_not_a_record(tmp_path, change, named):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(full_record().model_dump(mode="json") | change))
    with pytest.raises(ValueError, match=rf"record\.json is not a record: {named}"):
        read_record(path)


def test_reading_refuses_a_torn_file_and_a_missing_one(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"name": "a')
    with pytest.raises(ValueError, match=r"record\.json is not a record"):
        read_record(path)
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "none.json")


def test_metrics_are_finite():
    with pytest.raises(ValueError, match="mae"):
        Record(name="a", metrics={"mae": math.inf}, timing=TIMING)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (torch.tensor(0.25), 0.25),
        (math.nan, None),
        (np.float64("nan"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (None, None),
        (-math.inf, "-inf"),
        ("NaT Cole", "NaT Cole"),
    ],
)
def test_values_become_plain(value, expected):
    assert plain(value, "x") == expected
    assert type(plain(value, "x")) is type(expected)


@pytest.mark.bad_input
def test_what_is_no_number_is_refused_by_name():
    with pytest.raises(TypeError, match="mae is a str"):
        number("2", "mae")
    with pytest.raises(TypeError, match="mae is a bool"):
        number(True, "mae")
    with pytest.raises(ValueError, match="mae is nan"):
        number(torch.tensor(math.nan), "mae")
    with pytest.raises(TypeError, match="cell holds a dict"):
        plain({}, "cell")


def test_versions_name_what_computes():
    found = versions()
    assert found["torch"] == torch.__version__.partition("+")[0]
    assert found["numpy"] == np.__version__
    assert {"python", "workbench"} <= set(found)
