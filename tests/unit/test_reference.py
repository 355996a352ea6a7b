"""Reference records: one compact file a sweep, and runs that are repeated."""

import json
from collections import Counter

import pytest
from typer.testing import CliRunner

from workbench.commands.cli import app
from workbench.commands.reference import draw
from workbench.reports.measured import Measurement
from workbench.reports.reference import (
    Head,
    Reference,
    ReferenceRow,
    collect,
    differences,
    machine,
    read_reference,
    read_references,
    records_below,
)
from workbench.runs.record import Record, Timing, now
from workbench.training.config import loss_name

CODE = "0123456789ab"


def record(mae, seed, day=1, **config):
    config = {"model": "compact", "loss": "l2", "seed": seed, **config}
    timing = Timing(started=f"2026-01-{day:02d}T00:00:00", seconds=12.34)
    return Record(name="r", config=config, metrics={"mae": mae}, versions={"torch": "2", "commit": "x"}, timing=timing)


@pytest.fixture
def reference():
    rows = [(record(2 + seed / 10, seed, loss_options={"sigma": sigma}), CODE) for sigma in (1, 2) for seed in range(4)]
    return collect("losses", "train", rows)


def test_a_file_says_once_what_its_rows_share_and_comes_back_whole(reference, tmp_path):
    assert reference.head.shared == {"model": "compact", "loss": "l2"}
    assert reference.head.versions == {"torch": "2"}
    assert reference.rows[0].config == {"seed": 0, "loss_options": {"sigma": 1}}
    path = reference.write(tmp_path)
    assert len(path.read_text().splitlines()) == 9
    back = read_reference(path)
    assert back.head == reference.head
    assert sorted(map(str, back.rows)) == sorted(map(str, reference.rows))
    assert back.write(tmp_path).read_text() == path.read_text()


def test_scores_have_six_digits_and_the_date_is_that_of_the_newest_run():
    reference = collect("s", "train", [(record(1 / 3, 0, day=4), CODE), (record(1234567.8, 1, day=3), CODE)])
    assert [row.metrics["mae"] for row in reference.rows] == [0.333333, 1234570.0]
    assert reference.head.date == "2026-01-04T00:00:00"
    assert reference.rows[0].seconds == 12.3


def test_rows_are_measurements_beside_the_readers_own(reference, tmp_path):
    path = reference.write(tmp_path)
    found = read_references(tmp_path)
    assert len(found) == 8
    config = {"model": "compact", "loss": "l2", "loss_options": {"sigma": 1}, "seed": 0}
    assert found[0] == Measurement(config, {"mae": 2.0}, path, "2026-01-01T00:00:00", "reference")
    assert read_references(tmp_path / "nowhere") == []


def test_the_records_of_a_sweep_are_its_finished_cells(tmp_path):
    for name in ("a", "b"):
        folder = tmp_path / "cells" / name
        folder.mkdir(parents=True)
        (folder / "cell.json").write_text(json.dumps({"code": CODE * 5}))
    record(2.5, 0).write(tmp_path / "cells/a/result/record.json")
    assert records_below(tmp_path) == [(record(2.5, 0), CODE)]


def test_a_cell_that_newer_code_made_again_counts_once(tmp_path):
    for name, day, code in (("a", 2, "newer"), ("b", 1, "older")):
        record(float(day), 0, day=day).write(tmp_path / f"cells/{name}/result/record.json")
        (tmp_path / f"cells/{name}/cell.json").write_text(json.dumps({"code": code}))
    assert records_below(tmp_path) == [(record(2.0, 0, day=2), "newer")]


def test_a_sweep_without_a_record_writes_nothing():
    with pytest.raises(ValueError, match="sweep s has no record yet"):
        collect("s", "train", [])


@pytest.mark.parametrize("line", ["", "{", "[]", '{"config": {}}', '{"config": {}, "metrics": {"mae": "low"}}', "\0"])
def test_a_damaged_file_is_named_with_its_line(reference, tmp_path, line):
    path = reference.write(tmp_path)
    path.write_text("\n".join([path.read_text().splitlines()[0], line, ""]))
    with pytest.raises(ValueError, match=r"losses\.jsonl, line 2"):
        read_references(tmp_path)
    path.write_text("")
    with pytest.raises(ValueError, match="empty"):
        read_reference(path)


def test_the_same_machine_and_versions_give_the_same_scores(reference):
    row = reference.rows[0]
    assert differences(reference, row, {"mae": 2.0 + 1e-6}, {"torch": "2"}) == {}
    assert "2 there, 2.01 now" in differences(reference, row, {"mae": 2.01}, {"torch": "2"})["mae"]
    assert set(differences(reference, row, {}, {"torch": "2"})) == {"mae"}
    assert set(differences(reference, row, {"mae": float("nan")}, {"torch": "3"})) == {"mae"}


def test_elsewhere_a_score_may_differ_as_much_as_seeds_do(reference):
    row = reference.rows[0]  # the spread of 2, 2.1, 2.2, 2.3 is .129
    assert differences(reference, row, {"mae": 2.38}, {"torch": "3"}) == {}
    assert set(differences(reference, row, {"mae": 2.4}, {"torch": "3"})) == {"mae"}
    other = reference.head.model_copy(update={"machine": "another"})
    assert differences(Reference(other, reference.rows), row, {"mae": 2.38}, {"torch": "2"}) == {}


