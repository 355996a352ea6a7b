"""A grid of runs, as one YAML file says it.

::

    name: losses
    run: 500_benchmark        # a notebook, or "train"
    preset: smoke             # of a notebook
    fixed: {dataset: scenes}  # the same in every cell
    cells:                    # one by one; a single empty one if left out
      - {loss: l2, epochs: 4}
    grid:                     # times every combination of these
      model: [csrnet, mcnn]
    seeds: 3                  # times these seeds: 0, 1, 2; or a list
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Grid(BaseModel):
    """What a grid file says; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    run: str
    preset: Literal["smoke", "default", "paper"] | None = None
    fixed: dict[str, Any] = {}
    cells: list[dict[str, Any]] = Field([{}], min_length=1)
    grid: dict[str, list[Any]] = {}
    seeds: int | list[int] | None = None
    timeout: float | None = Field(None, gt=0)
    resources: dict[str, float] = {}

    @property
    def varying(self) -> tuple[str, ...]:
        """The names of what differs between cells, in the order of the file."""
        names = [name for cell in self.cells for name in cell]
        return tuple(dict.fromkeys([*names, *self.grid, *(["seed"] if self.seeds is not None else [])]))


def read_grid(path: str | Path) -> Grid:
    """The grid in the YAML file at ``path``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, a key is unknown or a value does not fit.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"grid {path} does not exist")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected keys and values")
    try:
        return Grid.model_validate({"name": path.stem} | content)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ValueError(f"{path}: {'; '.join(problems)}; known keys: {', '.join(Grid.model_fields)}") from None


def combinations(grid: Grid) -> Iterator[dict[str, Any]]:
    """The parameters that the grid sets, cell by cell.

    Raises:
        ValueError: a name is set twice, a list of values or seeds is empty.
    """
    seeds = list(range(grid.seeds)) if isinstance(grid.seeds, int) else grid.seeds
    axes = dict(grid.grid) | ({} if seeds is None else {"seed": seeds})
    for name, values in axes.items():
        if not values:
            raise ValueError(f"grid {grid.name}: {name} has no values, expected at least one")
    places = [set(grid.fixed), {name for cell in grid.cells for name in cell}, set(grid.grid)]
    places += [{"seed"}] if seeds is not None else []
    for first, second in itertools.combinations(places, 2):
        if first & second:
            raise ValueError(f"grid {grid.name} sets {', '.join(sorted(first & second))} twice, expected once")
    for cell in grid.cells:
        for chosen in itertools.product(*axes.values()):
            yield {**grid.fixed, **cell, **dict(zip(axes, chosen, strict=True))}
