import math

import pytest
import torch

from workbench.losses.hmode import attention_loss, enlarge_attention, importance_loss, total_loss
from workbench.losses.relative import relative_local_counting


def half(value):
    return torch.full((1, 1, 2, 2), value, dtype=torch.float64)


def test_attention_by_hand():
    target = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    target[..., :2, :] = 0.3  # half of it is foreground
    value = attention_loss(half(0.8), target)
    assert value.item() == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2)
    summed = attention_loss(half(0.8), target, convention="official")
    assert summed.item() == pytest.approx(16 * value.item(), rel=1e-8)
    right = (target[..., ::2, ::2] > 0).double()
    assert attention_loss(right, target).item() == 0
    assert attention_loss(half(0.8), target, threshold=0.5).item() == pytest.approx(-math.log(0.2))


def test_attention_that_is_wholly_wrong_has_a_finite_gradient():
    wrong = half(0.0).requires_grad_()
    loss = attention_loss(wrong, torch.ones(1, 1, 4, 4, dtype=torch.float64))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(wrong.grad).all()


@pytest.mark.parametrize(("cells", "size"), [((2, 2), (8, 8)), ((2, 4), (5, 13)), ((1, 1), (3, 4)), ((3, 3), (3, 3))])
def test_attention_covers_maps_of_odd_size(cells, size):
    coarse = torch.arange(cells[0] * cells[1], dtype=torch.float64).view(1, 1, *cells)
    fine = enlarge_attention(coarse, size)
    assert fine.shape[-2:] == size
    assert fine[0, 0, -1, -1] == coarse[0, 0, -1, -1]
    assert fine[0, 0, 0, 0] == 0


def test_importance_by_hand():
    gate = torch.tensor([0.25, 0.75], dtype=torch.float64).view(1, 2, 1, 1).expand(3, 2, 5, 7)
    assert importance_loss([gate]).item() == pytest.approx((0.25 / 0.5) ** 2)
    assert importance_loss([gate], correction=1).item() == pytest.approx(2 * (0.25 / 0.5) ** 2)
    assert importance_loss([gate, gate]).item() == pytest.approx(2 * (0.25 / 0.5) ** 2)
    balanced = torch.cat([gate[:1], gate[:1].flip(1)])  # unbalanced by the image, balanced over the batch
    assert importance_loss([balanced]).item() == pytest.approx(0.25)
    assert importance_loss([balanced], per_image=False).item() == pytest.approx(0, abs=1e-12)


def test_importance_is_zero_for_equal_weights_and_none():
    equal = torch.full((2, 3, 4, 4), 1 / 3)
    assert importance_loss([equal, equal]).item() == pytest.approx(0, abs=1e-12)
    assert importance_loss([]).item() == 0
    assert importance_loss([torch.ones(2, 1, 4, 4)]).item() == 0
    assert importance_loss([torch.zeros(2, 2, 4, 4)]).item() == 0


def arguments(dtype=torch.float64):
    torch.manual_seed(0)
    maps = torch.rand(2, 7, 8, 8, dtype=dtype, requires_grad=True)
    target = torch.rand(2, 1, 8, 8, dtype=dtype)
    gates = [torch.rand(2, 2, 8, 8, dtype=dtype).softmax(dim=1) for _ in range(3)]
    return maps, target, gates, torch.rand(2, 1, 2, 2, dtype=dtype) * 0.8 + 0.1


def test_the_total_is_the_sum_of_what_it_is_made_of():
    maps, target, gates, attention = arguments()
    terms = total_loss(maps, target, gates=gates, attention=attention, region=2)
    assert list(terms) == ["density", "relative", "attention", "importance"]
    assert terms["density"].item() == pytest.approx((maps - target).square().mean(dim=(0, 2, 3)).sum().item())
    single = [relative_local_counting(one, target, region=2) for one in maps.split(1, dim=1)]
    assert terms["relative"].item() == pytest.approx(sum(single).item())
    assert terms["attention"].item() == pytest.approx(attention_loss(attention, target).item())
    assert terms["importance"].item() == pytest.approx(importance_loss(gates).item())
    weighted = total_loss(maps, target, region=2, weights=[0, 0, 0, 0, 0, 0, 2])
    assert list(weighted) == ["density", "relative"]
    assert weighted["relative"].item() == pytest.approx(2 * single[-1].item())
    assert total_loss(maps, target).keys() == {"density"}


def test_float32_and_gradcheck():
    maps, target, gates, attention = arguments()
    for convention in ("paper", "official"):
        # the official term of the hardest regions is a number without gradient, so it is left out there
        options = {"region": 2 if convention == "paper" else None, "hardest": 16, "convention": convention}
        assert torch.autograd.gradcheck(
            lambda m, a, g, options=options: sum(
                total_loss(m, target[..., :4, :4], gates=[g], attention=a, **options).values()
            ),
            [
                part.requires_grad_()
                for part in (maps[:, :2, :4, :4].detach(), attention[..., :1, :1], gates[0][..., :2, :2])
            ],
        )
    maps, target, gates, attention = arguments(torch.float32)
    terms = total_loss(maps, target, gates=gates, attention=attention, region=2)
    assert all(value.dtype == torch.float32 for value in terms.values())


@pytest.mark.bad_input
def test_bad_input():
    maps, target, _, attention = arguments()
    with pytest.raises(ValueError, match="weights holds 2 numbers, expected 7"):
        total_loss(maps, target, weights=[1, 1])
    with pytest.raises(ValueError, match="maps has shape"):
        total_loss(maps[..., :4], target)
    with pytest.raises(ValueError, match=r"attention reaches from .* not \[0, 1\]"):
        attention_loss(attention * 9, target)
    with pytest.raises(ValueError, match="do not cover the target's"):
        attention_loss(attention[..., :1], target)
    with pytest.raises(ValueError, match="correction is 2"):
        importance_loss([], correction=2)
    with pytest.raises(ValueError, match="convention is 'mine'"):
        total_loss(maps, target, convention="mine")
