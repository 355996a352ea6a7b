"""The measured values of the published Bayesian, DM-Count and proximal losses (tests/parity/data/point_losses.npz)."""

from pathlib import Path

import numpy as np
import torch

GOLDEN = np.load(Path(__file__).parent / "data" / "point_losses.npz")
SINGLE = ("c0", "c1", "c2", "c3", "c4", "c10")
EVERY = (*SINGLE, "c9", "b0")


def arguments(case, *, weights=True):
    """The density (B, 1, H, W), points and, where the published targets are not all ones, weights of a case."""
    density = torch.tensor(GOLDEN[f"{case}_density"], dtype=torch.float64)
    if case == "b0":
        points = [torch.tensor(GOLDEN[f"b0_points_{image}"]) for image in range(3)]
        people = [torch.ones(1), torch.ones(0), torch.tensor(GOLDEN["b0_weights_2"])]
    else:
        density, points = density[None, None], [torch.tensor(GOLDEN[f"{case}_points"])]
        people = [torch.tensor(GOLDEN[f"{case}_weights"])]
    return (density, points, [one.double() for one in people]) if weights else (density, points)


def gradient(loss, density, *rest):
    """The value of a loss and its gradient, (H, W) or (B, H, W) as the measured ones are."""
    density = density.clone().requires_grad_(True)
    value = loss(density, *rest)
    (slope,) = torch.autograd.grad(value, density)
    return value.item(), slope[:, 0].squeeze(0).numpy()


def difference(found, wanted):
    """Relative L2 distance."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
