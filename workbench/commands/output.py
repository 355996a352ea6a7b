"""What commands read from their options, and what they print."""

import json
import math
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

MISTAKE = 2
"""The exit code of input that is wrong."""
CLEAR = "\r\x1b[K"  # what a terminal takes for: the line anew

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Command(TyperCommand):
    """A command whose help lists the names in a registry where its text says, for instance, ``{losses.LOSSES}``.

    The registries are read when the help is shown, as their rooms import torch.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        for parameter in self.params:
            text = getattr(parameter, "help", None) or ""
            parameter.help = re.sub(r"\{(\w+)\.(\w+)\}", _names, text)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def _names(table: re.Match[str]) -> str:
    from workbench.registry import names

    return ", ".join(names(getattr(import_module(f"workbench.{table[1]}"), table[2])))


def settings(help: str) -> Any:
    """The option ``-p NAME=VALUE``, for :func:`assignments`."""
    return typer.Option("--parameter", "-p", metavar="NAME=VALUE", help=f"{help} May be given again.")


def print_json(content: Any) -> None:
    """Print ``content`` as JSON."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def print_numbers(values: Mapping[str, float]) -> None:
    """Print one number a line."""
    for name, value in values.items():
        typer.echo(f"  {name:24} {value:.6g}")


def complain(error: Exception) -> None:
    """Print what is wrong in one line on the standard error."""
    typer.echo(f"error: {' '.join(str(error).split())}", err=True)


def assignments(texts: Sequence[str] | None, read: Callable[[str], Any] = str) -> dict[str, Any]:
    """``["lr=1e-4"]`` -> ``{"lr": "1e-4"}``, each value as ``read`` gives it.

    Raises:
        ValueError: a text has no "=" or no name, a name is given twice, or ``read`` refuses a value.
    """
    values: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ValueError(f"{text!r} found, expected NAME=VALUE")
        if name in values:
            raise ValueError(f"{name} is given twice, expected once")
        try:
            values[name] = read(value)
        except ValueError as error:
            raise ValueError(f"{name} is {value!r}: {error}") from error
    return values


def parse(text: str) -> Any:
    """A number, true, false, null, a list or options as JSON writes them; any other text is itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def near(path: Path) -> str:
    """``path`` as seen from the working directory, where it lies below it."""
    whole, here = path.resolve(), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else path)


class LiveLine:
    """A line that says how far something is: written over on a terminal, elsewhere a new one now and then.

    It goes to the standard error if ``err`` says so. Two lines are ``every`` seconds apart, on a terminal ``watched``.
    """

    def __init__(self, *, err: bool, every: float, watched: float = 0.0) -> None:
        self.watched = (sys.stderr if err else sys.stdout).isatty()
        self._err = err
        self._every = watched if self.watched else every
        self._told = -math.inf

    def show(self, text: Callable[[], str], *, last: bool = False) -> None:
        """Show ``text`` if it is time for it; the ``last`` one is always shown, and stays."""
        if last or time.monotonic() - self._told >= self._every:
            self._told = time.monotonic()
            typer.echo(f"{CLEAR}{text()}" if self.watched else text(), err=self._err, nl=last or not self.watched)

    def print(self, text: str, *, err: bool) -> None:
        """Print a line that stays, in the place of the one shown last."""
        if self.watched:
            typer.echo(CLEAR, err=self._err, nl=False)
        typer.echo(text, err=err)
