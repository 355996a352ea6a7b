"""What a notebook hands its results to: figures, tables, metrics and the record at the end."""

import os
import re
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat, TypeVar

from workbench.io.files import write_bytes
from workbench.io.lock import own_folder
from workbench.io.project import runs_folder
from workbench.runs.record import Figure, Record, Table, Timing, now, number, plain, versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from pandas import DataFrame

Part = TypeVar("Part", Figure, Table)
DOTS_PER_INCH = 144
OWNED = "WORKBENCH_OWNED"
"""The environment variable in which a runner tells its kernel which folder it holds for it."""


class Run:
    """A run under way; made by :func:`start_run`.

    A figure, table or metric handed in again under its name (a cell that is run twice) takes the place of the first.

    Attributes:
        name: of the notebook.
        folder: where the figures and the record go.
    """

    def __init__(self, record: Record, folder: Path, owned: ExitStack) -> None:
        self.name = record.name
        self.folder = folder
        self._record = record
        self._owned = owned
        self._clock = time.perf_counter()

    def figure(self, figure: "Drawing", name: str, caption: str = "") -> None:
        """Save ``figure`` as ``name``.png in the run's folder and show it in the notebook.

        The figure is closed, so that the notebook does not show it a second time.

        Args:
            figure: of matplotlib.
            name: letters, digits, "-" and "_".
            caption: a sentence for the report; also what a screen reader says of the picture.

        Raises:
            ValueError: the name does not fit a file.
            OSError: the file cannot be written.
        """
        _check_name(name)
        picture = BytesIO()
        figure.savefig(picture, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")
        write_bytes(self.folder / f"{name}.png", picture.getvalue())
        _put(self._record.figures, Figure(name=name, file=f"{name}.png", caption=caption))
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(figure)
        if in_notebook():
            from IPython.display import Image, display

            display(Image(picture.getvalue(), retina=True, alt=caption or name))

    def table(self, frame: "DataFrame", name: str, caption: str = "") -> None:
        """Take ``frame`` into the record and show it in the notebook; an index that has a name becomes a column.

        Raises:
            TypeError: a value is neither a number, a string nor missing.
            ValueError: the name is not made of letters, digits, "-" and "_".
        """
        _check_name(name)
        flat = frame.reset_index() if any(label is not None for label in frame.index.names) else frame
        places = [f"column {column!r} of table {name}" for column in flat.columns]
        rows = [list(map(plain, row, places)) for row in flat.itertuples(index=False, name=None)]
        columns = [" ".join(map(str, column)) if isinstance(column, tuple) else str(column) for column in flat.columns]
        _put(self._record.tables, Table(name=name, columns=columns, rows=rows, caption=caption))
        if in_notebook():
            import pandas as pd
            from IPython.display import display

            with pd.option_context("display.max_colwidth", None):  # whole sentences
                display(frame)

    def metric(self, name: str, value: SupportsFloat) -> None:
        """Take a scalar that the run is judged by into the record.

        Raises:
            TypeError: not a number.
            ValueError: NaN or infinite.
        """
        self._record.metrics[name] = number(value, name)

    def log(self, **row: Any) -> None:
        """Add a row to the history, for instance ``run.log(epoch=1, loss=0.3)``."""
        self._record.history.append({key: plain(value, f"history[{key!r}]") for key, value in row.items()})

    def warning(self, text: str) -> None:
        """Take a warning into the record, once; the report shows it."""
        if text not in self._record.warnings:
            self._record.warnings.append(text)

    def record(self) -> Record:
        """The record of what was handed in so far."""
        timing = self._record.timing.model_copy(update={"seconds": round(time.perf_counter() - self._clock, 3)})
        return self._record.model_copy(update={"timing": timing}, deep=True)

    def finish(self) -> None:
        """Write record.json into the run's folder and leave the folder to others; errors as in :meth:`Record.write`."""
        self.record().write(self.folder / "record.json")
        self._owned.close()


def start_run(
    name: str,
    *,
    preset: str | None = None,
    run_dir: str | Path = "",
    parameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Run:
    """Begin a run of the notebook ``name``, which holds its folder until it is finished.

    The same process may begin anew in the folder, as when all cells of an open notebook are run again.

    Args:
        name: of the notebook; letters, digits, "-" and "_".
        preset: "smoke", "default" or "paper".
        run_dir: where the figures and the record go; "" for ``name`` below
            :func:`workbench.io.project.runs_folder`.
        parameters: the record's config.
        seed: of the run; ``parameters["seed"]`` where it is not given.

    Raises:
        FolderInUseError: another process runs in the folder, for instance an open notebook.
        ValueError: the name does not fit a file.
    """
    _check_name(name)
    folder = (Path(run_dir) if run_dir else runs_folder() / name).resolve()
    owned = ExitStack()
    if os.environ.get(OWNED) != str(folder):
        owned.enter_context(own_folder(folder, again=True))
    # An earlier run's record must not be taken for this one's.
    (folder / "record.json").unlink(missing_ok=True)
    parameters = dict(parameters or {})
    record = Record(
        name=name,
        kind="notebook",
        preset=preset,
        config=parameters,
        seed=parameters.get("seed") if seed is None else seed,
        versions=versions(),
        timing=Timing(started=now(), seconds=0),
    )
    return Run(record, folder, owned)


def _put(parts: list[Part], new: Part) -> None:
    """Add a figure or table, in the place of the one that has its name."""
    place = next((index for index, part in enumerate(parts) if part.name == new.name), len(parts))
    parts[place : place + 1] = [new]


def _check_name(name: str) -> None:
    """Names become files: no separators, no spaces."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w-]*", name, re.ASCII):
        raise ValueError(f"name is {name!r}, expected letters, digits, '-' and '_'")


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code."""
    shell = sys.modules.get("IPython")
    return shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None
