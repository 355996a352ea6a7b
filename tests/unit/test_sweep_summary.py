"""What a report says of sweeps whose files were damaged: the rest of it, and what is wrong."""

import json

import pytest

from workbench.runs.record import Record, Timing
from workbench.runs.status import Failure, Job
from workbench.sweeps.cell import cell_state
from workbench.sweeps.summary import collect_sweeps

NAMES = ["tiny-0-aa", "tiny-1-bb", "tiny-2-cc"]


@pytest.fixture
def runs(tmp_path):
    """A sweep with a cell that is done, one that failed and one that never ran."""
    out = tmp_path / "sweeps" / "g"
    done, failed, missing = (out / "cells" / name for name in NAMES)
    for n, folder in enumerate((done, failed, missing)):
        folder.mkdir(parents=True)
        (folder / "cell.json").write_text(json.dumps({"given": {"n": n}}))
    Record(name="tiny", metrics={"mae": 2.0}, timing=Timing(started="2026", seconds=1)).write(
        done / "result/record.json"
    )
    job = Job(name="tiny", notebook=None, folder=failed / "failed", parameters={})
    job.status("failed", Failure(type="KeyError", message="unlucky")).write(job.folder)
    plan = {"planned": "2026", "grid": {"name": "g", "run": "tiny"}, "cells": NAMES}
    (out / "sweep.json").write_text(json.dumps(plan))
    return tmp_path


def test_each_cell_says_how_it_ended(runs):
    (sweep,) = collect_sweeps(runs)
    assert [cell.state for cell in sweep.cells] == ["done", "failed", "missing"]
    assert sweep.cells[0].metrics == {"mae": 2.0}
    assert sweep.cells[1].error.message == "unlucky"
    assert (sweep.varying, sweep.metrics) == (["n"], ["mae"])


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"given": 3}', "null", "[" * 20_000, "\0"])
def test_a_damaged_cell_is_named_and_the_others_are_shown(runs, content):
    cells = runs / "sweeps" / "g" / "cells"
    (cells / NAMES[0] / "cell.json").write_text(content)
    (sweep,) = collect_sweeps(runs)
    assert "cell.json is not a cell" in sweep.cells[0].error.message
    assert sweep.cells[1].given == {"n": 1}


@pytest.mark.parametrize("content", ["", '{"name": "tin', "\0", "[]"])
def test_a_damaged_record_is_no_result(runs, content):
    folder = runs / "sweeps" / "g" / "cells" / NAMES[0]
    (folder / "result" / "record.json").write_text(content)
    assert cell_state(folder) == "missing"
    (runs / "sweeps" / "g" / "cells" / NAMES[1] / "failed" / "status.json").write_text(content)
    (sweep,) = collect_sweeps(runs)
    assert [cell.state for cell in sweep.cells] == ["missing"] * 3


@pytest.mark.parametrize(
    "change", [{"cells": ["../../elsewhere"]}, {"cells": [1]}, {"cells": "abc"}, {"grid": {}}, {"planned": None}]
)
def test_a_damaged_plan_is_left_out(runs, change):
    file = runs / "sweeps" / "g" / "sweep.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert collect_sweeps(runs) == []
