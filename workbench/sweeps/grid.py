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
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.io.text import read_text

MOST_CELLS = 20_000  # 2,000 are planned in under 5 s; a sweep of more than ten times that is taken for a mistake
MOST_VALUES = 100_000  # in a grid's file


PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Grid(BaseModel):
    """The content of a grid file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    run: str
    preset: Literal["smoke", "default", "paper"] | None = None
    fixed: dict[str, Any] = {}
    cells: list[dict[str, Any]] = Field([{}], min_length=1)
    grid: dict[str, list[Any]] = {}
    seeds: int | list[int] | None = None
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
        ValueError: it is not YAML or much larger than a grid, a key is unknown or not text, a value does not fit, or
            the grid has more cells than :data:`MOST_CELLS`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"grid {path} does not exist")
    content = _read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected keys and values")
    try:
        return Grid.model_validate({"name": path.stem} | content)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}".lstrip(": ") for one in error.errors()]
        raise ValueError(f"{path}: {'; '.join(problems)}; known keys: {', '.join(Grid.model_fields)}") from None


def _read_yaml(path: Path) -> Any:
    """What the file holds, with text for every key; errors as in :func:`read_grid`."""
    import yaml

    text = read_text(path, "grid")
    if len(text) > MOST_VALUES * 10:
        raise ValueError(f"{path} has {len(text)} letters, expected a grid of at most {MOST_VALUES * 10}")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that no calendar has
        raise ValueError(f"{path} is not YAML: {error}") from error
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply, expected a grid") from None
    waiting, seen = [content], 0
    while waiting:  # an anchor that is used again counts again, as a few lines can stand for billions of values
        value = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:
            raise ValueError(f"{path} holds more than {MOST_VALUES} values, expected a grid")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(f"{path} has the key {key!r}, expected text: write it in quotes")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return content


def combinations(grid: Grid) -> Iterator[dict[str, Any]]:
    """The parameters that the grid sets, cell by cell.

    Raises:
        ValueError: a name is set twice, a list of values or seeds is empty, or there are more than :data:`MOST_CELLS`.
    """
    counts = {name: len(values) for name, values in grid.grid.items()}
    counts |= {} if grid.seeds is None else {"seed": grid.seeds if isinstance(grid.seeds, int) else len(grid.seeds)}
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"grid {grid.name}: {name} has no values, expected at least one")
    total = len(grid.cells) * math.prod(counts.values())
    if total > MOST_CELLS:  # counted before anything is made of them
        parts = " x ".join(f"{count} of {name}" for name, count in {"cells": len(grid.cells), **counts}.items())
        raise ValueError(f"grid {grid.name} has {total} cells ({parts}), expected at most {MOST_CELLS}")
    places = [set(grid.fixed), {name for cell in grid.cells for name in cell}, set(grid.grid)]
    places += [{"seed"}] if grid.seeds is not None else []
    for first, second in itertools.combinations(places, 2):
        if first & second:
            raise ValueError(f"grid {grid.name} sets {', '.join(sorted(first & second))} twice, expected once")
    axes = dict(grid.grid)
    if grid.seeds is not None:
        axes["seed"] = list(range(grid.seeds)) if isinstance(grid.seeds, int) else list(grid.seeds)
    for cell in grid.cells:
        for chosen in itertools.product(*axes.values()):
            yield {**grid.fixed, **cell, **dict(zip(axes, chosen, strict=True))}
