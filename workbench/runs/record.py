"""The record of a run: one JSON file with its name, parameters, versions, time and results."""

import math
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.io.files import write_json
from workbench.io.project import PROJECT

Value = bool | int | float | str | None
Content = TypeVar("Content", bound=BaseModel)
PACKAGES = ("torch", "torchvision", "numpy", "scipy")


class _Part(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Figure(_Part):
    """A picture that lies beside the record."""

    name: str
    file: str
    caption: str = ""


class Table(_Part):
    """A table: the names of the columns and one list a row; a value that is missing is None."""

    name: str
    columns: list[str]
    rows: list[list[Value]]
    caption: str = ""


class Timing(_Part):
    """When a run began (UTC, ISO 8601) and how many seconds it took."""

    started: str
    seconds: float = Field(ge=0)


class Record(_Part):
    """What a run leaves behind.

    Two runs of one config and seed on one machine differ only in ``timing``.

    Attributes:
        name: of the notebook or experiment.
        kind: "notebook" or "experiment".
        preset: "smoke", "default" or "paper"; None for a run without presets.
        config: every parameter that the run was given.
        seed: the one seed that everything was drawn from.
        versions: of Python, the workbench and the packages that compute; "commit" where the code lies in git.
        metrics: the scalars that the run is judged by.
        history: one row a step or epoch.
        figures: pictures, each a file beside the record.
        tables: tables.
        warnings: problems that did not stop the run, a sentence each; the report shows them.
        timing: when, and how long.
    """

    format: Literal[1] = 1
    name: str = Field(min_length=1)
    kind: Literal["notebook", "experiment"] = "experiment"
    preset: str | None = None
    config: dict[str, Any] = {}
    seed: int | None = None
    versions: dict[str, str] = {}
    metrics: dict[str, float] = {}
    history: list[dict[str, Value]] = []
    figures: list[Figure] = []
    tables: list[Table] = []
    warnings: list[str] = []
    timing: Timing

    def write(self, path: str | Path) -> None:
        """Write the record to ``path``, whole or not at all.

        Raises:
            OSError: the file cannot be written.
            TypeError: the config holds something that JSON does not know.
            ValueError: the config holds NaN or infinite numbers.
        """
        write_json(path, self.model_dump())


def read_record(path: str | Path) -> Record:
    """Read the record at ``path``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or not a record: a key is unknown or missing, a value has the wrong type.
    """
    return read_model(Record, path, "a record")


def read_model(model: type[Content], path: str | Path, what: str) -> Content:
    """Read ``path`` as ``model``; errors as in :func:`read_record`, which calls the content ``what``."""
    try:
        return model.model_validate_json(Path(path).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{path} is not {what}: {where}: {first['msg']}") from error


def versions(*, commit: bool = True) -> dict[str, str]:
    """The versions that a record carries: Python, the workbench, :data:`PACKAGES` and the commit, where known."""
    found = {"python": platform.python_version()}
    for label, package in [("workbench", PROJECT), *((name, name) for name in PACKAGES)]:
        try:
            found[label] = version(package)
        except PackageNotFoundError:
            continue
    revision = _commit(Path(__file__).parent) if commit else None
    return found | ({"commit": revision} if revision else {})


def _commit(folder: Path) -> str | None:
    """The commit that the code lies at, marked where files were changed since; None without git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def now() -> str:
    """The time of day in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def plain(value: Any, name: str) -> Value:
    """A number or string as JSON knows it; NaN and missing values become None.

    Numbers of NumPy, torch and pandas become Python's own; infinity becomes the string "inf" or "-inf".

    Raises:
        TypeError: ``value`` is neither a number, a string nor missing.
    """
    if hasattr(value, "item"):  # a number of NumPy, or a tensor with one element
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    if str(value) in ("<NA>", "NaT"):  # pandas' own missing values
        return None
    raise TypeError(f"{name} holds a {type(value).__name__}, expected numbers, strings or missing values")


def number(value: Any, name: str) -> float:
    """A finite number of Python's.

    Raises:
        TypeError: not a number.
        ValueError: NaN or infinite.
    """
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a {type(value).__name__}, expected a number")
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}, expected a finite number")
    return float(value)
