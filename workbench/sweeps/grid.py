"""A grid of runs, as one YAML file describes it.

::

    name: losses
    run: 500_benchmark        # a notebook, "train" or "adversarial"
    preset: smoke             # of a notebook
    fixed: {dataset: scenes}  # the same in every cell
    cells:                    # one by one; a single empty one if left out
      - {loss: l2, epochs: 4}
    grid:                     # times every combination of these
      model: [csrnet, mcnn]
    seeds: 3                  # times these seeds: 0, 1, 2; or a list

A search (``workbench sweep --search optuna``) chooses of the lists in ``grid`` and of ranges::

    search:
      learning_rate: {low: 1.0e-5, high: 1.0e-2, log: true}
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workbench.runs.settings import read_yaml

MOST_CELLS = 20_000  # 2,000 are planned in under 5 s; a sweep of more than ten times that is taken for a mistake
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Span(BaseModel):
    """A range of numbers of which a search chooses; whole numbers where both ends are such."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Span":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"low is {self.low} and high {self.high}, expected low < high, and 0 < low for log: true")
        return self


class Grid(BaseModel):
    """The content of a grid file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    run: str
    preset: Literal["smoke", "default", "paper"] | None = None
    fixed: dict[str, Any] = {}
    cells: list[dict[str, Any]] = Field([{}], min_length=1)
    grid: dict[str, list[Any]] = {}
    search: dict[str, Span] = {}
    seeds: Annotated[int, Field(le=2**32)] | list[int] | None = None
    timeout: PositiveNumber | None = None
    resources: dict[str, PositiveNumber] = {}

    @property
    def varying(self) -> tuple[str, ...]:
        """The names of what differs between cells, in the order of the file."""
        names = [name for cell in self.cells for name in cell]
        return tuple(dict.fromkeys([*names, *self.grid, *(["seed"] if self.seeds is not None else [])]))


def read_grid(path: str | Path) -> Grid:
    """The grid in the YAML file at ``path``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: :func:`~workbench.runs.settings.read_yaml` refuses the file, a key is unknown, or a value does not
            fit.
    """
    path = Path(path)
    try:
        return Grid.model_validate({"name": path.stem} | read_yaml(path, "grid"))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}".lstrip(": ") for one in error.errors()]
        raise ValueError(f"{path}: {'; '.join(problems)}; known keys: {', '.join(Grid.model_fields)}") from None


def combinations(grid: Grid) -> Iterator[dict[str, Any]]:
    """The parameters that the grid sets, cell by cell.

    Raises:
        ValueError: a name is set twice, a list of values or seeds is empty, or there are more than :data:`MOST_CELLS`.
    """
    if grid.search:
        raise ValueError(f"grid {grid.name} holds search, the ranges of a search: workbench sweep --search optuna")
    axes: dict[str, Any] = dict(grid.grid)
    places = [set(grid.fixed), {name for cell in grid.cells for name in cell}, set(axes)]
    if grid.seeds is not None:
        places.append({"seed"})
        axes["seed"] = range(grid.seeds) if isinstance(grid.seeds, int) else grid.seeds
    for first, second in itertools.combinations(places, 2):
        if first & second:
            raise ValueError(f"grid {grid.name} sets {', '.join(sorted(first & second))} twice, expected once")
    counts = {name: len(values) for name, values in axes.items()}
    for name, count in counts.items():
        if not count:
            raise ValueError(f"grid {grid.name}: {name} has no values, expected at least one")
    total = len(grid.cells) * math.prod(counts.values())
    if total > MOST_CELLS:  # counted before anything is made of them
        parts = " x ".join(f"{count} of {name}" for name, count in {"cells": len(grid.cells), **counts}.items())
        raise ValueError(f"grid {grid.name} has {total} cells ({parts}), expected at most {MOST_CELLS}")
    for cell in grid.cells:
        for chosen in itertools.product(*axes.values()):
            yield {**grid.fixed, **cell, **dict(zip(axes, chosen, strict=True))}
