"""Where things lie: the project's folder, its notebooks and their runs."""

import os
import tomllib
from contextlib import suppress
from pathlib import Path

PROJECT = "crowd-counting-workbench"
ROOT = "WORKBENCH_ROOT"
RUNS = "WORKBENCH_RUNS"


def project_root(start: str | Path | None = None) -> Path:
    """The project's folder: a clone of the workbench.

    Looked for from ``start`` upwards if that is given. Otherwise it is, in this order, ``$WORKBENCH_ROOT`` (which
    ``workbench run`` sets to the clone that holds the notebook), the clone around the working directory, and the clone
    that this package is imported from.

    Raises:
        FileNotFoundError: there is none.
    """
    given = os.environ.get(ROOT)
    begins = [Path(start)] if start is not None else [Path(given)] if given else [Path(), Path(__file__)]
    for begin in begins:
        root = _clone(begin.resolve())
        if root is not None:
            return root
    raise FileNotFoundError(
        f"{begins[0].resolve()} is not inside the project, expected a folder of a clone of {PROJECT}"
    )


def _clone(begin: Path) -> Path | None:
    """The first folder from ``begin`` upwards that holds the project's pyproject.toml."""
    for folder in (begin, *begin.parents):
        file = folder / "pyproject.toml"
        try:
            if file.is_file() and tomllib.loads(file.read_text()).get("project", {}).get("name") == PROJECT:
                return folder
        except (OSError, ValueError):  # somebody else's file, which we may not read or which is damaged
            continue
    return None


def runs_folder(root: Path | None = None) -> Path:
    """Where runs, and the networks that notebooks train, land.

    ``$WORKBENCH_RUNS`` where that is set; else reports/runs of the project (``root``, or :func:`project_root`), which
    git ignores. Outside a clone, and in one that may not be written, it is crowd-counting-workbench/runs in the user's
    data folder (``$XDG_DATA_HOME`` or ~/.local/share).
    """
    if given := os.environ.get(RUNS):
        return Path(given).resolve()
    with suppress(FileNotFoundError):
        runs = (root or project_root()) / "reports" / "runs"
        if _writable(runs):
            return runs
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / PROJECT / "runs"


def _writable(folder: Path) -> bool:
    """Whether ``folder`` may be written, or made."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return os.access(existing, os.W_OK | os.X_OK)


def clone_of(notebook: Path) -> Path | None:
    """The clone that a notebook lies in, None for a notebook elsewhere; ``$WORKBENCH_ROOT`` goes before it."""
    return Path(os.environ[ROOT]) if os.environ.get(ROOT) else _clone(notebook.resolve().parent)


def list_notebooks() -> list[Path]:
    """The project's notebooks in their order."""
    return sorted((project_root() / "notebooks").glob("*.ipynb"))


def find_notebook(name: str | Path) -> Path:
    """The notebook at the path ``name``, or the project's notebook of that name ("000_quickstart", "000").

    Raises:
        FileNotFoundError: there is none, or more than one; the message lists the project's notebooks.
    """
    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path.resolve()
    known = list_notebooks()
    exact = [notebook for notebook in known if notebook.stem == str(name)]
    begun = exact or [notebook for notebook in known if notebook.stem.startswith(str(name))]
    if len(begun) != 1:
        found = "no notebook" if not begun else f"{len(begun)} notebooks"
        listed = ", ".join(notebook.stem for notebook in known) or "none"
        raise FileNotFoundError(f"{name} names {found}, expected a path or one of the project's: {listed}")
    return begun[0]
