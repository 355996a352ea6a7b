"""How far a training in a cell is: a line an epoch in its folder, and a word from outside that it shall stop."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.runs.record import read_record

HISTORY = "history.jsonl"
STOP = "stop"


class Pruned(Exception):
    """A search has stopped a training that is worse than earlier ones."""


class WatchedHistory:
    """An ``on_epoch`` that writes each row into ``folder``, hands it on, and stops where it is asked to."""

    def __init__(self, folder: Path, then: Callable[[Mapping[str, Any]], None]) -> None:
        self.folder = folder
        self.then = then

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take the row of an epoch.

        Raises:
            Pruned: somebody asked for the end.
        """
        with open(self.folder / HISTORY, "a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")
        self.then(row)
        if (self.folder / STOP).exists():
            raise Pruned(f"stopped after epoch {row.get('epoch')}: earlier trials were better by then")


def ask_to_stop(folder: Path) -> None:
    """Let the training in ``folder`` end after its next epoch."""
    with suppress(FileNotFoundError):  # it has ended meanwhile
        (folder / STOP).touch()


def read_history(cell: Path) -> list[dict[str, Any]]:
    """The rows so far of the run in a cell's folder, one an epoch, whether it runs, failed or is done."""
    lines = [line for path in cell.glob(f"*/{HISTORY}") for line in path.read_text(encoding="utf-8").splitlines()]
    rows: dict[Any, dict[str, Any]] = {}
    for line in lines:
        with suppress(ValueError):  # the last line may be half written
            row = json.loads(line)
            rows[row["epoch"]] = row
    record = cell / "result" / "record.json"
    if not rows and record.is_file():  # of a notebook, or of an earlier version
        rows = {row["epoch"]: row for row in read_record(record).history if "epoch" in row}
    return [rows[epoch] for epoch in sorted(rows)]
