"""The figures of a sweep say what its cells say."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from workbench.reports.figures import draw_sweep
from workbench.reports.sweep_figures import importance, show_curves, show_parallel
from workbench.runs.record import Record, Timing
from workbench.sweeps.summary import collect_sweeps


def drawn():
    rng = np.random.default_rng(0)
    rows = [
        {"learning_rate": float(10 ** rng.uniform(-5, -1)), "loss": str(rng.choice(["l2", "bayesian"])), "seed": seed}
        for seed in range(40)
    ]
    return rows, [abs(float(np.log10(row["learning_rate"])) + 3) for row in rows]


def test_the_parameter_that_makes_the_score_is_the_important_one():
    rows, scores = drawn()
    found = importance(rows, scores)
    assert next(iter(found.shares)) == "learning_rate"
    assert found.shares["learning_rate"] > 10 * max(found.shares["loss"], found.shares["seed"])
    assert found.r2 > 0.7
    noise = importance(rows, list(np.random.default_rng(1).normal(size=40)))
    assert noise.r2 < 0.2
    assert importance(rows[:9], scores[:9]) is None
    assert importance(rows, [1.0] * 40) is None


def test_each_cell_is_a_line_through_its_values():
    rows, scores = drawn()
    ax = show_parallel(Figure().subplots(), rows, scores, "mae")
    lines = [line for line in ax.lines if len(line.get_ydata()) == 4]
    assert len(lines) == 40
    best = lines[-1].get_ydata()  # on top
    rates = np.log([row["learning_rate"] for row in rows])
    index = int(np.argmin(scores))
    assert best[0] == pytest.approx((rates[index] - rates.min()) / np.ptp(rates))
    assert best[1] == (rows[index]["loss"] == "l2")
    assert best[3] == 0
    assert [label.get_text() for label in ax.get_xticklabels()] == ["learning_rate", "loss", "seed", "mae"]


def test_curves_without_a_score_are_dashed():
    rows = [{"epoch": 1, "val_mae": 3.0}, {"epoch": 2}, {"epoch": 3, "val_mae": 1.0}]
    ax = show_curves(Figure().subplots(), [(rows, 1.0), (rows[:1], None), (rows, 2.0)], "val_mae", "mae")
    assert [(line.get_linestyle(), len(line.get_xdata())) for line in ax.lines] == [("--", 1), ("-", 2), ("-", 2)]
    assert list(ax.lines[1].get_xdata()) == [1, 3]


def sweep(folder, cells, state="done"):
    names = [f"tiny-{number}-aa" for number in range(cells)]
    for number, name in enumerate(names):
        cell = folder / "sweeps" / "g" / "cells" / name
        cell.mkdir(parents=True)
        (cell / "cell.json").write_text(json.dumps({"given": {"n": number, "same": 1}}))
        history = [{"epoch": epoch, "val_mae": 9.0 / epoch + number} for epoch in (1, 2)]
        if state == "done":
            timing = Timing(started="2026", seconds=1)
            Record(name="r", metrics={"mae": 1.0 + number}, history=history, timing=timing).write(
                cell / "result" / "record.json"
            )
        else:
            (cell / "work-train").mkdir()
            (cell / "work-train" / "history.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in history) + "{")
    plan = {"planned": "2026", "grid": {"name": "g", "run": "tiny"}, "cells": names}
    (folder / "sweeps" / "g" / "sweep.json").write_text(json.dumps(plan))
    (found,) = collect_sweeps(folder)
    return found


@pytest.mark.parametrize(
    ("cells", "state", "kinds"),
    [(12, "done", ["cells", "importance", "curves"]), (4, "done", ["cells", "curves"]), (2, "running", ["curves"])],
)
def test_what_there_is_enough_of_is_drawn(tmp_path, cells, state, kinds):
    pictures = draw_sweep(sweep(tmp_path, cells, state), tmp_path / "figures")
    assert [picture.png.stem.removeprefix("sweep_g_") for picture in pictures] == kinds
    assert all(picture.png.is_file() and picture.svg.is_file() for picture in pictures)
