"""Names to builders: what ``build_loss``, ``build_model`` and ``open_dataset`` look up.

A builder is named by ``"module:attribute"`` and imported when it is first asked for, so that a name costs nothing
until it is used. Adding one is one line in the table of its room.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def look_up(table: Mapping[str, str], name: str, kind: str) -> Callable[..., Any]:
    """Import the builder that ``table`` gives for ``name``.

    Raises:
        ValueError: the name is not in the table; the message lists the known ones.
    """
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}, expected one of {', '.join(sorted(table))}")
    module, attribute = table[name].split(":")
    return getattr(import_module(module), attribute)


def check_options(table: Mapping[str, str], name: str, kind: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """The builder that ``table`` gives for ``name``, if it takes ``options``.

    Raises:
        ValueError: the name, or the name of an option, is not known; the message lists the known ones.
    """
    builder = look_up(table, name, kind)
    parameters = inspect.signature(builder).parameters.values()
    known = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(
            f"{kind} {name!r} has no option {', '.join(map(repr, unknown))}, expected one of {', '.join(known)}"
        )
    return builder


def build(table: Mapping[str, str], name: str, kind: str, **options: Any) -> Any:
    """Call the builder that ``table`` gives for ``name`` with ``options``; errors as in :func:`check_options`."""
    return check_options(table, name, kind, options)(**options)
