"""The papers' tables with what was measured here beside them.

``data/published/readings.yaml`` says which runs a printed row stands for: conditions on the configuration of a network.
A row is measured on the data set of its column where there are such runs, and else on the built-in scenes: the order of
the methods can be compared there, the numbers cannot.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from workbench.reports.measured import MACHINE, Measurement, by_setting, describe, effort, matches
from workbench.reports.published import PAPERS, read_published

if TYPE_CHECKING:
    from pandas import DataFrame

STAND_IN = "scenes"


class Reading(BaseModel):
    """What the rows of one printed table stand for.

    Attributes:
        title: of the table, in a few words.
        sweep: the grid that measures it as the paper did.
        methods: method -> conditions on the runs, see :func:`workbench.reports.measured.matches`.
        backbones: backbone -> further conditions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    sweep: str | None = None
    methods: dict[str, dict[str, Any]] = {}
    backbones: dict[str, dict[str, Any]] = {}


class Readings(BaseModel):
    """All of ``readings.yaml``: names of metrics and data sets here, and the tables by paper and number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metrics: dict[str, str]
    datasets: dict[str, str]
    usual: dict[str, Any]
    titles: dict[str, str]
    papers: dict[str, dict[str, Reading]]


class Value(NamedTuple):
    """A number with its spread; of a measured one, over how many seeds, and from which records."""

    mean: float
    spread: float | None
    seeds: int = 0
    records: tuple[Path, ...] = ()


class Column(NamedTuple):
    """What a column holds: a metric of a data set, printed (``measured`` False) or measured under ``where``."""

    where: str
    metric: str
    measured: bool


class Row(NamedTuple):
    """One printed row and its values, one a column."""

    method: str
    backbone: str
    values: list[Value | None]


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


def read_readings(path: str | Path | None = None) -> Readings:
    """What ``data/published/readings.yaml`` says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not what it should be.
    """
    import yaml

    path = Path(path) if path is not None else PAPERS / "readings.yaml"
    try:
        return TypeAdapter(Readings).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{path} is not readings of the papers' tables: {error}") from error


def build_tables(measurements: Sequence[Measurement], readings: Readings | None = None) -> list[PaperTable]:
    """Every printed table, those that nobody read for runs included."""
    readings = readings or read_readings()
    tables = []
    for paper in readings.titles:
        printed = read_published(paper)
        for number in dict.fromkeys(printed["table"]):
            reading = readings.papers.get(paper, {}).get(number, Reading(title=f"Table {number}"))
            rows = printed[printed["table"] == number]
            tables.append(_build(paper, number, reading, readings, rows, measurements))
    return tables


def _build(
    paper: str,
    number: str,
    reading: Reading,
    readings: Readings,
    printed: "DataFrame",
    measurements: Sequence[Measurement],
) -> PaperTable:
    names = list(dict.fromkeys(zip(printed["method"], printed["backbone"], strict=True)))
    heads = list(dict.fromkeys(zip(printed["dataset"], printed["metric"], strict=True)))
    columns = [Column(dataset, metric, False) for dataset, metric in heads]
    rows = {name: [None] * len(heads) for name in names}  # type: dict[tuple[str, str], list[Value | None]]
    for one in printed.to_dict("records"):
        spread = None if np.isnan(one["spread"]) else float(one["spread"])
        place = heads.index((one["dataset"], one["metric"]))
        rows[one["method"], one["backbone"]][place] = Value(float(one["value"]), spread)
    found = {name: _runs(reading, readings, *name, measurements) for name in names}
    metrics = list(dict.fromkeys(metric for _, metric in heads if metric in readings.metrics))
    for setting in _settings(found, [readings.datasets.get(dataset, "") for dataset, _ in heads]):
        for metric in metrics:
            key = readings.metrics[metric]
            values = {
                name: _value([one for one in runs if one.setting == setting and key in one.metrics], key)
                for name, runs in found.items()
            }
            if any(values.values()):
                columns.append(Column(describe(setting), metric, True))
                for name in names:
                    rows[name].append(values[name])
    return PaperTable(paper, number, reading, columns, [Row(*name, values) for name, values in rows.items()])


def _runs(
    reading: Reading, readings: Readings, method: str, backbone: str, measurements: Sequence[Measurement]
) -> list[Measurement]:
    """The runs that a printed row stands for."""
    if method not in reading.methods or (backbone and backbone not in reading.backbones):
        return []
    conditions = readings.usual | reading.methods[method] | reading.backbones.get(backbone, {})
    return [one for one in measurements if matches(one.config, conditions)]


def _settings(found: dict[tuple[str, str], list[Measurement]], datasets: Sequence[str]) -> list[str]:
    """Where a table was measured: the best setting on each of its data sets, or the one that stands in for them."""
    groups = by_setting(one for runs in found.values() for one in runs)
    rows = {setting: sum(any(one.setting == setting for one in runs) for runs in found.values()) for setting in groups}
    best: dict[str, str] = {}
    for setting in sorted(groups, key=lambda setting: (rows[setting], effort(setting))):
        best[json.loads(setting)["dataset"]] = setting
    own = [best[dataset] for dataset in dict.fromkeys(datasets) if dataset in best]
    return own + ([best[STAND_IN]] if STAND_IN in best and STAND_IN not in datasets else [])


def _value(runs: Sequence[Measurement], key: str) -> Value | None:
    """Mean and spread over the seeds of one configuration: the one with most seeds, of those the newest."""
    groups: dict[str, dict[int, Measurement]] = {}
    for one in sorted(runs, key=lambda one: one.started):
        kept = {name: value for name, value in one.config.items() if name != "seed" and name not in MACHINE}
        groups.setdefault(json.dumps(kept, sort_keys=True), {})[one.seed] = one
    if not groups:
        return None
    chosen = max(groups.values(), key=lambda group: (len(group), max(one.started for one in group.values())))
    values = [one.metrics[key] for _, one in sorted(chosen.items())]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Value(float(np.mean(values)), spread, len(values), tuple(one.record for _, one in sorted(chosen.items())))