def test_rows_are_drawn_from_every_file_before_a_second_one_of_any(reference, tmp_path):
    files = {tmp_path / name: reference for name in ("a", "b", "c")}
    chosen = draw(files, 6, seed=0)
    assert {path for path, _ in chosen[:3]} == {path for path, _ in chosen[3:]} == set(files)
    assert chosen == draw(files, 6, seed=0) != draw(files, 6, seed=1)
    assert len(draw({tmp_path / "a": reference}, 99, seed=0)) == 8


@pytest.fixture
def project(monkeypatch, tmp_path):
    """A project whose only reference row has MAE 2, made by the code of today on this machine."""
    from workbench.runs.record import versions

    head = Head(sweep="s", run="train", shared={}, versions=versions(commit=False), machine=machine(), date=now())
    monkeypatch.setattr("workbench.reports.reference.reference_folder", lambda: tmp_path)
    monkeypatch.setattr("workbench.io.source.source_digest", lambda *_: CODE * 4)
    config = {"loss": "l2", "seed": 3}
    return Reference(head, [ReferenceRow(config=config, metrics={"mae": 2.0}, seconds=1, code=CODE)])


def check(monkeypatch, mae, *options):
    asked = []

    def train(kind, parameters, folder):
        asked.append((kind, parameters))
        return record(mae, parameters["seed"])

    monkeypatch.setattr("workbench.sweeps.plan.train", train)
    result = CliRunner().invoke(app, ["reference", "check", "--json", *options])
    assert asked == [("train", {"loss": "l2", "seed": 3})]
    return result.exit_code, json.loads(result.stdout)[0]


def test_a_row_that_comes_back_passes_and_another_value_fails(project, monkeypatch, tmp_path):
    project.write(tmp_path)
    assert check(monkeypatch, 2.0) == (
        0,
        {"sweep": "s", "config": project.rows[0].config, "same_code": True, "differs": {}},
    )
    code, found = check(monkeypatch, 2.5)
    assert code == 1
    assert "2 there, 2.5 now" in found["differs"]["mae"]


def test_a_row_of_older_code_says_so_and_is_stamped_on_request(project, monkeypatch, tmp_path):
    old = project.rows[0].model_copy(update={"code": "older"})
    path = Reference(project.head, [old]).write(tmp_path)
    before = path.read_text()
    assert check(monkeypatch, 2.0)[1]["same_code"] is False
    assert check(monkeypatch, 2.5, "--stamp")[0] == 1
    assert path.read_text() == before
    check(monkeypatch, 2.0, "--stamp")
    (row,) = read_reference(path).rows
    assert row.code == CODE
    assert row.checked


def test_a_sweep_that_is_not_there_is_named():
    result = CliRunner().invoke(app, ["reference", "run", "nothing"])
    assert result.exit_code
    assert "no reference sweep 'nothing'" in result.output


GRID = """
name: s
run: train
fixed: {dataset: scenes, model: compact, epochs: 1}
cells: [{loss: l2}, {loss: bayesian}]
seeds: 2
"""


def test_a_file_holds_the_cells_of_its_grid_and_no_other(monkeypatch, tmp_path):
    """Rows of cells that are not done stay; rows of cells that the grid lists no more go; new records come first."""
    from workbench.sweeps.grid import read_grid
    from workbench.sweeps.plan import plan

    for name in ("notebooks/sweeps/reference", "reports/reference"):
        (tmp_path / name).mkdir(parents=True)
    grid = tmp_path / "notebooks/sweeps/reference/s.yaml"
    grid.write_text(GRID)
    l2, l2_again, bayesian, bayesian_again = (cell.parameters for cell in plan(read_grid(grid), tmp_path))
    unknown = {key: value for key, value in bayesian.items() if key != "precision"}  # as an older version wrote it
    gone = bayesian | {"epochs": 9}
    old = [
        (Record(name="r", config=c, metrics={"mae": 9}, versions={}, timing=Timing(started=now(), seconds=1)), CODE)
        for c in (l2, unknown, gone)
    ]
    file = collect("s", "train", old).write(tmp_path / "reports/reference")
    done = [(record(1.0, 0).model_copy(update={"config": c}), CODE) for c in (l2, l2_again, gone)]
    monkeypatch.setattr("workbench.commands.reference.project_root", lambda: tmp_path)
    monkeypatch.setattr("workbench.reports.reference.records_below", lambda _: done)
    result = CliRunner().invoke(app, ["reference", "run", "--collect"])
    assert "2 new, 1 kept" in result.output
    reference = read_reference(file)
    scores = {
        tuple(reference.config(row)[key] for key in ("loss", "seed")): row.metrics["mae"] for row in reference.rows
    }
    assert scores == {("l2", 0): 1.0, ("l2", 1): 1.0, ("bayesian", 0): 9.0}
    assert bayesian_again["seed"] == 1


def test_the_comparison_of_losses_trains_what_the_search_chose():
    """The best of each loss by the validation scenes, from as many settings for each, on other seeds."""
    from workbench.io.project import project_root
    from workbench.reports.sources import read_search
    from workbench.sweeps.grid import combinations, read_grid

    folder = project_root() / "notebooks/sweeps/reference"
    tried, compared = (list(combinations(read_grid(folder / name))) for name in ("search.yaml", "losses.yaml"))
    trainings = Counter(loss_name(cell) for cell in tried)
    assert set(trainings.values()) == {33}
    assert {cell["seed"] for cell in tried}.isdisjoint(cell["seed"] for cell in compared)
    chosen = {loss_name(cell): (cell["loss_options"], cell["learning_rate"]) for cell in compared}
    best = {name: settings[0] for name, settings in read_search().items()}
    assert chosen == {name: (setting.options, setting.learning_rate) for name, setting in best.items()}
