"""OT-M against what the published implementation gave from the same start."""

from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.localization import ot_m

DATA = Path(__file__).parent / "data/otm.npz"
CASES = ("c0", "c1", "c2", "c3", "c4", "c9", "c10")


@pytest.mark.parametrize("case", CASES)
def test_the_published_result_from_the_published_start(case):
    with np.load(DATA) as arrays:
        density, start, expected, single = (arrays[f"{case}_{key}"] for key in ("density", "start", "f64", "f32"))
    start = torch.tensor(start, dtype=torch.float64).flip(1)
    found = ot_m(torch.tensor(density, dtype=torch.float64), convention="official", start=start)
    assert torch.allclose(found.flip(1), torch.tensor(expected), rtol=0, atol=1e-9)
    found = ot_m(torch.tensor(density), convention="official", start=start.float())
    assert found.dtype == torch.float32
    # what separates the published single and double precision
    assert torch.allclose(found.flip(1), torch.tensor(single), rtol=0, atol=8e-3)
