"""Checks of plain arguments: choices and numbers.

Each check raises one exception that names the argument, what was found and what was expected. Nothing is clipped or
dropped. The checks of tensors are in :mod:`workbench.tensor_checks`, so that this module does not import torch.
"""

import math
from collections.abc import Sequence


def check_choice(value: object, choices: Sequence[object], name: str) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} is {value!r}, expected one of {known}")


def check_positive(value: float, name: str, *, zero: bool = False) -> None:
    """Raise ``ValueError`` unless ``value`` is a finite number above zero; with ``zero``, zero is allowed."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} is {value!r}, expected a finite number {'>= 0' if zero else '> 0'}")


def check_whole(value: int, name: str, *, least: int = 1) -> None:
    """Raise ``ValueError`` unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}, expected a whole number >= {least}")
