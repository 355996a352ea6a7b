"""Files of tensors: written with a digest of what they hold, and checked against it when they are read."""

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.io.files import atomic_write

DIGEST = "sha256"


def write_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values with their digest, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path) as file:
        torch.save({**state, DIGEST: state_digest(state)}, file)


def read_state(path: str | Path) -> dict[str, Any]:
    """Read what :func:`write_state`, ``torch.save`` or safetensors wrote, without ever running code from the file.

    Files of :func:`write_state` are compared with their digest. Other files that torch wrote hold a check sum for each
    tensor, which is compared. A file of this workbench without a digest is an older one: it is read with a warning.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of weights, damaged, or one that holds more than tensors and plain values.

    Warns:
        UserWarning: a file of this workbench without a digest.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights: no file {path}")
    try:
        state = read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    except Exception as error:  # torch raises anything from EOFError to UnpicklingError here
        reason = str(error) if isinstance(error, DamagedError) else type(error).__name__
        raise ValueError(f"weights: {path} cannot be read as a file of weights ({reason})") from error
    if not isinstance(state, dict):
        raise ValueError(f"weights: {path} holds a {type(state).__name__}, expected a dictionary of tensors")
    stated = state.pop(DIGEST, None)
    if stated is not None and stated != state_digest(state):
        raise ValueError(f"weights: {path} is damaged: what it holds does not have the digest that it states")
    if stated is None and "model" in state and {"config", "identity"} & set(state):
        warnings.warn(f"weights: {path} has no digest (an older file): damage would not be noticed", stacklevel=2)
    return state


class DamagedError(Exception):
    """A part of a file has another check sum than the file says."""


def read_torch(path: Path) -> Any:
    """Read a file of ``torch.save``; torch itself does not compare the check sums of its archives."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise DamagedError(f"damaged: the check sum of {damaged} is wrong")
    return torch.load(path, map_location="cpu", weights_only=True)


def read_safetensors(path: Path) -> dict[str, Any]:
    """Read a file of safetensors; the format has no check sum."""
    from safetensors.torch import load_file

    return load_file(path)


def state_digest(state: Mapping[str, Any]) -> str:
    """The SHA-256 of tensors and plain values, nested in dictionaries and lists: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    feed(digest, state)
    return digest.hexdigest()


def feed(digest: Any, value: Any) -> None:
    """Add ``value`` to a digest."""
    if isinstance(value, Tensor):
        digest.update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)};".encode())
        for key, item in value.items():
            digest.update(f"{key!r}:".encode())
            feed(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(f"sequence {len(value)};".encode())
        for item in value:
            feed(digest, item)
    else:
        digest.update(f"{type(value).__name__} {value!r};".encode())
