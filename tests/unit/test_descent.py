import pytest
import torch

from workbench.density import density_map
from workbench.losses import build_loss
from workbench.study.descent import descend

POINTS = torch.tensor([[20.0, 20.0], [44.0, 36.0]])


def test_l2_ends_at_its_target():
    maps = descend(build_loss("l2", sigma=8.0), POINTS, torch.full((6, 8), 2 / 48), steps=400, keep=(0, 10))
    assert sorted(maps) == [0, 10, 400]
    assert torch.equal(maps[0], torch.full((6, 8), 2 / 48))
    assert torch.allclose(maps[400], density_map(POINTS, (6, 8), sigma=8.0, stride=8), atol=1e-3)


def test_a_transport_loss_moves_the_mass_to_the_cells_of_the_heads():
    loss = build_loss("generalized", cost_offset=1.0)
    end = descend(loss, POINTS, torch.full((6, 8), 2 / 48), steps=200)[200]
    assert end[2, 2] > 0.8
    assert end[4, 5] > 0.8
    assert end.sum() == pytest.approx(2, abs=0.1)


@pytest.mark.bad_input
def test_bad_input_is_named():
    with pytest.raises(ValueError, match="start has shape"):
        descend(build_loss("l2"), POINTS, torch.zeros(1, 6, 8))
    with pytest.raises(ValueError, match="rate is 0"):
        descend(build_loss("l2"), POINTS, torch.zeros(6, 8), rate=0)
