import math

import pytest
import torch

from workbench.losses import build_loss
from workbench.losses.point_to_region import point_to_region, region_targets, regions
from workbench.models import ModelOutput


def test_a_known_assignment():
    # cells at x = 4, 12, ..., 60; two people, and a third on the second's place who owns nothing
    cells = torch.stack([torch.arange(8) * 8.0 + 4, torch.zeros(8)], dim=1)
    points = torch.tensor([[[10.0, 0.0], [44.0, 0.0], [44.0, 0.0], [0.0, 0.0]]])
    real = torch.tensor([[True, True, True, False]])
    owned = regions(cells, points, real, most=14.0)
    assert owned.owner.tolist() == [[0, 0, 0, 4, 1, 1, 1, 4]]  # 28 is 16 px from 44, and 60 is 16 px away
    assert owned.radius[0].tolist() == [10.0, 8.0, 8.0, 8.0]
    logits = torch.zeros(1, 8)
    assert region_targets(logits, owned).nonzero()[:, 1].tolist() == [1, 5]
    logits[0, 2] = 6.3  # 8 (10 - 2) / 10 = 6.4 is needed
    assert region_targets(logits, owned).nonzero()[:, 1].tolist() == [1, 5]
    logits[0, 2] = 6.5
    assert region_targets(logits, owned).nonzero()[:, 1].tolist() == [2, 5]
    logits[0, 3] = 100.0  # nobody's
    assert region_targets(logits, owned).nonzero()[:, 1].tolist() == [2, 5]


def test_the_value_of_a_known_assignment():
    logits = torch.full((1, 1, 2, 2), -1.0, dtype=torch.float64)
    point = [torch.tensor([[4.0, 4.0]], dtype=torch.float64)]
    loss = build_loss("point_to_region")
    cold, warm = math.log1p(math.exp(-1)), math.log1p(math.exp(1))
    found = loss(ModelOutput(torch.zeros_like(logits), logits=logits), point).item()
    assert found == pytest.approx((3 * cold + 2 * warm) / 4)
    trusted = loss(ModelOutput(torch.zeros_like(logits), logits=logits), point, [torch.tensor([0.25])]).item()
    assert trusted == pytest.approx(found / 4)
    nobody = loss(ModelOutput(torch.zeros_like(logits), logits=logits), [torch.zeros(0, 2)]).item()
    assert nobody == pytest.approx(cold / 2)


def scene():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 1, 5, 7, generator=generator, dtype=torch.float64)
    size = torch.tensor([56.0, 40.0], dtype=torch.float64)
    return logits, [torch.rand(n, 2, generator=generator, dtype=torch.float64) * size for n in (6, 0, 2)]


def test_gradient():
    logits, points = scene()
    loss = build_loss("point_to_region")
    density = torch.zeros_like(logits)
    torch.autograd.gradcheck(lambda z: loss(ModelOutput(density, logits=z), points), logits.requires_grad_(True))


def test_a_batch_is_the_mean_of_its_images_and_blocks_change_nothing(monkeypatch):
    logits, points = scene()
    together = point_to_region(logits[:, 0], points, stride=8)
    for k in range(3):
        alone = point_to_region(logits[k : k + 1, 0], points[k : k + 1], stride=8)
        assert alone.item() == pytest.approx(together[k].item(), rel=1e-12)
    monkeypatch.setattr("workbench.losses.point_to_region.PAIRS_AT_ONCE", 40)
    assert torch.equal(point_to_region(logits[:, 0], points, stride=8), together)


def test_of_equal_cells_one_is_chosen():
    points = torch.tensor([[[16.0, 8.0]]])
    cells = torch.tensor([[12.0, 4.0], [20.0, 4.0], [12.0, 12.0], [20.0, 12.0]])
    owned = regions(cells, points, torch.ones(1, 1, dtype=torch.bool))
    assert region_targets(torch.zeros(1, 4), owned).tolist() == [[True, False, False, False]]


@pytest.mark.bad_input
def test_what_is_refused():
    logits, points = scene()
    loss = build_loss("point_to_region")
    with pytest.raises(ValueError, match=r"logits has shape \(3, 1, 5, 6\), expected \(3, 1, 5, 7\)"):
        loss(ModelOutput(torch.zeros_like(logits), logits=logits[..., :6]), points)
    logits[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="logits holds 1 values that are NaN or infinite"):
        loss(ModelOutput(torch.zeros_like(logits), logits=logits), points)
    with pytest.raises(ValueError, match="least_radius is 8, expected at most most_radius, 4"):
        build_loss("point_to_region", most_radius=4)
