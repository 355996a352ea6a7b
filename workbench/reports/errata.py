"""Printed results that are impossible or contradict another table: those found in the tables, and a list of others.

Three checks need no judgement: a root mean squared error is at least the mean absolute error; F1 is the harmonic mean
of precision and recall; a method has one result on a data set, whichever paper quotes it.
"""

from typing import TYPE_CHECKING, NamedTuple

from workbench.reports.published import PAPERS, published_files, read_about, read_published

if TYPE_CHECKING:
    from pandas import DataFrame, Series

ROUNDING = 0.0011
"""F1, precision and recall are printed with three digits: their harmonic mean may differ by this much."""
AGREE = 0.005
"""Two printed results that differ by at most this share are one result, rounded."""
COMPARED = ("MAE", "RMSE", "F1", "precision", "recall")


class Erratum(NamedTuple):
    """One thing that cannot be as it is printed.

    Attributes:
        where: paper and table or equation, of each place.
        printed: what stands there.
        problem: why that cannot be.
        reading: what the workbench makes of it.
    """

    where: str
    printed: str
    problem: str
    reading: str = "quoted as printed"


def find_errata() -> list[Erratum]:
    """Everything found in the printed tables, then the list of ``data/published/errata.yaml``."""
    import pandas as pd

    tables = pd.concat([read_published(paper).assign(paper=paper) for paper in published_files()], ignore_index=True)
    tables = tables[tables["metric"].isin(COMPARED)]
    return [*_impossible(tables), *_contradictions(tables), *_listed()]


def _impossible(tables: "DataFrame") -> list[Erratum]:
    """Rows whose numbers contradict each other."""
    keys = ["paper", "table", "method", "backbone", "dataset"]
    rows = tables.pivot_table(index=keys, columns="metric", values="value").reset_index()
    found = []
    for _, row in rows.iterrows():
        where = f"{row['paper']}, Table {row['table']}: {_name(row)}"
        if row["RMSE"] < row["MAE"]:
            printed = f"MAE {row['MAE']:g}, RMSE {row['RMSE']:g}"
            found.append(Erratum(where, printed, "A root mean squared error is at least the mean absolute error."))
        precision, recall, f1 = row["precision"], row["recall"], row["F1"]
        if abs(2 * precision * recall / (precision + recall) - f1) > ROUNDING:
            mean = 2 * precision * recall / (precision + recall)
            printed = f"F1 {f1:g}, precision {precision:g}, recall {recall:g}"
            found.append(Erratum(where, printed, f"The harmonic mean of this precision and this recall is {mean:.3f}."))
    return found


def _contradictions(tables: "DataFrame") -> list[Erratum]:
    """Methods that two papers quote with different results on one data set."""
    found = []
    for _, rows in tables.groupby(["method", "backbone", "dataset", "metric"], sort=True):
        low, high = rows["value"].min(), rows["value"].max()
        if rows["paper"].nunique() == 1 or high - low <= AGREE * high:
            continue
        where = "; ".join(f"{paper}, Table {table}" for paper, table in zip(rows["paper"], rows["table"], strict=True))
        named = _name(rows.iloc[0])
        printed = f"{named}, {rows['metric'].iloc[0]}: " + ", ".join(f"{value:g}" for value in rows["value"])
        found.append(Erratum(where, printed, "The papers quote different results for one method on one data set."))
    return found


def _listed() -> list[Erratum]:
    entries = read_about(PAPERS / "errata.yaml", list[dict[str, str]], "a list of errata")
    return [
        Erratum(f"{entry['paper']}, {entry['where']}", entry["printed"], entry["problem"].strip(), entry["reading"])
        for entry in entries
    ]


def _name(row: "Series[str]") -> str:
    """Method, backbone and data set, without those that are not given."""
    return ", ".join(part for part in (row["method"], row["backbone"], row["dataset"]) if part)
