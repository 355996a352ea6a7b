"""Losses between a predicted density map and annotated points; one loss a file."""

from typing import Any

from workbench.losses.base import CrowdLoss
from workbench.losses.relative import relative_local_counting
from workbench.registry import build

LOSSES = {
    "bayesian": "workbench.losses.bayesian:BayesianLoss",
    "dm_count": "workbench.losses.dm_count:DMCountLoss",
    "generalized": "workbench.losses.generalized:GeneralizedLoss",
    "l2": "workbench.losses.l2:L2Loss",
    "proximal": "workbench.losses.proximal:ProximalLoss",
}

__all__ = ["LOSSES", "CrowdLoss", "build_loss", "relative_local_counting"]


def build_loss(name: str, *, stride: int = 8, convention: str = "paper", **options: Any) -> CrowdLoss:
    """Build a loss by its name.

    Args:
        name: one of ``LOSSES``.
        stride: side of a density cell in image pixels.
        convention: "paper" or "official", see :class:`workbench.losses.base.CrowdLoss`.
        options: the loss's own options, see its class.

    Raises:
        ValueError: the name or an option is not known, or an option's value is out of range.
    """
    return build(LOSSES, name, "loss", stride=stride, convention=convention, **options)
