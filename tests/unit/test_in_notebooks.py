"""What notebooks say of claims: the reference records' verdicts, and their own numbers by the same rule."""

import pandas as pd
import pytest

from workbench.reports import in_notebooks, sources
from workbench.reports.in_notebooks import Comparison, compare, own_table, show_own, show_reference
from workbench.reports.reference import collect
from workbench.reports.sources import compared_references, read_search, read_sources
from workbench.runs import start_run
from workbench.runs.record import Record, Timing
from workbench.training.config import build_config

NOTEBOOK = "130_proximal"


@pytest.fixture
def folder(tmp_path):
    """Reference records of two losses: PML is better than L2 on all of six seeds."""
    made = []
    for seed in range(6):
        for loss, mae in (("proximal", 2.0 + seed / 10), ("l2", 3.0 + seed / 9)):
            config = build_config(dataset_options={"preset": "small"}, loss=loss, seed=seed).model_dump(mode="json")
            made.append((config, {"mae": mae, "baseline_mae": 10.0}))
    timing = Timing(started="2026-01-01T00:00:00", seconds=40)
    records = [(Record(name="r", config=config, metrics=metrics, timing=timing), "0" * 12) for config, metrics in made]
    collect("losses", "train", records).write(tmp_path / "reference")
    return tmp_path / "reference"


def show(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(in_notebooks, "compared_references", lambda: compared_references(folder))
    monkeypatch.setattr(in_notebooks, "read_sources", lambda: read_sources(folder))
    run = start_run(NOTEBOOK, run_dir=tmp_path / "run")
    return show_reference(run), run.record()


def test_a_notebook_shows_the_reference_verdicts_of_its_own_claims(folder, tmp_path, monkeypatch):
    said, record = show(folder, tmp_path, monkeypatch)
    (table,) = record.tables
    (row,) = table.rows
    found = dict(zip(table.columns, row, strict=True))
    assert found["claim"] == "The proximal mapping loss has a lower MAE than the L2 loss."
    assert (found["verdict"], found["pairs"], found["baseline"]) == ("holds", 6, 10.0)
    assert found["from"] < found["effect"] < found["to"] < 0
    assert [figure.name for figure in record.figures] == ["reference_claims"]
    assert "Made by older code than today's: all 12 runs of losses.jsonl." in said
    assert "Without reference records so far: The proximal mapping loss has a lower MAE than the generalized" in said


def test_without_reference_records_a_notebook_says_so(tmp_path, monkeypatch):
    said, record = show(tmp_path / "none", tmp_path, monkeypatch)
    assert said.startswith("This copy of the project has no reference records")
    assert (record.tables, record.figures) == ([], [])


def searched(loss, rate, seed, **metrics):
    config = build_config(loss=loss, learning_rate=rate, seed=seed).model_dump(mode="json")
    timing = Timing(started="2026-01-01T00:00:00", seconds=40)
    return Record(name="r", config=config, metrics={"baseline_mae": 10.0} | metrics, timing=timing), "0" * 12


def test_a_search_is_no_evidence_and_says_what_it_chose(tmp_path):
    """The rate .01 has the better mean score, though .005 has the best single training."""
    runs = [
        searched("l2", 0.005, 100, val_mae=1.0, val_f1=0.9),
        searched("l2", 0.005, 101, val_mae=9.0, val_f1=0.5),
        searched("l2", 0.01, 100, val_mae=2.0, val_f1=0.8),
        searched("l2", 0.01, 101, val_mae=3.0, val_f1=0.7),
    ]
    collect("search", "train", runs).write(tmp_path)
    assert compared_references(tmp_path) == []
    ((loss, (first, second)),) = read_search(tmp_path).items()
    assert (loss, first.learning_rate, first.seeds) == ("l2", 0.01, 2)
    assert (first.mae, first.f1, first.score) == pytest.approx((2.5, 0.75, 0.5))
    assert second.score == pytest.approx((0.1 + 0.1 + 0.9 + 0.5) / 2)
    assert read_search(tmp_path / "none") == {}


def test_a_search_without_validation_is_refused(tmp_path):
    collect("search", "train", [searched("l2", 0.005, 100, val_mae=1.0)]).write(tmp_path)
    with pytest.raises(ValueError, match="has a run of l2 without 'val_f1'"):
        read_search(tmp_path)


def test_a_file_says_which_of_its_rows_are_of_older_code(folder, monkeypatch):
    (source,) = read_sources(folder)
    assert (source.rows, source.older, source.checked) == (12, 12, 0)
    assert source.hours == pytest.approx(12 * 40 / 3600)
    monkeypatch.setattr(sources, "source_digest", lambda _: "0" * 64)
    (source,) = read_sources(folder)
    assert (source.older, source.note) == (0, "")


@pytest.fixture
def frame():
    rows = [
        {"variant": name, "seed": seed, "mae": mae + seed / 10 + (seed % 2) * bump, "baseline_mae": 10.0}
        for name, mae, bump in (("A", 2.0, 0.0), ("B", 3.0, 0.05))
        for seed in range(5)
    ]
    return pd.DataFrame([*rows, {"variant": "B", "seed": 7, "mae": 99.0, "baseline_mae": 10.0}])


def test_kinds_of_networks_are_paired_by_seed(frame):
    found = compare(frame.sample(frac=1, random_state=0), "A is better", "A", "B")
    assert [b - a for a, b in zip(found.first, found.second, strict=True)] == pytest.approx(
        [1, 1.05, 1, 1.05, 1], abs=0.1
    )
    assert found.baseline == [10.0] * 5
    assert compare(frame, "C is better", "C", "B") is None


def test_own_networks_have_a_verdict_only_where_one_is_asked_for(frame, tmp_path):
    claims = [compare(frame, "A is better", "A", "B"), None]
    run = start_run("130_proximal", run_dir=tmp_path / "run")
    assert "without a verdict" in show_own(run, claims, judged=False)
    assert "verdict" not in run.record().tables[0].columns
    assert show_own(run, claims, judged=True) == ""
    (table,) = run.record().tables
    assert dict(zip(table.columns, table.rows[0], strict=True))["verdict"] == "holds"


def test_networks_that_lose_to_their_baseline_are_not_judged(frame):
    lost = compare(frame.assign(baseline_mae=2.0), "A is better", "A", "B")
    blind = Comparison("bias", [1.0, 2.0, 1.5], [0.0] * 3, better="higher", learnt=False)
    table, reasons = own_table([lost, blind], judged=True)
    assert table["verdict"].tolist() == ["not judged"] * 2
    assert "trivial baseline of 2" in reasons["A is better"]
    assert "bias" in reasons
