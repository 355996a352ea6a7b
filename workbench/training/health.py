"""Whether a training run learns anything: what it is warned of while it trains."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

PATIENCE = 3  # epochs that a run has to beat the mean
SILENT = 0.05  # share of the people below which a map counts as empty


class Trivial(NamedTuple):
    """What predicting the mean count of the training images gives on the validation images.

    Attributes:
        mae: its mean absolute error.
        people: the mean count of the validation images.
    """

    mae: float
    people: float


def complaints(history: Sequence[Mapping[str, Any]], trivial: Trivial) -> list[str]:
    """What is wrong with a run after the last epoch of ``history``, a sentence each; empty if nothing is.

    Two things are looked for: a map that is zero nearly everywhere (the network counts fewer than a twentieth of the
    people), and a run that at its third epoch or later has never beaten the mean.

    Args:
        history: a row an epoch, with ``epoch``, ``val_mae`` and ``val_bias``.
        trivial: the baseline on the same validation images.
    """
    row, found = history[-1], []
    counted = trivial.people + row["val_bias"]
    if trivial.people > 0 and counted < SILENT * trivial.people:
        found.append(
            f"epoch {row['epoch']}: the density is zero nearly everywhere ({counted:.1f} people counted in an image, "
            f"{trivial.people:.1f} annotated): the network may be dead; try norm=batch, activation=softplus or a lower "
            "learning rate"
        )
    best = min(past["val_mae"] for past in history)
    if len(history) >= PATIENCE and best >= trivial.mae:
        found.append(
            f"epoch {row['epoch']}: no epoch has beaten predicting the mean count (best val_mae {best:.4g}, "
            f"the mean's {trivial.mae:.4g})"
        )
    return found
