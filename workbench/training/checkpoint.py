"""Checkpoints of a training: written whole with a digest, taken up only by the run that wrote them."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.models.state_files import read_state, write_state
from workbench.models.weights import misfit


def save_checkpoint(path: Path, identity: str, parts: Mapping[str, Any], progress: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file.
        identity: what the run is.
        parts: what has a state dictionary: "model", "optimizer" and so on.
        progress: tensors and plain values, what else the run carries.

    Raises:
        OSError: the file cannot be written; an older checkpoint is left as it was.
    """
    states = {name: part.state_dict() for name, part in parts.items()}
    write_state(path, {"identity": identity, **states, "random": random_state(), **progress})


def load_checkpoint(
    path: Path, identity: str, parts: Mapping[str, Any], progress: Sequence[str], *, kind: str = "a training run"
) -> dict[str, Any]:
    """Give ``parts`` and every random generator the states of a checkpoint.

    Args:
        path: the file.
        identity: what the run is.
        parts: as in :func:`save_checkpoint`.
        progress: the names of what else the run carries.
        kind: what the error calls a run of this kind.

    Returns:
        ``progress`` -> values.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, not a checkpoint of such a run, another run's or another model's.
    """
    state = read_state(path)
    if not {"identity", "random", *parts, *progress} <= set(state):
        raise ValueError(f"checkpoint: {path} is not a checkpoint of {kind}")
    if state["identity"] != identity:
        raise ValueError(f"checkpoint: {path} belongs to another run; expected one with the same configuration")
    problem = misfit(parts["model"].state_dict(), state["model"])
    if problem:
        raise ValueError(f"checkpoint: {path} is another model's: {problem}")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    restore_random_state(state["random"])
    return {name: state[name] for name in progress}


def random_state() -> dict[str, Any]:
    """The state of every random generator, in plain values and tensors."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 - others may draw from it
    return {
        "python": random.getstate(),
        "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put every random generator back to a state of :func:`random_state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
