"""What the papers print that cannot be: the known cases are found, and sound rows are not accused."""

import pandas as pd

from workbench.reports import errata


def found(tables, monkeypatch):
    monkeypatch.setattr(errata, "published_files", lambda: {"one": None, "two": None})
    monkeypatch.setattr(errata, "read_published", lambda paper: tables[tables["paper"] == paper].drop(columns="paper"))
    monkeypatch.setattr(errata, "_listed", list)
    return errata.find_errata()


def table(*rows):
    columns = ["paper", "table", "method", "backbone", "dataset", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def rows(paper, **values):
    return [(paper, "1", "Net", "", "Set", metric, value) for metric, value in values.items()]


def test_sound_rows_are_not_accused(monkeypatch):
    sound = table(
        *rows("one", MAE=5.0, RMSE=5.0, F1=0.667, precision=0.5, recall=1.0),
        *rows("two", MAE=5.01, RMSE=5.02, F1=0.667),
    )
    assert found(sound, monkeypatch) == []


def test_each_check_finds_its_fault(monkeypatch):
    wrong = table(
        *rows("one", MAE=5.0, RMSE=4.9, F1=0.7, precision=0.5, recall=1.0), *rows("two", MAE=6.0, RMSE=9.0, F1=0.7)
    )
    problems = [one.problem for one in found(wrong, monkeypatch)]
    assert [sum(word in problem for problem in problems) for word in ("at least", "harmonic", "different results")] == [
        1,
        1,
        2,
    ]


def test_the_papers_known_errata_are_there():
    text = "\n".join(" ".join(one) for one in errata.find_errata())
    for part in (
        "F1 0.729, precision 0.676, recall 0.685",
        "MAE 4.4, RMSE 2.4",
        "MAE 493.4, RMSE 487.1",
        "MCNN, UCF-QNRF, MAE: 277, 227, 277",
        "CSRNet, UCF-QNRF, MAE: 110.6, 148",
        "CSRNet, UCF_CC_50, MAE: 266.1, 221.6",
        "DM-Count, NWPU-Crowd, RMSE: 357.6, 388.6",
        "eq. 5",
        "eq. 4",
        "FGSM",
    ):
        assert part in text
