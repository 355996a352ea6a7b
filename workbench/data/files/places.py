"""Where data sets are looked for."""

import os
from pathlib import Path

from workbench.io.project import project_root

VARIABLE = "WORKBENCH_DATA"


def default_place(name: str) -> Path:
    """Where the data set ``name`` is looked for when no root is given.

    ``$WORKBENCH_DATA/NAME``, or ``data/sets/NAME`` in the project where that variable is not set.
    """
    home = os.environ.get(VARIABLE)
    if home:
        return Path(home) / name
    try:
        return project_root() / "data" / "sets" / name
    except FileNotFoundError:  # used outside a clone of the project
        return Path("data") / "sets" / name


def check_root(root: str | Path | None, name: str, title: str) -> Path:
    """``root``, or where the data set is looked for if it is None, as a path to a folder that exists.

    Raises:
        ValueError: no root is given, and nothing lies where the data set is looked for.
        FileNotFoundError: there is no such folder.
    """
    if root is None:
        place = default_place(name)
        if place.is_dir():
            return place
        raise ValueError(
            f"root is None, expected the folder that holds {title} (see data/README.md); there is no {place} either"
        )
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}, expected the one that holds {title} (see data/README.md)")
    return root
