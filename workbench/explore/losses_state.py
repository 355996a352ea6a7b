"""Losses of one density and the same heads: their terms, their gradients, and where descent leads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.losses import CrowdLoss, build_loss
from workbench.study.descent import descent

USUAL: dict[str, dict[str, Any]] = {"generalized": {"cost_offset": 1.0}}
"""Without the offset, a person who is found exactly costs more than one who is missed: see :class:`GeneralizedLoss`."""
LEAST_DENSITY = 1e-4  # the least density that descent begins with, people per cell: a cell of zero would stay zero


@dataclass(frozen=True)
class LossAt:
    """The terms of a loss at one density, which add up to its value.

    ``gradient`` is (H, W): how much the value rises with one more person in a cell.
    """

    terms: Mapping[str, float]
    gradient: Float[Tensor, "h w"]

    @property
    def value(self) -> float:
        """The loss."""
        return sum(self.terms.values())


def named_losses(losses: Sequence[str | CrowdLoss] | Mapping[str, CrowdLoss], stride: float) -> dict[str, CrowdLoss]:
    """Losses by name; those given by their name alone are built with the default options and ``USUAL``.

    Raises:
        TypeError: an entry is neither a name nor a loss.
        ValueError: there is none, a name is not known, or a loss is built for another stride.
    """
    if isinstance(losses, str):
        raise TypeError(f"losses is the text {losses!r}, expected a list of names or losses")
    pairs = losses.items() if isinstance(losses, Mapping) else [(_name(loss), loss) for loss in losses]
    found: dict[str, CrowdLoss] = {}
    for name, given in pairs:
        loss = build_loss(given, stride=int(stride), **USUAL.get(given, {})) if isinstance(given, str) else given
        if not isinstance(loss, CrowdLoss):
            raise TypeError(f"losses holds a {type(loss).__name__}, expected names or losses (CrowdLoss)")
        if loss.stride != stride:
            raise ValueError(f"losses: {name} has stride {loss.stride}, expected {stride:g} as the map")
        found[name if name not in found else f"{name} {len(found) + 1}"] = loss
    if not found:
        raise ValueError("losses is empty, expected at least one")
    return found


def _name(loss: str | CrowdLoss) -> str:
    return loss if isinstance(loss, str) else type(loss).__name__.removesuffix("Loss")


def loss_at(loss: CrowdLoss, density: Float[Tensor, "h w"], points: Float[Tensor, "n 2"]) -> LossAt:
    """The terms of a loss and the gradient of their sum."""
    leaf = density.detach()[None, None].clone().requires_grad_()
    terms = loss.terms(leaf, [points])
    value = torch.stack(list(terms.values())).sum()
    gradient = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
    slope = torch.zeros_like(density) if gradient is None else gradient[0, 0]
    return LossAt({name: term.item() for name, term in terms.items()}, slope)


class Descents:
    """Descent on the density under several losses at once, computed as far as it has been asked for.

    Arguments as of :func:`workbench.study.descent.descent`; densities of ``start`` are at least ``LEAST_DENSITY``.
    """

    def __init__(
        self, losses: Mapping[str, CrowdLoss], points: Float[Tensor, "n 2"], start: Float[Tensor, "h w"], *, steps: int
    ) -> None:
        start = start.clamp(min=LEAST_DENSITY)
        self.steps = steps
        self._maps: dict[str, list[Tensor]] = {name: [start] for name in losses}
        self._running = {name: descent(loss, points, start, steps=steps) for name, loss in losses.items()}

    def after(self, steps: int) -> dict[str, Float[Tensor, "h w"]]:
        """The map of each loss after so many steps; what was computed before is kept."""
        for name, maps in self._maps.items():
            while len(maps) <= min(steps, self.steps):
                maps.append(next(self._running[name]))
        return {name: maps[min(steps, self.steps)] for name, maps in self._maps.items()}
