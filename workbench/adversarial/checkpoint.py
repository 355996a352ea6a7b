"""Checkpoints of adversarial training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.io.files import atomic_write
from workbench.models.weights import misfit, read_state

KEYS = {"identity", "model", "optimizer", "epsilon", "history", "random"}


def save(path: Path, parts: Mapping[str, Any], identity: str, epsilon: Tensor, history: list[dict[str, float]]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file.
        parts: model, optimizer and, where there is one, schedule.
        identity: what the run is.
        epsilon: each sample's.
        history: a row an epoch that is done.
    """
    random = {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    state = {
        "identity": identity,
        **{name: part.state_dict() for name, part in parts.items()},
        "epsilon": epsilon,
        "history": history,
        "random": random,
    }
    with atomic_write(path) as file:
        torch.save(state, file)


def load(path: Path, parts: Mapping[str, Any], identity: str, samples: int) -> tuple[Tensor, list[dict[str, float]]]:
    """Take up a checkpoint of :func:`save`; gives each sample's epsilon and the history.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, no such checkpoint, another run's, another model's or another set's.
    """
    state = read_state(path)
    if not {*KEYS, *parts} <= set(state):
        raise ValueError(f"checkpoint: {path} is not a checkpoint of an adversarial training")
    if state["identity"] != identity:
        raise ValueError(f"checkpoint: {path} belongs to another run, expected one with the same configuration")
    problem = misfit(parts["model"].state_dict(), state["model"])
    if problem:
        raise ValueError(f"checkpoint: {path} is another model's: {problem}")
    if len(state["epsilon"]) != samples:
        raise ValueError(f"checkpoint: {path} is of {len(state['epsilon'])} samples, expected {samples}")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    torch.set_rng_state(state["random"]["cpu"])
    if state["random"]["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["random"]["cuda"])
    return state["epsilon"], state["history"]
