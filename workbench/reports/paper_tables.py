"""The papers' tables with what was measured here beside them.

``data/published/readings.yaml`` says which runs a printed row stands for: conditions on the configuration of a network.
A row is measured on the data set of its column where there are such runs, and else on built-in data: the order of the
methods can be compared there, the numbers cannot. The reference records and the reader's own runs have columns of their
own.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from workbench.reports.measured import BUILT_IN, Measurement, by_setting, describe, effort, matches, reference_configs
from workbench.reports.published import PAPERS, read_about, read_published

if TYPE_CHECKING:
    from pandas import DataFrame

Score = str | list[str]
"""The name of a score in the records, or several: the first that a run has."""


TRIVIAL = ("Trivial baseline", "")
"""The row below a measured table: the mean count for errors of counts, random points in the right number for F1."""


class Reading(BaseModel):
    """What the rows of one printed table stand for.

    Attributes:
        title: of the table, in a few words.
        sweep: the grid that measures it as the paper did.
        methods: method -> conditions on the runs, see :func:`workbench.reports.measured.matches`.
        backbones: backbone -> further conditions. One that the table does not print gets rows of its own.
        usual: what holds for every method unless it says otherwise; None: as for the other tables.
        metrics: printed metric -> score, beside those of all tables.
        scores: method -> printed metric -> score, where a row is not the network's final map.
        note: what a reader should know of the measured columns.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    sweep: str | None = None
    methods: dict[str, dict[str, Any]] = {}
    backbones: dict[str, dict[str, Any]] = {}
    usual: dict[str, Any] | None = None
    metrics: dict[str, Score] = {}
    scores: dict[str, dict[str, Score]] = {}
    note: str = ""


