"""Honest splits: what is held out of the official training part to choose a model by."""

import math

import numpy as np
from jaxtyping import Int

from workbench.checks import check_choice, check_whole

SPLITS = ("train", "val", "trainval", "test")


def check_split(split: str, validation: float) -> None:
    """Raise ``ValueError`` unless ``split`` is known and ``validation`` is a share in [0, 1)."""
    check_choice(split, SPLITS, "split")
    number = isinstance(validation, int | float) and not isinstance(validation, bool)
    if not number or not math.isfinite(validation) or not 0 <= validation < 1:
        raise ValueError(f"validation is {validation!r}, expected a share of the training part in [0, 1)")


def held_out(count: int, validation: float) -> int:
    """Number of the ``count`` training images that are held out: the share, rounded, leaving at least one."""
    return min(max(round(count * validation), int(validation > 0)), max(count - 1, 0))


def hold_out(count: int, split: str, *, validation: float = 0.1, seed: int = 0) -> list[int]:
    """Indices into the official training part for ``split``, in rising order.

    "train" and "val" share no image and make up "trainval". The choice depends on ``count``, ``validation`` and
    ``seed`` alone, so every run that names the same three holds out the same images.

    Args:
        count: images in the official training part.
        split: "train", "val" or "trainval".
        validation: the share that is held out.
        seed: what the choice is drawn from.

    Raises:
        ValueError: an unknown split, a share outside [0, 1), a negative seed.
    """
    check_whole(count, "count", least=0)
    check_whole(seed, "seed", least=0)
    check_split(split, validation)
    check_choice(split, ("train", "val", "trainval"), "split")
    if split == "trainval":
        return list(range(count))
    order = np.random.default_rng([seed, count]).permutation(count)
    chosen = held_out(count, validation)
    part = order[:chosen] if split == "val" else order[chosen:]
    return sorted(int(index) for index in part)


def hold_out_of_each(
    labels: Int[np.ndarray, "n"], share: float, seed: int
) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "h"]]:
    """Indices kept and held out, in rising order: of every class the same share."""
    order = np.random.default_rng([seed, len(labels)]).permutation(len(labels))
    chosen = [
        (of_class := order[labels[order] == label])[: held_out(len(of_class), share)] for label in np.unique(labels)
    ]
    held = np.sort(np.concatenate([order[:0], *chosen]))
    return np.setdiff1d(np.arange(len(labels)), held), held
