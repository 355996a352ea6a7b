"""The package's own code as one number: results of other code are other results."""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def source_digest(*roots: str) -> str:
    """A digest of the package's code that the modules ``roots`` can import, directly or through others.

    Comments, docstrings and layout do not count, nor does a module that no root reaches: none of them changes a result.
    An import counts wherever it stands, also inside a function, and so does the ``"module:attribute"`` of a registry.

    Args:
        roots: names of modules or packages, for instance "workbench.training.experiment".

    Raises:
        ValueError: a root is not a module of the package.
    """
    unknown = [root for root in roots if _file(root) is None]
    if not roots or unknown:
        raise ValueError(f"roots holds {unknown or 'nothing'}, expected modules of the package")
    digest = hashlib.sha256()
    for name, path in sorted(_reached(roots).items()):
        digest.update(f"{name}\0{_parsed(path)[0]}\0".encode())
    return digest.hexdigest()


def imported(code: str) -> set[str]:
    """The modules of the package that Python ``code`` imports or names in a string."""
    return {name for name in _names(ast.parse(code)) if _file(name) is not None}


def _reached(roots: Iterable[str]) -> dict[str, Path]:
    """The files of ``roots`` and of whatever they import, by module; a module's packages are imported with it."""
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path is None or name in found:
            continue
        found[name] = path
        waiting += [*_parsed(path)[1], name.rpartition(".")[0]]
    return found


def _parsed(path: Path) -> tuple[str, frozenset[str]]:
    """A digest of a file's code, and the names that it imports."""
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


@cache
def _read(path: Path, _changed: int, _size: int) -> tuple[str, frozenset[str]]:
    tree = ast.parse(path.read_bytes())
    names = frozenset(_names(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_text(line)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), names


def _names(tree: ast.AST) -> Iterator[str]:
    """Every name that may be a module of the package, as imports and registries write them."""
    package = PACKAGE.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            entry = re.fullmatch(rf"({package}(?:\.\w+)+)(?::\w+)?", node.value)
            yield from (entry.group(1),) if entry else ()


def _is_text(line: ast.stmt) -> bool:
    """A docstring, or a string that documents the line above it."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _file(name: str) -> Path | None:
    """Where a module of the package lies, None for other names."""
    first, *inner = name.split(".")
    if first != PACKAGE.name or not all(part.isidentifier() for part in inner):
        return None
    place = PACKAGE.joinpath(*inner)
    for path in (place / "__init__.py", place.with_suffix(".py")):
        if path.is_file():
            return path
    return None
