"""The parameters of a notebook: what its parameters cell declares, and values of the declared types."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from workbench.checks import check_choice

if TYPE_CHECKING:
    from nbformat import NotebookNode

PRESETS = ("smoke", "default", "paper")
TYPES: dict[str, TypeAdapter[Any]] = {
    "bool": TypeAdapter(bool),
    "int": TypeAdapter(int),
    "float": TypeAdapter(FiniteFloat),
    "str": TypeAdapter(str),
    "list[int]": TypeAdapter(list[int]),
    "list[float]": TypeAdapter(list[FiniteFloat]),
    "list[str]": TypeAdapter(list[str]),
}


class Parameter(NamedTuple):
    """One line of a parameters cell: ``name: type = default``, and a comment for the reader."""

    type: str
    default: Any


def read_notebook(path: str | Path) -> "NotebookNode":
    """The notebook at ``path``, converted to format 4.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a notebook.
    """
    import nbformat  # more than a second, most of it a grammar of addresses that its schema library builds

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"notebook {path} does not exist")
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
        raise ValueError(f"{path} is not a notebook: {error}") from error


def read_parameters(path: str | Path) -> dict[str, Parameter]:
    """What the cell tagged "parameters" of the notebook at ``path`` declares, by name.

    papermill can read the cell, too, but it skips a line with an "=" in its help.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a notebook, not exactly one parameters cell, or a line that is not
            ``name: type = default  # help`` with a type of :data:`TYPES`.
    """
    cells = [cell for cell in read_notebook(path).cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{path} has {len(cells)} cells tagged 'parameters', expected one")
    try:
        return dict(_parse(cells[0].source))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"the parameters cell of {path}: {error}") from error


def _parse(source: str) -> Iterator[tuple[str, Parameter]]:
    for line in ast.parse(source).body:
        text = ast.unparse(line)
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name) or line.value is None:
            raise ValueError(f"{text!r} found, expected 'name: type = default  # help'")
        declared = ast.unparse(line.annotation)
        if declared not in TYPES:
            raise ValueError(f"{text!r} has the type {declared}, expected one of {', '.join(TYPES)}")
        name = line.target.id
        yield name, Parameter(declared, typed(name, ast.literal_eval(line.value), declared))


def typed_parameters(known: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values ``given`` in the types that the notebook declares.

    Args:
        known: of :func:`read_parameters`.
        given: values by name; a string is read as the declared type (``"1e-4"`` as a float, ``"a,b"`` or
            ``'["a", "b"]'`` as a list).

    Raises:
        ValueError: a name is not known (the message lists the known ones), or a value does not fit its type.
    """
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(f"unknown parameter {', '.join(map(repr, unknown))}, expected one of {', '.join(known)}")
    values = {name: typed(name, value, known[name].type) for name, value in given.items()}
    check_choice(values.get("preset", PRESETS[0]), PRESETS, "preset")
    return values


def typed(name: str, value: Any, declared: str) -> Any:
    """``value`` as the type ``declared``, a key of :data:`TYPES`; errors as in :func:`typed_parameters`."""
    adapter = TYPES[declared]
    try:
        if not isinstance(value, str) or declared == "str":
            return adapter.validate_python(value, strict=True)
        if not declared.startswith("list"):
            return adapter.validate_python(value)
        if value.strip().startswith("["):
            return adapter.validate_json(value)
        return adapter.validate_python([item.strip() for item in value.split(",") if item.strip()])
    except ValidationError:
        raise ValueError(f"parameter {name} is {value!r}, expected {declared}") from None
