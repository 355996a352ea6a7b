"""Weights from a local file, or ImageNet's through torchvision, into a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from workbench.io.extras import need
from workbench.models.base import CountingModel
from workbench.models.state_files import read_state

WRAPPERS = ("model", "state_dict", "model_state_dict")
WRAPPED_NAMES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
HEAD_LAYERS = (
    "classifier.",
    "head.",
    "fc.",
    "pre_logits.",
    "final_layer.",
    "incre_modules.",
    "downsamp_modules.",
)


def load_weights(model: nn.Module, source: str | Path, *, backbone: str | None = None) -> None:
    """Load ``source`` into ``model``: the whole model, or its front end alone.

    A file may hold:

    - this workbench's weights or checkpoint, or a state dictionary of the model;
    - the published weights of CSRNet, of DM-Count's and the Bayesian loss's VGG-19, or of HMoDE; the model then
      computes as the published network does, see :meth:`workbench.models.base.CountingModel.follow`;
    - a classifier's or its features' weights (torchvision's, timm's) for the front end alone. They are recognised by
      their names, or by their shapes in order.

    The state may lie under ``model``, ``state_dict`` or ``model_state_dict``, with "module." before every name.

    Args:
        model: the model to load into.
        source: the file, of ``torch.save`` or safetensors; or "imagenet", which asks torchvision.
        backbone: torchvision's name of the front end, for "imagenet".

    Raises:
        FileNotFoundError: no such file.
        ValueError: the weights are another model's; the message names what does not fit.
        RuntimeError: ImageNet's weights are not on this machine and cannot be fetched.
    """
    held = imagenet_state(backbone) if source == "imagenet" else read_state(source)
    state, rule = unwrap(held), held.get("rule", {})
    own = model.state_dict()
    if isinstance(model, CountingModel):
        state, published = model.own_names(state)
        older = {"activation": model.former} if "config" in held else {}
        rule = rule or published or older
        front = front_end(model.front, own, state)
        if front is not None:
            model.load_state_dict(front, strict=False)
            return
    problem = misfit(own, state)
    if problem:
        raise ValueError(f"weights: {source} does not fit {type(model).__name__}: {problem}")
    if isinstance(model, CountingModel):
        model.follow(rule)
        model.calibrated = True
    model.load_state_dict(state, strict=False)


def unwrap(state: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a file by name, out of what training scripts wrap them in."""
    while inner := next((state[name] for name in WRAPPERS if isinstance(state.get(name), Mapping)), None):
        state = inner
    while prefix := next((p for p in WRAPPED_NAMES if state and all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)


def front_end(prefix: str, own: Mapping[str, Tensor], state: Mapping[str, Any]) -> dict[str, Any] | None:
    """The tensors of ``state`` for the front end, where it holds those and at most a classifier's besides.

    Args:
        prefix: what the names of the front end begin with.
        own: the model's state dictionary.
        state: names -> tensors.

    Returns:
        Our names -> tensors; None where ``state`` is something else.
    """
    wanted = {name: value for name, value in own.items() if name.startswith(prefix)}
    if not wanted or not all(isinstance(value, Tensor) for value in state.values()):
        return None
    if any(name in state for name in own if not name.startswith(prefix)):
        return None
    short = {name.removeprefix(prefix): name for name in wanted}
    named = {short[key]: value for name, value in state.items() if (key := name.removeprefix(prefix)) in short}
    left = [name for name in state if name.removeprefix(prefix) not in short]
    if set(named) < set(wanted):  # other names: the first tensors, if they have the shapes in order
        named = dict(zip(wanted, state.values(), strict=False))
        left = list(state)[len(wanted) :]
    if len(named) < len(wanted) or any(named[name].shape != value.shape for name, value in wanted.items()):
        return None
    return named if all(name.startswith((prefix, *HEAD_LAYERS)) or name[0].isdigit() for name in left) else None


def misfit(own: Mapping[str, Tensor], state: Mapping[str, Any]) -> str:
    """What keeps ``state`` from fitting ``own``, in a sentence; empty if it fits."""
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
