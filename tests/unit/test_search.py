"""Optuna chooses the cells of a sweep: it finds the best, stops what is worse, and goes on where it was stopped."""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from workbench.io.lock import FolderInUseError, own_folder
from workbench.runs.record import Record, Timing, now
from workbench.runs.status import Failure
from workbench.sweeps import search
from workbench.sweeps.grid import Grid
from workbench.sweeps.history import Pruned, WatchedHistory, read_history
from workbench.sweeps.plan import plan
from workbench.sweeps.search import run_search, search_space
from workbench.sweeps.summary import collect_sweeps

pytestmark = pytest.mark.pipeline

RANGE = {"learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}}
EPOCHS = 8


def grid(**changed):
    return Grid(**{"name": "g", "run": "train", "fixed": {"model": "compact"}, "search": RANGE} | changed)


class Stub:
    """An engine whose trainings are a formula: the score is lowest at a learning rate of 1e-3."""

    def __init__(self, seconds=0.0, fail=lambda rate: False, dies=lambda number: False):
        self.pool = ThreadPoolExecutor(2)
        self.seconds, self.fail, self.dies, self.ran = seconds, fail, dies, []

    def submit(self, work):
        return self.pool.submit(work, self.execute)

    def execute(self, job):
        rate = job.parameters["learning_rate"]
        self.ran.append(rate)
        status = job.begin()
        if self.dies(len(self.ran)):
            return status.end(job.folder, "died", Failure(type="Killed", message="gone"))
        if self.fail(rate):
            return status.end(job.folder, "failed", Failure(type="ValueError", message="diverged"))
        watched, score = WatchedHistory(job.folder, lambda row: None), 10 + 5 * abs(math.log10(rate) + 3)
        for epoch in range(1, EPOCHS + 1):
            time.sleep(self.seconds)
            try:
                watched({"epoch": epoch, "val_mae": score + 5 / epoch})
            except Pruned as error:
                return status.end(job.folder, "failed", Failure(type="Pruned", message=str(error)))
        record = Record(name="r", metrics={"val_mae": score, "mae": 2 * score}, timing=Timing(started=now(), seconds=1))
        record.write(job.folder / "record.json")
        return status.end(job.folder, "completed")


def test_the_best_is_found_and_a_second_call_goes_on(tmp_path):
    out, engine = tmp_path / "sweeps" / "g", Stub()
    first = run_search(grid(), out, engine, trials=12)
    assert (first.trials, first.failed, len(engine.ran)) == (12, 0, 12)
    again = run_search(grid(), out, engine, trials=20)
    assert again.trials == 20
    assert len(engine.ran) == 20
    assert again.value == min(10 + 5 * abs(math.log10(rate) + 3) for rate in engine.ran) <= first.value
    assert abs(math.log10(again.parameters["learning_rate"]) + 3) < 0.5
    assert run_search(grid(), out, engine, trials=20) == again
    (shown,) = collect_sweeps(tmp_path)
    assert shown.count("done") == len(shown.cells) == 20
    assert "learning_rate" in shown.varying


def test_what_is_worse_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "POLL_SECONDS", 0.005)
    found = run_search(grid(), tmp_path, Stub(seconds=0.03), trials=16, workers=2)
    assert found.pruned > 0
    histories = {cell.name: len(read_history(cell)) for cell in (tmp_path / "cells").iterdir()}
    assert len(histories) == 16
    assert sum(length < EPOCHS for length in histories.values()) <= found.pruned
    assert min(histories.values()) < EPOCHS
    assert histories[found.cell] == EPOCHS


def test_a_trial_that_was_killed_is_taken_up_again(tmp_path):
    engine = Stub(dies=lambda number: number == 3)
    with pytest.raises(RuntimeError, match="gone; call the search again to go on"):
        run_search(grid(), tmp_path, engine, trials=5)
    found = run_search(grid(), tmp_path, engine, trials=5)
    assert found.trials == 5
    assert len(engine.ran) == 6
    assert engine.ran[3] == engine.ran[2]


def test_a_trial_that_fails_counts_and_is_not_the_best(tmp_path):
    found = run_search(grid(), tmp_path, Stub(fail=lambda rate: rate > 1e-3), trials=8)
    assert found.trials == 8
    assert 0 < found.failed < 8
    assert found.parameters["learning_rate"] <= 1e-3


def test_lists_are_choices_and_whole_ends_are_whole_numbers():
    space = search_space(grid(grid={"loss": ["l2", "bayesian"]}, search=RANGE | {"epochs": {"low": 2, "high": 9}}))
    assert space["loss"] == optuna.distributions.CategoricalDistribution(["l2", "bayesian"])
    assert space["epochs"] == optuna.distributions.IntDistribution(2, 9)
    assert space["learning_rate"] == optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seeds": 2}, "has cells or seeds, expected fixed, grid and search alone"),
        ({"search": {}}, "has nothing to choose"),
        ({"fixed": {"learning_rate": 1e-3}}, "sets learning_rate twice"),
        ({"search": {"epochs": {"low": 3, "high": 3}}}, "low is 3 and high 3, expected low < high"),
        ({"search": {"weight_decay": {"low": 0, "high": 1, "log": True}}}, "0 < low for log: true"),
        ({"search": {"learning_rat": {"low": 0.1, "high": 1}}}, "unknown key 'learning_rat'"),
    ],
)
def test_a_grid_that_cannot_be_searched_is_named(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        run_search(grid(**changed), tmp_path, Stub(), trials=1)


def test_ranges_are_refused_without_a_search_and_one_search_runs_at_a_time(tmp_path):
    with pytest.raises(ValueError, match="the ranges of a search: workbench sweep --search optuna"):
        plan(grid(), tmp_path)
    with own_folder(tmp_path / "search"), pytest.raises(FolderInUseError):
        run_search(grid(), tmp_path, Stub(), trials=1)


def test_a_metric_that_no_record_holds_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds val_mae, mae, expected val_f1 among them"):
        run_search(grid(), tmp_path, Stub(), trials=1, objective="val_f1")
