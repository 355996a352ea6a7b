"""Losses between a predicted density map and annotated points; one loss a file."""

from typing import Any

from workbench.losses.base import CrowdLoss
from workbench.losses.relative import relative_local_counting
from workbench.registry import Builder, build, register

LOSSES: dict[str, str | Builder] = {
    "bayesian": "workbench.losses.bayesian:BayesianLoss",
    "characteristic": "workbench.losses.characteristic:CharacteristicLoss",
    "dm_count": "workbench.losses.dm_count:DMCountLoss",
    "generalized": "workbench.losses.generalized:GeneralizedLoss",
    "l2": "workbench.losses.l2:L2Loss",
    "noise": "workbench.losses.noise:NoiseLoss",
    "point_to_point": "workbench.losses.point_to_point:PointToPointLoss",
    "point_to_region": "workbench.losses.point_to_region:PointToRegionLoss",
    "proximal": "workbench.losses.proximal:ProximalLoss",
    "unbalanced": "workbench.losses.unbalanced:UnbalancedLoss",
    "zero_inflated": "workbench.losses.zero_inflated:ZeroInflatedLoss",
}

__all__ = ["LOSSES", "CrowdLoss", "build_loss", "register_loss", "relative_local_counting"]


def build_loss(
    name: str, *, stride: int = 8, convention: str = "paper", validate: bool = True, **options: Any
) -> CrowdLoss:
    """Build a loss by its name.

    Args:
        name: one of ``LOSSES``.
        stride: side of a density cell in image pixels.
        convention: "paper" or "official", see :class:`workbench.losses.base.CrowdLoss`.
        validate: whether each call checks the values of its arguments. If False, only types and shapes are checked,
            and no check waits for the device.
        options: the loss's own options, see its class.

    Raises:
        ValueError: the name or an option is not known, or an option's value is out of range.
    """
    loss: CrowdLoss = build(LOSSES, name, "loss", stride=stride, convention=convention, **options)
    loss.validate = validate
    return loss


def register_loss(name: str, builder: str | Builder) -> None:
    """Give your own loss a name; see :mod:`workbench.registry`.

    Args:
        name: the name for :func:`build_loss`.
        builder: a :class:`CrowdLoss` that takes ``stride``, ``convention`` and its own options by keyword,
            or ``"module:attribute"``.

    Raises:
        ValueError: the name is taken by another loss.
    """
    register(LOSSES, name, builder, "loss")
