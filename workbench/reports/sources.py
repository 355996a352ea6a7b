"""Where the reference records come from: one file a sweep, by which code, on which machine."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workbench.io.source import source_digest
from workbench.reports.measured import Measurement
from workbench.reports.reference import Head, read_reference, read_references, reference_folder
from workbench.sweeps.plan import TRAININGS
from workbench.training.config import loss_name

SEARCH = "search"
"""The file of the runs that chose the settings of the others."""
SEARCHED = ("val_mae", "val_f1", "baseline_mae")


class Source(NamedTuple):
    """One file of reference records.

    Attributes:
        path: of the file.
        head: its first line.
        rows: runs in it.
        older: runs that other code made than today's.
        checked: runs that were repeated with newer code than they were made by.
        hours: of computing.
    """

    path: Path
    head: Head
    rows: int
    older: int
    checked: int
    hours: float

    @property
    def note(self) -> str:
        """What a reader of its numbers should know of their code; empty if it is today's."""
        if not self.older:
            return ""
        which = "all" if self.older == self.rows else f"{self.older} of the"
        return f"Made by older code than today's: {which} {self.rows} runs of {self.path.name}."


def read_sources(folder: str | Path | None = None) -> list[Source]:
    """The files of reference records.

    Args:
        folder: of the files; the project's if None. No folder, no files.

    Raises:
        ValueError: a file is damaged; the message names the line.
    """
    folder = reference_folder() if folder is None else Path(folder)
    found = []
    for path in sorted(folder.glob("*.jsonl")) if folder else ():
        head, rows = read_reference(path)
        today = source_digest(TRAININGS[head.run].module)[:12]
        older = sum(row.code != today for row in rows)
        checked = sum(row.checked is not None for row in rows)
        found.append(Source(path, head, len(rows), older, checked, sum(row.seconds for row in rows) / 3600))
    return found


def compared_references(folder: str | Path | None = None) -> list[Measurement]:
    """The reference runs that compare something: all but the search's.

    A search must not count as evidence for what it chose.

    Args:
        folder: of the files; the project's if None.
    """
    return [one for one in read_references(folder) if one.record.stem != SEARCH]


class Setting(NamedTuple):
    """One setting that the search tried for a loss, and what it reached on the validation scenes.

    Attributes:
        loss: its name, with the convention where that is not the paper's.
        options: of the loss.
        learning_rate: of the training.
        mae: mean over the seeds.
        f1: mean over the seeds.
        score: mean of MAE over the mean count's MAE plus 1 - F1; the smallest is chosen.
        seeds: how many.
    """

    loss: str
    options: dict[str, Any]
    learning_rate: float
    mae: float
    f1: float
    score: float
    seeds: int


def read_search(folder: str | Path | None = None) -> dict[str, list[Setting]]:
    """What the search tried for each loss, the chosen setting first; nothing where there is no search's file.

    Args:
        folder: of the files; the project's if None.

    Raises:
        ValueError: the file is damaged, or a run lacks a score of the validation scenes.
    """
    groups: dict[str, list[Measurement]] = {}
    for one in read_references(folder):
        if one.record.stem == SEARCH:
            groups.setdefault(one.but("seed"), []).append(one)
    found: dict[str, list[Setting]] = {}
    for runs in groups.values():
        config = runs[0].config
        loss = loss_name(config)
        try:
            mae, f1, mean = (np.array([one.metrics[name] for one in runs]) for name in SEARCHED)
        except KeyError as error:
            raise ValueError(f"{runs[0].record} has a run of {loss} without {error}") from error
        scores = mae / mean + 1 - f1
        means = float(mae.mean()), float(f1.mean()), float(scores.mean())
        setting = Setting(loss, config["loss_options"], config["learning_rate"], *means, len(runs))
        found.setdefault(loss, []).append(setting)
    return {loss: sorted(settings, key=lambda one: one.score) for loss, settings in sorted(found.items())}
