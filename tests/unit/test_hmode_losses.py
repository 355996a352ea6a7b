import math

import pytest
import torch

from workbench.losses.hmode import attention_loss, enlarge_attention, importance_loss


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


@pytest.mark.parametrize("convention", ["paper", "official"])
def test_gradcheck(convention):
    torch.manual_seed(0)
    target = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    attention = (torch.rand(2, 1, 1, 1, dtype=torch.float64) * 0.8 + 0.1).requires_grad_()
    gate = torch.rand(2, 2, 2, 2, dtype=torch.float64).softmax(dim=1).requires_grad_()
    official = convention == "official"
    assert torch.autograd.gradcheck(lambda a: attention_loss(a, target, convention=convention), attention)
    assert torch.autograd.gradcheck(
        lambda g: importance_loss([g], per_image=not official, correction=int(official)), gate
    )


@pytest.mark.bad_input
def test_bad_input():
    target, attention = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 2, 2)
    with pytest.raises(ValueError, match=r"attention reaches from .* not \[0, 1\]"):
        attention_loss(attention + 9, target)
    with pytest.raises(ValueError, match="do not cover the target's"):
        attention_loss(attention[..., :1], target)
    with pytest.raises(ValueError, match="correction is 2"):
        importance_loss([], correction=2)
    with pytest.raises(ValueError, match="convention is 'mine'"):
        attention_loss(attention, target, convention="mine")
