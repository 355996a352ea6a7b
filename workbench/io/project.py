"""Where things lie: the project's folder, its notebooks and their runs."""

import tomllib
from pathlib import Path

PROJECT = "crowd-counting-workbench"


def project_root(start: str | Path | None = None) -> Path:
    """The project's folder, looked for from ``start`` (the working directory) upwards.

    A kernel starts in the notebook's folder under JupyterLab and in the caller's under papermill; both lie inside.

    Raises:
        FileNotFoundError: no folder on the way up holds the project's pyproject.toml.
    """
    begin = Path(start or ".").resolve()
    for folder in (begin, *begin.parents):
        file = folder / "pyproject.toml"
        if file.is_file() and tomllib.loads(file.read_text()).get("project", {}).get("name") == PROJECT:
            return folder
    raise FileNotFoundError(f"{begin} is not inside the project, expected a folder of a clone of {PROJECT}")


def runs_folder() -> Path:
    """Where runs land; git ignores it."""
    return project_root() / "reports" / "runs"


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
        listed = ", ".join(notebook.stem for notebook in known) or "none yet"
        raise FileNotFoundError(f"{name} names {found}, expected a path or one of the project's: {listed}")
    return begun[0]
