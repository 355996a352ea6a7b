"""The published HMoDE's names of its tensors, and ours."""

import re
from collections.abc import Mapping
from typing import Any

STAGES = {1: 0, 2: 6, 3: 13, 4: 23, 5: 33}
"""Where each of the published network's five blocks begins in torchvision's ``vgg16_bn().features``."""


RULE = {"activation": "relu", "convention": "official"}
"""What the published network does where this one would do otherwise."""


def own_names(state: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of ``state`` by our names where they carry published ones, and the rule that goes with those.

    Args:
        state: names -> tensors.
        own: the model's own state dictionary; it tells where in a block the second convolution stands.
    """
    if not any(re.match(r"de_pred\d", name) for name in state):
        return dict(state), {}
    return {own_name(name, own): value for name, value in state.items()}, dict(RULE)


def own_name(name: str, own: Mapping[str, Any]) -> str:
    """One published name in ours, for instance "de_pred3.1.conv.weight" -> "decoder.0.2.weight"."""
    if match := re.fullmatch(r"features(\d)\.(\d+)\.(\w+)", name):
        block, layer, kind = match.groups()
        return f"features.{STAGES[int(block)] + int(layer)}.{kind}"
    if match := re.fullmatch(r"de_pred(\d)\.(\d)\.conv\.(\w+)", name):
        block, layer, kind = match.groups()
        return nth(f"decoder.{3 - int(block)}.", int(layer), kind, own)
    if match := re.fullmatch(r"head(\d)\.(\d)\.conv\.(\w+)", name):
        block, layer, kind = match.groups()
        return f"heads.{int(block) - 1}.{('hidden', 'out')[int(layer)]}.{kind}"
    if match := re.fullmatch(r"(gating1|gating2|mask)\.(?:conv(\d)|output)\.conv\.(\w+)", name):
        net, layer, kind = match.groups()
        prefix = {"gating1": "gates.0.", "gating2": "gates.1.", "mask": "attention."}[net]
        last = layer is None or (net != "mask" and int(layer) == {"gating1": 2, "gating2": 6}[net])
        return f"{prefix}out.{kind}" if last else nth(f"{prefix}body.", int(layer) - 1, kind, own)
    return name


def nth(prefix: str, rank: int, kind: str, own: Mapping[str, Any]) -> str:
    """Our name of the ``rank``-th convolution of a stack."""
    stack = re.compile(re.escape(prefix) + r"\d+\." + kind)
    found = sorted((name for name in own if stack.fullmatch(name) and own[name].dim() in (1, 4)), key=layer_number)
    return found[rank] if rank < len(found) else f"{prefix}{rank}.{kind}"


def layer_number(name: str) -> int:
    """The number of a layer in its stack."""
    return int(name.split(".")[-2])
