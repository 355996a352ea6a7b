import math
from itertools import permutations

import pytest
import torch

from workbench.losses import build_loss
from workbench.losses.point_to_point import anchors, match
from workbench.models import ModelOutput


def test_the_matching_is_the_best_of_all():
    generator = torch.Generator().manual_seed(4)
    for queries, people in ((5, 3), (3, 5), (4, 4)):
        logits = torch.randn(queries, 2, generator=generator, dtype=torch.float64)
        predicted = 40 * torch.rand(queries, 2, generator=generator, dtype=torch.float64)
        points = 40 * torch.rand(people, 2, generator=generator, dtype=torch.float64)
        query, person = match(logits, predicted, points)
        cost = 0.05 * (predicted[:, None] - points).norm(dim=-1) - torch.softmax(logits, dim=1)[:, 1:]
        few, many = sorted((queries, people))
        tall = cost if queries <= people else cost.T
        best = min(sum(tall[k, order[k]].item() for k in range(few)) for order in permutations(range(many), few))
        assert len(query) == few
        assert cost[query, person].sum().item() == pytest.approx(best)


def test_where_the_queries_stand():
    found = anchors((1, 2), 8)
    assert found.tolist() == [[2, 2], [6, 2], [2, 6], [6, 6], [10, 2], [14, 2], [10, 6], [14, 6]]


def test_a_known_value():
    logits, offsets = torch.zeros(1, 4, 2, dtype=torch.float64), torch.zeros(1, 4, 2, dtype=torch.float64)
    logits[0, 3, 1] = 1.0
    result = ModelOutput(torch.zeros(1, 1, 1, 1, dtype=torch.float64), point_logits=logits, point_offsets=offsets)
    # the third query is 1 px away, the fourth 4 px: 0.05 - 0.5 against 0.2 - 0.731
    points = [torch.tensor([[2.0, 7.0]], dtype=torch.float64)]
    terms = build_loss("point_to_point").terms(result, points)
    person = math.log1p(math.exp(-1))
    assert terms["classes"].item() == pytest.approx((person + 1.5 * math.log(2)) / 2.5)
    assert terms["points"].item() == pytest.approx(2e-4 * 17)
    terms = build_loss("point_to_point").terms(result, points, [torch.tensor([0.5])])
    assert terms["classes"].item() == pytest.approx((0.5 * person + 1.5 * math.log(2)) / 2)
    assert terms["points"].item() == pytest.approx(1e-4 * 17)
    nobody = build_loss("point_to_point").terms(result, [torch.zeros(0, 2)])
    assert nobody["classes"].item() == pytest.approx((math.log1p(math.e) + 3 * math.log(2)) / 4)
    assert nobody["points"] == 0


def scene():
    generator = torch.Generator().manual_seed(6)
    maps = [torch.randn(3, 48, 2, generator=generator, dtype=torch.float64) for _ in range(2)]
    size = torch.tensor([32.0, 24.0], dtype=torch.float64)
    return maps, [torch.rand(n, 2, generator=generator, dtype=torch.float64) * size for n in (5, 0, 60)]


@pytest.mark.parametrize("convention", ["paper", "official"])
def test_gradient(convention):
    maps, points = scene()
    loss = build_loss("point_to_point", convention=convention, point_weight=0.01)
    density = torch.zeros(3, 1, 3, 4, dtype=torch.float64)

    def value(logits, offsets):
        return loss(ModelOutput(density, point_logits=logits, point_offsets=offsets), points)

    torch.autograd.gradcheck(value, [one.requires_grad_(True) for one in maps])


def test_a_batch_is_the_mean_of_its_images():
    (logits, offsets), points = scene()
    loss, density = build_loss("point_to_point"), torch.zeros(3, 1, 3, 4, dtype=torch.float64)
    single = [
        loss(
            ModelOutput(density[k : k + 1], point_logits=logits[k : k + 1], point_offsets=offsets[k : k + 1]),
            points[k : k + 1],
        ).item()
        for k in range(3)
    ]
    value = loss(ModelOutput(density, point_logits=logits, point_offsets=offsets), points)
    assert value.item() == pytest.approx(sum(single) / 3, rel=1e-12)


@pytest.mark.bad_input
def test_what_is_refused():
    (logits, offsets), points = scene()
    loss = build_loss("point_to_point")
    result = ModelOutput(torch.zeros(3, 1, 3, 4), point_logits=logits, point_offsets=offsets[:, :4])
    with pytest.raises(ValueError, match=r"point_offsets has shape \(3, 4, 2\), expected \(3, 48, 2\)"):
        loss(result, points)
    with pytest.raises(ValueError, match="background_weight is 0, expected a finite number > 0"):
        build_loss("point_to_point", background_weight=0)
