"""What commands print."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

MISTAKE = 2
"""The exit code of input that is wrong."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(content: Any) -> None:
    """Print ``content`` as JSON."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def complain(error: Exception) -> None:
    """Print what is wrong in one line on the standard error."""
    typer.echo(f"error: {' '.join(str(error).split())}", err=True)


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """``["lr=1e-4"]`` -> ``{"lr": "1e-4"}``.

    Raises:
        ValueError: a text has no "=" or no name, or a name is given twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ValueError(f"-p {text!r} found, expected name=value")
        if name in values:
            raise ValueError(f"-p {name} is given twice, expected once")
        values[name] = value
    return values


def near(path: Path) -> str:
    """``path`` as seen from the working directory, where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def parse(text: str) -> Any:
    """A number, true, false, null, a list or options as JSON writes them; any other text is itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
