"""A grid -> the cells of a sweep, every parameter checked before anything runs."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from workbench.io.project import find_notebook
from workbench.io.source import imported, source_digest
from workbench.runs.parameters import read_notebook, read_parameters, typed_parameters
from workbench.runs.record import Record
from workbench.runs.settings import nested
from workbench.sweeps.grid import Grid, combinations


class Training(NamedTuple):
    """What trains: a module, and the names of its functions that check a configuration and that train by it."""

    module: str
    configure: str
    run: str


TRAININGS = {
    "train": Training("workbench.training.experiment", "configure", "run_experiment"),
    "adversarial": Training("workbench.adversarial.experiment", "adversarial_config", "run_adversarial"),
}
"""What a grid can train besides notebooks."""
LABELLED = ("model", "loss", "sampler", "seed")  # of a training
LABEL_LENGTH = 60


class Cell(BaseModel):
    """One run of a sweep.

    Attributes:
        kind: what runs, "notebook" or a name of :data:`TRAININGS`.
        notebook: its path; None for a training.
        parameters: every one of them, with those that the grid leaves as they are.
        given: those that the grid sets.
        source: digest of the notebook's code.
        code: digest of the package's code that the cell can import.
        folder: where the cell lives.
        timeout: seconds that one cell of the notebook may take.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    notebook: Path | None
    parameters: dict[str, Any]
    given: dict[str, Any]
    source: str
    code: str
    folder: Path
    timeout: float | None = None

    @property
    def name(self) -> str:
        """Of the cell's folder."""
        return self.folder.name

    @property
    def title(self) -> str:
        """What runs."""
        if self.notebook is not None:
            return self.notebook.stem
        return f"{self.parameters['model']}-{self.parameters.get('loss', self.parameters['dataset'])}"


OnRow = Callable[[dict[str, Any]], None]
# The parameters that a cell sets -> all of them, a label for the reader, and what makes this run another than others.
Check = Callable[[dict[str, Any]], tuple[dict[str, Any], str, list[Any]]]


def plan(grid: Grid, out: str | Path, *, beside: Path | None = None) -> list[Cell]:
    """The cells of a grid, each with its own folder below ``out``.

    Args:
        grid: of :func:`read_grid`.
        out: folder of the sweep.
        beside: folder of the grid's file, where a notebook given by a relative path is looked for first.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: a parameter is not known or does not fit, or two cells are the same; one line says every problem.
    """
    near = (beside or Path()) / grid.run
    found = near.resolve() if near.suffix == ".ipynb" and near.is_file() else None
    notebook = None if grid.run in TRAININGS else found or find_notebook(grid.run)
    source = "" if notebook is None else notebook_digest(notebook)
    check = _training_check(grid) if notebook is None else _notebook_check(grid, notebook, source)
    checked = []
    problems: dict[str, None] = {}  # in their order, each once
    for given in combinations(grid):
        try:
            checked.append((given, check(given)))
        except ValueError as error:
            problems[str(error)] = None
    if problems:
        where = f"grid {grid.name}" if notebook is None else f"grid {grid.name}, notebook {notebook.name}"
        raise ValueError(f"{where}: {'; '.join(problems)}")
    kind = grid.run if notebook is None else "notebook"
    code = code_digest(kind, notebook)
    home = Path(out).resolve() / "cells"
    known = {path.name.rpartition("-")[2]: path for path in home.iterdir()} if home.is_dir() else {}
    cells: dict[str, Cell] = {}
    for given, (parameters, label, identity) in checked:
        # Of what is run with which parameters by which code: two cells of one digest are the same cell.
        digest = hashlib.sha256(json.dumps([identity, code], sort_keys=True).encode()).hexdigest()[:12]
        if digest in cells:
            raise ValueError(f"grid {grid.name} has the same cell twice: {given}")
        name = re.sub(r"[^A-Za-z0-9._=-]+", "-", label)[:LABEL_LENGTH].strip("-.")
        cells[digest] = Cell(
            kind=kind,
            notebook=notebook,
            parameters=parameters,
            given=given,
            source=source,
            code=code,
            folder=known.get(digest, home / f"{name}-{digest}"),  # the digest counts, the rest is for the reader
            timeout=grid.timeout,
        )
    return list(cells.values())


def _notebook_check(grid: Grid, notebook: Path, source: str) -> Check:
    known = read_parameters(notebook)
    defaults = {name: parameter.default for name, parameter in known.items() if name != "run_dir"}
    preset = {} if grid.preset is None else {"preset": grid.preset}

    def check(given: dict[str, Any]) -> tuple[dict[str, Any], str, list[Any]]:
        if "run_dir" in given:
            raise ValueError("run_dir is the sweep's own, expected other parameters")
        parameters = defaults | typed_parameters(known, given | preset)
        varying = (parameters[name] for name in grid.varying if name in parameters)
        words = (f"{value:g}" if isinstance(value, float) else str(value) for value in varying)
        label = "-".join((notebook.stem, *words))
        return parameters, label, ["notebook", source, parameters]

    return check


def _training_check(grid: Grid) -> Check:
    if grid.preset is not None:
        raise ValueError(f"grid {grid.name}: preset belongs to notebooks, expected none for a training")

    def check(given: dict[str, Any]) -> tuple[dict[str, Any], str, list[Any]]:
        config = _config(grid.run, nested(given))
        parameters = config.model_dump(mode="json")
        label = "-".join(str(parameters[name]) for name in LABELLED if name in parameters)
        return parameters, label, [grid.run, config.identity]

    return check


def notebook_digest(notebook: str | Path) -> str:
    """A digest of a notebook's code; its prose and outputs change no result."""
    return hashlib.sha256(json.dumps(_code(notebook)).encode()).hexdigest()


def code_digest(kind: str, notebook: str | Path | None) -> str:
    """A digest of the package's code that a training of this kind, or a notebook, can import."""
    if notebook is None:
        return source_digest(TRAININGS[kind].module)
    roots = {"workbench"}
    for source in _code(notebook):
        python = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
        with suppress(SyntaxError):  # such a cell fails when it runs
            roots |= imported(python)
    return source_digest(*roots)


def _code(notebook: str | Path) -> list[str]:
    return [cell.source for cell in read_notebook(notebook).cells if cell.cell_type == "code"]


def configured(kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The whole configuration of a training of :data:`TRAININGS`, as its record has it.

    Raises:
        ValueError: a key, an option or its value is not known.
    """
    return _config(kind, parameters).model_dump(mode="json")


def train(kind: str, parameters: Mapping[str, Any], folder: Path, on_epoch: OnRow | None = None) -> Record:
    """Train a kind of :data:`TRAININGS` in ``folder``, from its checkpoint where there is one.

    ``on_epoch`` is told each epoch's row.
    """
    run = getattr(import_module(TRAININGS[kind].module), TRAININGS[kind].run)
    record: Record = run(_config(kind, parameters), folder, on_epoch=on_epoch)
    return record


def _config(kind: str, parameters: Mapping[str, Any]) -> Any:
    training = TRAININGS[kind]
    return getattr(import_module(training.module), training.configure)(**parameters)


def differing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names whose values are not the same in all rows, in their order."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if len({str(row.get(name)) for row in rows}) > 1]
