"""Reference records: what the project measured itself, one compact file a sweep.

``reports/reference/NAME.jsonl`` is written by ``workbench reference run`` from the records of the sweep
``notebooks/sweeps/reference/NAME.yaml``, never by hand. Its first line says what all rows share: the configuration,
the versions, the machine and the date. Every further line is one run: what its configuration adds, its scores rounded
to six digits, the seconds that it took, and the digest of the code that made it.
"""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from workbench.io.files import atomic_write
from workbench.io.project import project_root
from workbench.reports.measured import Measurement, pace
from workbench.runs.record import Record, read_record

SCORE_DIGITS = 6
SAME = 1e-4
"""Relative difference up to which two scores of one run count as equal on one machine with the same versions."""
SPREADS = 3.0
"""Elsewhere a score may differ by so many standard deviations of the scores of the other seeds."""


class Head(BaseModel):
    """The first line of a file.

    Attributes:
        sweep: name of the grid.
        run: what trained: "train" or "adversarial".
        shared: the keys of the configuration that are the same in every row.
        versions: of Python, the workbench and the packages that compute.
        machine: on what, see :func:`machine`.
        date: of the newest row, UTC, ISO 8601.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sweep: str
    run: str
    shared: dict[str, Any]
    versions: dict[str, str]
    machine: str
    date: str


class ReferenceRow(BaseModel):
    """One run.

    Attributes:
        config: what it adds to what all rows share, the seed among it.
        metrics: its scores.
        seconds: that it took.
        code: digest of the package's code that trained it.
        checked: when the run was repeated with that code, where its scores are those of older code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: dict[str, Any]
    metrics: dict[str, float]
    seconds: float
    code: str
    checked: str | None = None


class Reference(NamedTuple):
    """The content of one file."""

    head: Head
    rows: list[ReferenceRow]

    def config(self, row: ReferenceRow) -> dict[str, Any]:
        """The whole configuration of a row."""
        return self.head.shared | row.config

    def write(self, folder: str | Path) -> Path:
        """Write the file, whole or not at all; the rows in the order of their configurations."""
        rows = sorted(self.rows, key=lambda row: json.dumps(row.config, sort_keys=True))
        lines = [self.head.model_dump(), *(row.model_dump(exclude_none=True) for row in rows)]
        path = Path(folder) / f"{self.head.sweep}.jsonl"
        with atomic_write(path) as file:
            file.write("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode())
        return path


def reference_folder() -> Path | None:
    """``reports/reference`` of the project; None outside a clone."""
    try:
        return project_root() / "reports" / "reference"
    except FileNotFoundError:
        return None


def machine() -> str:
    """The processor that computes, without the machine's name."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def read_reference(path: str | Path) -> Reference:
    """The content of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a file of reference records; the message names the line.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    if not lines:
        raise ValueError(f"{path} is empty, expected a head and rows")
    models: list[BaseModel] = []
    for number, line in enumerate(lines):
        try:
            models.append((ReferenceRow if number else Head).model_validate_json(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number + 1}: {error}") from None
    return Reference(models[0], models[1:])  # type: ignore[arg-type]


def read_references(folder: str | Path | None = None) -> list[Measurement]:
    """Every reference run as a measurement.

    Args:
        folder: of the files; the project's if None. No folder, no measurements.
    """
    folder = reference_folder() if folder is None else Path(folder)
    found = []
    for path in sorted(folder.glob("*.jsonl")) if folder else ():
        reference = read_reference(path)
        for row in reference.rows:
            config = reference.config(row)
            metrics = row.metrics | pace(row.seconds, config)
            found.append(Measurement(config, metrics, path, reference.head.date, "reference"))
    return found


def collect(name: str, run: str, made: Iterable[tuple[Record, str]], earlier: Sequence[ReferenceRow] = ()) -> Reference:
    """The file of a sweep, from the records of its cells.

    Args:
        name: of the sweep.
        run: what it trains.
        made: the record of each cell that is done, and the digest of the code that it was made by.
        earlier: whole rows of an earlier file whose cells are not done; they are kept.

    Raises:
        ValueError: there is nothing to write.
    """
    records = list(made)
    rows = [
        ReferenceRow(
            config=record.config,
            metrics={name: round_digits(value) for name, value in record.metrics.items()},
            seconds=round(record.timing.seconds, 1),
            code=code,
        )
        for record, code in records
    ]
    rows += earlier
    if not rows:
        raise ValueError(f"sweep {name} has no record yet, expected at least one")
    shared = {
        key: value for key, value in rows[0].config.items() if all(row.config.get(key, ...) == value for row in rows)
    }
    newest = max(records, key=lambda one: one[0].timing.started)[0]
    head = Head(
        sweep=name,
        run=run,
        shared=shared,
        versions={key: value for key, value in newest.versions.items() if key != "commit"},
        machine=machine(),
        date=newest.timing.started,
    )
    own = [row.model_copy(update={"config": {k: v for k, v in row.config.items() if k not in shared}}) for row in rows]
    return Reference(head, own)


def round_digits(value: float) -> float:
    """``value`` to six digits."""
    return float(f"{value:.{SCORE_DIGITS}g}")


def records_below(folder: str | Path) -> list[tuple[Record, str]]:
    """The newest record of each configuration of a sweep, with the digest of its code."""
    newest: dict[str, tuple[Record, str]] = {}
    for path in Path(folder).glob("cells/*/result/record.json"):
        code = json.loads((path.parents[1] / "cell.json").read_text())["code"]
        record = read_record(path)
        key = json.dumps(record.config, sort_keys=True)
        if key not in newest or record.timing.started > newest[key][0].timing.started:
            newest[key] = record, str(code)[:12]
    return [newest[key] for key in sorted(newest)]


def differences(
    reference: Reference, row: ReferenceRow, again: dict[str, float], versions: dict[str, str]
) -> dict[str, str]:
    """In which scores a repeated run differs from its row by more than it may: name -> both values and the bound.

    On the machine and with the versions of the record a score may differ by :data:`SAME`. Elsewhere rounding leads a
    training another way, as another seed does: there it may differ by :data:`SPREADS` standard deviations over the
    seeds of the same configuration, and by at least a tenth of its value where there are fewer than three seeds.
    ``again`` and ``versions`` are the scores of the repeated run and of what made them.
    """
    known = reference.head.versions
    alike = machine() == reference.head.machine and all(versions.get(name) == known[name] for name in known)
    peers = [one for one in reference.rows if _but_seed(one) == _but_seed(row)]
    found = {}
    for name, value in row.metrics.items():
        if alike:
            bound = SAME * max(abs(value), 1e-3)
        else:
            values = [peer.metrics[name] for peer in peers if name in peer.metrics]
            bound = SPREADS * float(np.std(values, ddof=1)) if len(values) > 2 else 0.1 * abs(value)
        got = again.get(name, float("nan"))
        if not abs(got - value) <= bound:
            found[name] = f"{value:g} there, {got:.6g} now, may differ by {bound:.3g}"
    return found


def _but_seed(row: ReferenceRow) -> str:
    return json.dumps({key: value for key, value in row.config.items() if key != "seed"}, sort_keys=True)
