"""The measured values of NoiseCC, ChfL, UOTCC, P2R, P2PNet and ZIP as published (tests/parity/data/related_losses.npz).

The inputs are those of point_losses_golden.
"""

from pathlib import Path

import numpy as np

RELATED = np.load(Path(__file__).parent / "data" / "related_losses.npz")


def cases(name):
    """The cases for which a loss was measured."""
    return sorted({key.split("_")[1] for key in RELATED.files if key.startswith(f"{name}_")})
