"""Tables from names to builders, for ``build_loss``, ``build_model``, ``build_sampler`` and ``open_dataset``.

Each room has one table. It names a builder by ``"module:attribute"``, which is imported when it is first used. A new
builder in the workbench is its own file and one line of the table.

Your own method needs no change of the workbench::

    # mine.py
    from workbench.losses import CrowdLoss, register_loss

    class HuberLoss(CrowdLoss):
        ...

    register_loss("huber", HuberLoss)

``register_model``, ``register_sampler`` and ``register_dataset`` do the same in their rooms. From then on everything
that reads the table knows the name: configurations, notebooks, the command line, and error messages.

The workbench also starts processes of its own: notebooks, cells of a sweep, workers. To make your method known there,
set the environment variable ``WORKBENCH_EXTENSIONS`` to the file, for instance
``WORKBENCH_EXTENSIONS=/home/me/mine.py``. Several files or modules are separated by ``:`` (on Windows ``;``). They are
imported when a table is listed, or asked for a name that it does not have.
"""

import inspect
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

Builder = Callable[..., Any]
Registry = Mapping[str, str | Builder]
EXTENSIONS = "WORKBENCH_EXTENSIONS"


def register(table: MutableMapping[str, str | Builder], name: str, builder: str | Builder, kind: str) -> None:
    """Add a builder to a table.

    Args:
        table: the room's table.
        name: the new name.
        builder: a class or function that takes the same keyword arguments as the others in its room, or
            ``"module:attribute"`` to import it when it is first used.
        kind: the word for it in messages, for instance "loss".

    Raises:
        ValueError: the name belongs to another builder. The same builder may be registered again, so that a notebook's
            cell can run twice.
        TypeError: the builder is neither callable nor ``"module:attribute"``.
    """
    reference = _reference(builder, kind)
    if name in table and _reference(table[name], kind) != reference:
        raise ValueError(f"{kind} {name!r} is already {_reference(table[name], kind)}, expected a name that is free")
    table[name] = builder


def _reference(builder: str | Builder, kind: str) -> str:
    if isinstance(builder, str) and len(builder.split(":")) == 2:
        return builder
    if callable(builder):
        return f"{builder.__module__}:{getattr(builder, '__qualname__', repr(builder))}"
    raise TypeError(f"{kind} is {builder!r}, expected a class, a function or 'module:attribute'")


def names(table: Registry) -> list[str]:
    """The names in a table in alphabetical order, with those of the extensions."""
    load_extensions()
    return sorted(table)


def load_extensions() -> None:
    """Import the files and modules that ``WORKBENCH_EXTENSIONS`` lists, each of them once.

    Raises:
        FileNotFoundError: a file is not there.
        ImportError: a module cannot be imported.
    """
    for place in filter(None, os.environ.get(EXTENSIONS, "").split(os.pathsep)):
        if not place.endswith(".py"):
            import_module(place)
            continue
        path = Path(place).expanduser().resolve()
        if not path.is_file():
            raise FileNotFoundError(f"{EXTENSIONS} names {place}, but there is no such file")
        if any(getattr(module, "__file__", None) == str(path) for module in list(sys.modules.values())):
            continue
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        # registered under its own name, so that worker processes can unpickle its classes
        sys.modules[path.stem] = module = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[path.stem]
            raise


def look_up(table: Registry, name: str, kind: str) -> Builder:
    """Import the builder that ``table`` gives for ``name``.

    Raises:
        ValueError: the name is not in the table; the message lists the known ones.
    """
    if name not in table and name not in names(table):
        raise ValueError(f"unknown {kind} {name!r}, expected one of {', '.join(names(table))}")
    builder = table[name]
    if not isinstance(builder, str):
        return builder
    module, attribute = builder.split(":")
    return getattr(import_module(module), attribute)


def check_options(table: Registry, name: str, kind: str, options: Mapping[str, Any]) -> Builder:
    """The builder that ``table`` gives for ``name``, if it takes ``options``.

    Raises:
        ValueError: the name, or the name of an option, is not known; the message lists the known ones.
    """
    builder = look_up(table, name, kind)
    # of a class the constructor: a class that inherits it would show the signature of CrowdLoss.__new__
    call = builder.__init__ if inspect.isclass(builder) else builder  # type: ignore[misc]
    parameters = [p for p in inspect.signature(call).parameters.values() if p.name != "self"]
    known = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(
            f"{kind} {name!r} has no option {', '.join(map(repr, unknown))}, expected one of {', '.join(known)}"
        )
    return builder


def build(table: Registry, name: str, kind: str, **options: Any) -> Any:
    """Call the builder that ``table`` gives for ``name`` with ``options``; errors as in :func:`check_options`."""
    return check_options(table, name, kind, options)(**options)