class Readings(BaseModel):
    """All of ``readings.yaml``: names of metrics and data sets here, and the tables by paper and number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metrics: dict[str, Score]
    datasets: dict[str, str]
    usual: dict[str, Any]
    titles: dict[str, str]
    papers: dict[str, dict[str, Reading]]


class TableValue(NamedTuple):
    """A number with its spread; of a measured one, over how many seeds, and from which records."""

    mean: float
    spread: float | None
    seeds: int = 0
    records: tuple[Path, ...] = ()


class Column(NamedTuple):
    """What a column holds.

    Attributes:
        where: the data set as it is printed, or the setting that was measured.
        metric: as it is printed.
        origin: "published" as it is printed; else whose runs were measured.
    """

    where: str
    metric: str
    origin: Literal["published", "reference", "own"]

    @property
    def measured(self) -> bool:
        """Whether it holds numbers from here."""
        return self.origin != "published"


class Row(NamedTuple):
    """One row and its values, one a column."""

    method: str
    backbone: str
    values: list[TableValue | None]


class PaperTable(NamedTuple):
    """One table."""

    paper: str
    number: str
    reading: Reading
    columns: list[Column]
    rows: list[Row]

    @property
    def name(self) -> str:
        """For a file."""
        return f"{self.paper}_{self.number}"

    @property
    def measured(self) -> bool:
        """Whether anything of it was measured."""
        return any(column.measured for column in self.columns)

    @property
    def heads(self) -> list[tuple[str, str, int]]:
        """The columns that stand under one head: where, whose, and how many."""
        groups = groupby(self.columns, key=lambda column: (column.where, column.origin))
        return [(where, origin, len(list(group))) for (where, origin), group in groups]

    @property
    def records(self) -> set[Path]:
        """The files that its measured numbers come from."""
        return {record for row in self.rows for value in row.values if value for record in value.records}


def read_readings(path: str | Path = PAPERS / "readings.yaml") -> Readings:
    """What ``data/published/readings.yaml``, or another such file, says; errors as :func:`read_about`."""
    readings: Readings = read_about(path, Readings, "readings of the papers' tables")
    return readings


def build_tables(measurements: Sequence[Measurement], readings: Readings | None = None) -> list[PaperTable]:
    """Every printed table, those that nobody read for runs included."""
    readings = readings or read_readings()
    references = reference_configs(measurements)
    tables = []
    for paper in readings.titles:
        printed = read_published(paper)
        for number in dict.fromkeys(printed["table"]):
            reading = readings.papers.get(paper, {}).get(number, Reading(title=f"Table {number}"))
            rows = printed[printed["table"] == number]
            tables.append(_build(paper, number, reading, readings, rows, measurements, references))
    return tables


def _build(
    paper: str,
    number: str,
    reading: Reading,
    readings: Readings,
    printed: "DataFrame",
    measurements: Sequence[Measurement],
    references: Sequence[dict[str, Any]],
) -> PaperTable:
    names = list(dict.fromkeys(zip(printed["method"], printed["backbone"], strict=True)))
    heads = list(dict.fromkeys(zip(printed["dataset"], printed["metric"], strict=True)))
    columns = [Column(dataset, metric, "published") for dataset, metric in heads]
    extra = [backbone for backbone in reading.backbones if backbone not in {name[1] for name in names}]
    found = {name: _runs(_conditions(reading, readings, *name), measurements, references) for name in names}
    for backbone in extra:
        for method in dict.fromkeys(method for method, printed_backbone in names if printed_backbone):
            runs = _runs(_conditions(reading, readings, method, backbone), measurements, references)
            found |= {(method, backbone): runs} if runs else {}
    rows: dict[tuple[str, str], list[TableValue | None]] = {name: [None] * len(heads) for name in found}
    for one in printed.to_dict("records"):
        spread = None if np.isnan(one["spread"]) else float(one["spread"])
        place = heads.index((one["dataset"], one["metric"]))
        rows[one["method"], one["backbone"]][place] = TableValue(float(one["value"]), spread)
    scores: Mapping[str, Score] = readings.metrics | reading.metrics
    metrics = [metric for metric in dict.fromkeys(metric for _, metric in heads) if metric in scores]
    datasets = [readings.datasets.get(dataset, "") for dataset, _ in heads]
    origins: tuple[Literal["reference", "own"], ...] = ("reference", "own")
    for origin in origins:
        whose = {name: [one for one in runs if one.origin == origin] for name, runs in found.items()}
        for setting in _settings(whose, datasets):
            for metric in metrics:
                values = {
                    name: _value(
                        [one for one in runs if one.setting == setting],
                        reading.scores.get(name[0], {}).get(metric, scores[metric]),
                    )
                    for name, runs in whose.items()
                }
                if any(values.values()):
                    columns.append(Column(describe(setting), metric, origin))
                    for name in found:
                        rows[name].append(values[name])
                    alike = [one for runs in whose.values() for one in runs if one.setting == setting]
                    rows.setdefault(TRIVIAL, [None] * (len(columns) - 1)).append(_trivial(alike, scores[metric]))
    if not any(rows.get(TRIVIAL, ())):
        rows.pop(TRIVIAL, None)
    return PaperTable(paper, number, reading, columns, [Row(*name, values) for name, values in rows.items()])


def _conditions(reading: Reading, readings: Readings, method: str, backbone: str) -> dict[str, Any] | None:
    """Conditions on the runs that a row stands for; None where it stands for none of ours."""
    if method not in reading.methods or (backbone and backbone not in reading.backbones):
        return None
    own = reading.methods[method] | reading.backbones.get(backbone, {})
    spoken = {name.partition(".")[0] for name in own}
    usual = readings.usual if reading.usual is None else reading.usual
    return {name: value for name, value in usual.items() if name not in spoken} | own


def _runs(
    conditions: dict[str, Any] | None, measurements: Sequence[Measurement], references: Sequence[dict[str, Any]]
) -> list[Measurement]:
    if conditions is None:
        return []
    return [one for one in measurements if matches(one.config, conditions, references)]


def _settings(found: Mapping[tuple[str, str], list[Measurement]], datasets: Sequence[str]) -> list[str]:
    """Where a table was measured: the best setting on each of its data sets, or the one that stands in for them."""
    groups = by_setting(one for runs in found.values() for one in runs)
    rows = {setting: sum(any(one.setting == setting for one in runs) for runs in found.values()) for setting in groups}
    best: dict[str, str] = {}
    for setting in sorted(groups, key=lambda setting: (rows[setting], effort(setting))):
        best[json.loads(setting)["dataset"]] = setting
    wanted = dict.fromkeys([*datasets, *BUILT_IN])
    return [best[dataset] for dataset in wanted if dataset in best]


def _trivial(runs: Sequence[Measurement], score: Score) -> TableValue | None:
    """What the trivial predictor reaches: its mean over the seeds, which draw the data."""
    names = [f"baseline_{key}" for key in ([score] if isinstance(score, str) else score)]
    known = {one.seed: one.metrics[name] for one in runs for name in names if name in one.metrics}
    return TableValue(float(np.mean(list(known.values()))), None, len(known)) if known else None


def _value(runs: Sequence[Measurement], score: Score) -> TableValue | None:
    """Mean and spread over the seeds of one configuration: the one with most seeds, of those the newest."""
    keys = [score] if isinstance(score, str) else score
    groups: dict[str, dict[int, tuple[Measurement, float]]] = {}
    for one in sorted(runs, key=lambda one: one.started):
        known = next((one.metrics[key] for key in keys if key in one.metrics), None)
        if known is not None:
            groups.setdefault(one.but("seed"), {})[one.seed] = one, known
    if not groups:
        return None
    chosen = max(groups.values(), key=lambda group: (len(group), max(one.started for one, _ in group.values())))
    runs, values = zip(*(chosen[seed] for seed in sorted(chosen)), strict=True)
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    records = tuple(dict.fromkeys(one.record for one in runs))
    return TableValue(float(np.mean(values)), spread, len(values), records)
