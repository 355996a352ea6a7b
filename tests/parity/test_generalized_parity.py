"""The generalized loss beside the published implementation's values and its converged fixed points."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.losses import build_loss
from workbench.points import cell_centres
from workbench.transport import TransportCost, sinkhorn

DATA = Path(__file__).parent / "data"
CASES = (
    "b0_batch3",
    "c0_empty",
    "c10_zeros",
    "c1_single",
    "c2_two_low",
    "c3_seven_near",
    "c4_seven_cluster_high",
    "c9_nonsquare",
)
COSTS = {"per": "perspective", "exp": "exponential"}
VARIANTS = {
    "dpl1_dpt2": {"pixel": "l1", "point": "l2"},
    "blur05": {"blur": 0.05},
    "scal9": {"scaling": 0.9},
    "reach1": {"reach": 1.0},
    "noreach": {"reach": float("inf")},
    "p2": {"p": 2},
}


@cache
def case(name):
    with np.load(DATA / f"generalized_{name}.npz") as arrays:
        values = {key: torch.from_numpy(np.array(arrays[key])) for key in arrays.files}
    density = values["density"]
    if density.dim() == 2:
        return density[None, None], [values["points_xy"]], values
    return density, [values[f"points_{k}"] for k in range(len(density))], values


def check(name, key, loss, blur=0.01, *, dtype=torch.float64, tolerance=1e-10):
    density, points, values = case(name)
    density = density.detach().clone().to(dtype).requires_grad_()
    terms = loss.terms(density, [p.to(dtype) for p in points])
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    total = total.detach()
    expected = values[f"{key}_grad"].reshape(density.shape)
    assert torch.linalg.norm(density.grad - expected) <= tolerance * torch.linalg.norm(expected)
    assert float(total) == pytest.approx(float(values[f"{key}_loss"]), rel=max(tolerance, 1e-8))
    for term, theirs, weight in (
        ("transport", "emd_loss", 1), ("pixel", "pixel_loss", 0.1),
        ("point", "point_loss", 0.1), ("entropy", "entropy", blur),
    ):  # fmt: skip
        value = weight * float(values[f"{key}_{theirs}"])
        assert float(terms[term].detach()) == pytest.approx(value, rel=max(tolerance, 1e-8), abs=tolerance)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", CASES)
def test_published_values(name, cost):
    check(name, f"gl_{cost}_f64", build_loss("generalized", convention="official", cost=COSTS[cost]))


@pytest.mark.parametrize("name", CASES)
def test_published_values_in_single_precision(name):
    loss = build_loss("generalized", convention="official")
    check(name, "gl_per_f64", loss, dtype=torch.float32, tolerance=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_published_variants(variant):
    options = VARIANTS[variant]
    loss = build_loss("generalized", convention="official", **options)
    check("c3_seven_near", f"glvar_{variant}_per_f64", loss, options.get("blur", 0.01))


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", [name for name in CASES if name not in ("b0_batch3", "c0_empty")])
def test_converged_potentials(name, cost):
    density, points, values = case(name)
    side = 8 * max(density.shape[-2:])
    cells = (cell_centres(density.shape[-2:], 8, dtype=torch.float64) + 4) / side  # half a cell too far, as published
    eta = (0.5, 0.7) if cost == "per" else (0.6, 0.6)
    matrix = TransportCost(COSTS[cost], eta, offset=1.0)(cells, points[0] / side)
    plan = sinkhorn(
        matrix, density.flatten(), torch.ones(len(points[0]), dtype=torch.float64), epsilon=0.01, tau=0.5,
        entropy="relative", tolerance=1e-9,
    )  # fmt: skip
    assert plan.converged
    assert torch.allclose(plan.row_potential, values[f"glconv_{cost}_f64_F"], rtol=0, atol=1e-9)
    assert torch.allclose(plan.column_potential, values[f"glconv_{cost}_f64_G"], rtol=0, atol=1e-9)
