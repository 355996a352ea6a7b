"""A grid -> the cells of a sweep, every parameter checked before anything runs."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from workbench.io.project import find_notebook
from workbench.io.source import imported, source_digest
from workbench.runs.parameters import read_notebook, read_parameters, typed_parameters
from workbench.runs.record import Record
from workbench.sweeps.grid import Grid, combinations

TRAININGS = {"train": "workbench.training.experiment", "adversarial": "workbench.adversarial.experiment"}
"""What a grid can train besides notebooks, and the module that does it."""
LABEL_LENGTH = 60


class Cell(BaseModel):
    """One run of a sweep.

    Attributes:
        kind: what runs.
        notebook: its path; None for a training.
        parameters: every one of them, with those that the grid leaves as they are.
        given: those that the grid sets.
        digest: of what is run with which parameters by which code: two cells of one digest are the same cell.
        source: digest of the notebook's code.
        code: digest of the package's code that the cell can import.
        folder: where the cell lives.
        timeout: seconds that one cell of the notebook may take.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["notebook", "train", "adversarial"]
    notebook: Path | None
    parameters: dict[str, Any]
    given: dict[str, Any]
    digest: str
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
    planned = _trainings(grid) if grid.run in TRAININGS else _notebooks(grid, beside)
    home = Path(out).resolve() / "cells"
    known = {path.name.rpartition("-")[2]: path for path in home.iterdir()} if home.is_dir() else {}
    cells: dict[str, Cell] = {}
    code = ""
    for given, label, identity, values in planned:
        code = code or code_digest(values["kind"], values["notebook"])
        digest = hashlib.sha256(json.dumps([identity, code], sort_keys=True).encode()).hexdigest()[:12]
        if digest in cells:
            raise ValueError(f"grid {grid.name} has the same cell twice: {given}")
        name = re.sub(r"[^A-Za-z0-9._=-]+", "-", label)[:LABEL_LENGTH].strip("-.")
        folder = known.get(digest, home / f"{name}-{digest}")  # the digest counts, the rest is for the reader
        cells[digest] = Cell(given=given, digest=digest, code=code, folder=folder, timeout=grid.timeout, **values)
    return list(cells.values())


Planned = tuple[dict[str, Any], str, Any, dict[str, Any]]


def _notebooks(grid: Grid, beside: Path | None) -> Iterator[Planned]:
    relative = (beside or Path()) / grid.run
    notebook = relative.resolve() if relative.suffix == ".ipynb" and relative.is_file() else find_notebook(grid.run)
    known = read_parameters(notebook)
    source = notebook_digest(notebook)
    defaults = {name: parameter.default for name, parameter in known.items() if name != "run_dir"}
    preset = {} if grid.preset is None else {"preset": grid.preset}
    typed: list[dict[str, Any]] = []
    problems: dict[str, None] = {}  # in their order, each once
    cells = list(combinations(grid))
    for given in cells:
        if "run_dir" in given:
            problems["run_dir is the sweep's own, expected other parameters"] = None
        try:
            typed.append(typed_parameters(known, given | preset))
        except ValueError as error:
            problems[str(error)] = None
    if problems:
        raise ValueError(f"grid {grid.name}, notebook {notebook.name}: {'; '.join(problems)}")
    for given, values in zip(cells, typed, strict=True):
        parameters = defaults | values
        varying = [values[name] for name in grid.varying]
        label = "-".join(f"{value:g}" if isinstance(value, float) else str(value) for value in varying)
        yield (
            given,
            f"{notebook.stem}-{label}".rstrip("-"),
            ["notebook", source, parameters],
            {"kind": "notebook", "notebook": notebook, "source": source, "parameters": parameters},
        )


def notebook_digest(notebook: str | Path) -> str:
    """A digest of a notebook's code; its prose and outputs change no result."""
    return hashlib.sha256(json.dumps(_code(notebook)).encode()).hexdigest()


def code_digest(kind: str, notebook: str | Path | None) -> str:
    """A digest of the package's code that a training of this kind, or a notebook, can import."""
    if notebook is None:
        return source_digest(TRAININGS[kind])
    roots = {"workbench"}
    for source in _code(notebook):
        python = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
        with suppress(SyntaxError):  # such a cell fails when it runs
            roots |= imported(python)
    return source_digest(*roots)


def _code(notebook: str | Path) -> list[str]:
    return [cell.source for cell in read_notebook(notebook).cells if cell.cell_type == "code"]


def _trainings(grid: Grid) -> Iterator[Planned]:
    if grid.preset is not None:
        raise ValueError(f"grid {grid.name}: preset belongs to notebooks, expected none for a training")
    configure = import_module(TRAININGS[grid.run]).configure
    configs = []
    problems: dict[str, None] = {}
    cells = list(combinations(grid))
    for given in cells:
        try:
            configs.append(configure(**nested(given)))
        except ValueError as error:
            problems[str(error)] = None
    if problems:
        raise ValueError(f"grid {grid.name}: {'; '.join(problems)}")
    for given, config in zip(cells, configs, strict=True):
        parameters = config.model_dump(mode="json")
        names = [parameters[part] for part in ("model", "loss", "sampler", "seed") if part in parameters]
        yield (
            given,
            "-".join(map(str, names)),
            [grid.run, config.identity],
            {"kind": grid.run, "notebook": None, "source": "", "parameters": parameters},
        )


def train(kind: str, parameters: Mapping[str, Any], folder: Path) -> Record:
    """Train in ``folder``, from its checkpoint where there is one.

    Args:
        kind: a name of :data:`TRAININGS`.
        parameters: the configuration.
        folder: of the run.
    """
    experiment = import_module(TRAININGS[kind])
    record: Record = experiment.run_experiment(experiment.configure(**parameters), folder)
    return record


def nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """``{"loss_options.sigma": 4}`` -> ``{"loss_options": {"sigma": 4}}``.

    Raises:
        ValueError: a dotted name leads into something that holds no options.
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        *path, last = name.split(".")
        options = values
        for part in path:
            inner = options.get(part, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{name}: {part} is {inner!r}, expected options")
            inner = options[part] = dict(inner)  # a copy: cells share their fixed values
            options = inner
        options[last] = value
    return values
