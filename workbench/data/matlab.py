"""MATLAB files read safely: numbers, cells and structs, never objects or code."""

from pathlib import Path
from typing import Any

import numpy as np


def read_mat(path: str | Path, key: str) -> Any:
    """The variable ``key`` of a MATLAB file (version 4 to 7.2).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a MATLAB file, is damaged, or has no such variable; the message names it.
    """
    from scipy.io import loadmat

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no annotation {path}")
    try:
        content = loadmat(path, appendmat=False)
    except NotImplementedError as error:  # version 7.3 is HDF5
        raise ValueError(f"{path} is a MATLAB 7.3 file, expected version 7.2 or older (save with -v7)") from error
    except Exception as error:  # on damaged files the decoder raises anything from KeyError to zlib.error
        raise ValueError(f"{path} is not a MATLAB file, or damaged: {error}") from error
    if key not in content:
        found = ", ".join(repr(name) for name in content if not name.startswith("__")) or "nothing"
        raise ValueError(f"{path} holds {found}, expected the variable {key!r}")
    return content[key]


def unwrap(value: Any) -> Any:
    """What lies inside cells and arrays of one element; structs stay records."""
    while isinstance(value, np.ndarray) and value.size == 1 and (value.dtype == object or value.dtype.names):
        value = value.flat[0]
    return value
