"""Weights from a local file, or ImageNet's through torchvision."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.io.extras import need
from workbench.models.base import CountingModel


def read_state(path: str | Path) -> dict[str, Any]:
    """Read what ``torch.save`` wrote, without ever running code from the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of weights, or one that holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights: no file {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything from EOFError to UnpicklingError here
        raise ValueError(f"weights: {path} cannot be read as a file of weights ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise ValueError(f"weights: {path} holds a {type(state).__name__}, expected a dictionary of tensors")
    return state


def load_weights(model: nn.Module, source: str | Path, *, backbone: str | None = None) -> None:
    """Load ``source`` into ``model``: the whole model, or a VGG's ``features`` as torchvision names them.

    Args:
        model: the model to load into.
        source: a file: a state dictionary of this model or of its published implementation, a checkpoint of
            this workbench, or torchvision's weights of the model's front end; or "imagenet", which asks torchvision for
            them.
        backbone: torchvision's name of the front end, for "imagenet".

    Raises:
        FileNotFoundError: no such file.
        ValueError: the weights are another model's; the message names what does not fit.
        RuntimeError: ImageNet's weights are not on this machine and cannot be fetched.
    """
    state = imagenet_state(backbone) if source == "imagenet" else read_state(source)
    if isinstance(state.get("model"), Mapping):  # a checkpoint of this workbench
        state = dict(state["model"])
    if isinstance(model, CountingModel):
        state = model.own_names(state)
    own = model.state_dict()
    if any(key.startswith("classifier.") for key in state):  # torchvision's: the front end alone
        state = {key: value for key, value in state.items() if key in own and key.startswith("features.")}
        own = {key: value for key, value in own.items() if key.startswith("features.")}
    problem = misfit(own, state)
    if problem:
        raise ValueError(f"weights: {source} does not fit {type(model).__name__}: {problem}")
    model.load_state_dict(state, strict=False)


def misfit(own: Mapping[str, Tensor], state: Mapping[str, Any]) -> str:
    """What keeps ``state`` from fitting ``own``, in a sentence; empty if it fits."""
    if not own:
        return "it has no VGG front end to load into"
    missing = [key for key in own if key not in state]
    unknown = [key for key in state if key not in own]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if isinstance(state.get(key), Tensor) and state[key].shape != own[key].shape
    ]
    problems = []
    if missing:
        problems.append(f"{len(missing)} tensors are missing (first: {missing[0]})")
    if unknown:
        problems.append(f"{len(unknown)} are not the model's (first: {unknown[0]})")
    if shapes:
        problems.append(f"{len(shapes)} have another shape (first: {shapes[0]})")
    return "; ".join(problems)


def imagenet_state(backbone: str | None) -> dict[str, Any]:
    """ImageNet's weights of torchvision's model ``backbone``, from its cache or the network."""
    if backbone is None:
        raise ValueError("weights is 'imagenet', but this model has no front end that ImageNet weights exist for")
    need("data")
    from torchvision.models import get_model_weights

    weights = get_model_weights(backbone).DEFAULT
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except OSError as error:  # urllib's errors are OSErrors
        raise RuntimeError(
            f"weights: ImageNet weights of {backbone} are not on this machine and could not be fetched "
            f"({error}). Fetch torchvision's {weights} elsewhere and give the file: weights=PATH."
        ) from error
