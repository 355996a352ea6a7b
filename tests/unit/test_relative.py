import pytest
import torch

from workbench.losses import relative_local_counting
from workbench.losses.relative import compared_regions, order_violations, region_side, relative_errors
from workbench.losses.relative_rivals import (
    absolute_local_counting,
    global_ranking,
    nested_ranking,
    nested_windows,
)

TRUTH = torch.tensor([[[[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]]], dtype=torch.float64)


def row(*counts):
    """One image whose regions are cells in a row."""
    return torch.tensor(counts, dtype=torch.float64)[None, None, None]


def spread_out(counts, region):
    """Every count spread over a square region."""
    return counts.repeat_interleave(region, dim=2).repeat_interleave(region, dim=3) / region**2


@pytest.mark.parametrize(
    ("counts", "sublists", "by_hand"),
    [
        ((3.0, 5.0, 4.0, 4.5, 2.0, 1.0), 3, 1.5),  # 4.5 - 3
        ((3.0, 5.0, 4.0, 4.5, 2.0, 1.0), 1, 2.5),  # 5 - 3 and 4.5 - 4
        ((3.0, 5.0, 4.0, 4.5, 2.0, 1.0), 2, 1.0),  # 4 - 3
        ((1.0, 2.0, 3.0, 4.0, 5.0, 6.0), 3, 9.0),  # the wrong way round: three pairs of 3
        ((0.0, 0.0, 0.0, 7.0, 0.0, 8.0), 3, 15.0),
    ],
)
def test_lists_whose_loss_is_known_by_hand(counts, sublists, by_hand):
    value = relative_local_counting(row(*counts), TRUTH, region=1, hardest=6, sublists=sublists)
    assert value.item() == pytest.approx(by_hand)
    squares = relative_local_counting(
        spread_out(row(*counts), 4), spread_out(TRUTH, 4), region=4, hardest=6, sublists=sublists
    )
    assert squares.item() == pytest.approx(by_hand)


def test_only_the_hardest_regions_are_compared():
    # errors 0, 9, 0, 4, 4.5^2, 0: the three hardest are regions 5, 2 and 4, in the order 2, 4, 5
    predicted = row(6.0, 2.0, 4.0, 5.0, 6.5, 1.0)
    assert compared_regions(predicted, TRUTH, region=1, hardest=3).tolist() == [[1, 3, 4]]
    value = relative_local_counting(predicted, TRUTH, region=1, hardest=3, sublists=1)
    assert value.item() == pytest.approx((5 - 2) + (6.5 - 5))


def test_all_pairs():
    listed = torch.tensor([[1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 4.0, 0.0, 0.0]])
    assert order_violations(listed).item() == 1 + 2
    assert order_violations(listed, pairs="all").item() == 1 + 2 + 3
    assert order_violations(listed[:, :3]).item() == 0  # nothing is three places away


def test_the_right_order_costs_nothing_and_a_batch_is_averaged():
    right, wrong = TRUTH * 0.3, TRUTH.flip(-1)
    assert relative_local_counting(right, TRUTH, region=1, hardest=6).item() == 0
    both = relative_local_counting(torch.cat([right, wrong]), TRUTH.repeat(2, 1, 1, 1), region=1, hardest=6)
    assert both.item() == pytest.approx(9 / 2)
    single = relative_errors(torch.cat([right, wrong]), TRUTH.repeat(2, 1, 1, 1), region=1, hardest=6)
    assert single.tolist() == pytest.approx([0, 9])


def test_where_regions_of_one_count_lie_does_not_matter():
    truth = row(5.0, 5.0, 5.0, 2.0, 2.0, 2.0)
    predicted = row(1.0, 4.0, 2.0, 5.0, 3.0, 6.0)
    values = {
        round(relative_local_counting(predicted[..., order], truth, region=1, hardest=6, sublists=1).item(), 12)
        for order in ([0, 1, 2, 3, 4, 5], [2, 0, 1, 5, 3, 4], [1, 2, 0, 4, 5, 3])
    }
    assert values == {5.0}  # only from the last of the fives, 1, to the first of the twos, 6
    assert relative_local_counting(predicted, torch.ones_like(truth), region=1, hardest=6, sublists=1).item() == 0


def test_the_gradient_goes_into_the_compared_regions_alone():
    torch.manual_seed(0)
    density = torch.rand(2, 1, 16, 20, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 1, 16, 20, dtype=torch.float64)
    (slope,) = torch.autograd.grad(relative_local_counting(density, target, region=4, hardest=5, sublists=1), density)
    touched = slope[:, 0].unflatten(2, (5, 4)).unflatten(1, (4, 4)).abs().sum(dim=(2, 4)).flatten(1) > 0
    chosen = torch.zeros(2, 20).scatter(1, compared_regions(density, target, region=4, hardest=5), 1.0) > 0
    assert touched.any(dim=1).all()
    assert not (touched & ~chosen).any()
    assert slope.sum().abs() < 1e-12  # what one region is raised by another is lowered


def test_gradcheck():
    torch.manual_seed(1)
    density = torch.rand(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 1, 4, 5, dtype=torch.float64)
    for pairs in ("adjacent", "all"):
        assert torch.autograd.gradcheck(
            lambda d, pairs=pairs: relative_local_counting(d, target, region=1, sublists=2, pairs=pairs), density
        )


def test_counts_of_a_branch_get_the_gradient():
    torch.manual_seed(2)
    density, branch, target = torch.rand(3, 1, 1, 8, 8).requires_grad_().unbind(0)
    loss = relative_local_counting(density, target.detach(), region=2, sublists=1, counts=branch)
    (on_density, on_branch) = torch.autograd.grad(loss, (density, branch), allow_unused=True)
    assert on_density is None
    assert on_branch.abs().sum() > 0


def test_random_regions_follow_the_seed():
    torch.manual_seed(3)
    density, target = torch.rand(2, 1, 1, 16, 16).unbind(0)
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(compared_regions(density, target, region=2, hardest=9, choose="random").tolist())
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0][0])) == 9


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (5, 32)])
def test_maps_of_any_size_and_empty_ones(size):
    zero = torch.zeros(1, 1, *size, requires_grad=True)
    loss = relative_local_counting(zero, torch.rand(1, 1, *size), region=4)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(zero.grad).all()
    assert region_side(size, 0.125) >= 1


def test_absolute_local_counts():
    assert absolute_local_counting(TRUTH + 0.5, TRUTH, region=1).item() == pytest.approx(0.5)
    shuffled = spread_out(TRUTH, 2).flip(-2)
    assert absolute_local_counting(shuffled, spread_out(TRUTH, 2), region=2).item() == pytest.approx(0)


def test_global_ranking():
    truth = torch.tensor([5.0, 1.0, 9.0], dtype=torch.float64).view(3, 1, 1, 1)
    right = global_ranking(truth, truth, temperature=0.1).item()
    wrong = global_ranking(truth.flip(0) * torch.tensor([1.0, 3, 1]).view(3, 1, 1, 1), truth, temperature=0.1).item()
    assert right == pytest.approx(0, abs=1e-6)
    assert wrong > 1
    assert global_ranking(truth[:1], truth[:1]).item() == 0
    # nothing predicted, nothing known: every rank is drawn from three
    assert global_ranking(torch.zeros_like(truth), truth).item() == pytest.approx(torch.tensor(3.0).log().item())
    density = (truth * 0.9).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: global_ranking(d, truth, temperature=3.0), density)


def test_nested_windows_lie_in_one_another():
    torch.manual_seed(0)
    for size in ((128, 128), (60, 200), (2, 2)):
        windows = nested_windows(size)
        assert len(windows) == 5
        for left, top, side in windows:
            assert side >= 1
            assert 0 <= left <= left + side <= size[1]
            assert 0 <= top <= top + side <= size[0]
        sides = [side for _, _, side in windows]
        assert sides == sorted(sides, reverse=True)
    left, top, side = zip(*nested_windows((128, 128)), strict=True)
    for k in range(4):
        assert left[k] <= left[k + 1]
        assert left[k + 1] + side[k + 1] <= left[k] + side[k]
        assert top[k] <= top[k + 1]
        assert top[k + 1] + side[k + 1] <= top[k] + side[k]


def test_nested_counts():
    assert nested_ranking(torch.tensor([[9.0, 4.0, 6.0, 1.0], [4.0, 3.0, 2.0, 1.0]])).item() == 1.0


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": 0}, "region is 0"),
        ({"region": 2, "hardest": 0}, "hardest is 0"),
        ({"region": 2, "sublists": 1.5}, "sublists is 1.5"),
        ({"region": 2, "pairs": "some"}, "pairs is 'some'"),
        ({"region": 2, "choose": "easy"}, "choose is 'easy'"),
        ({"region": 2, "counts": torch.zeros(1, 1, 2, 2)}, "counts has shape"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        relative_local_counting(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), **options)


@pytest.mark.bad_input
def test_bad_maps():
    good = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match=r"target_density has shape \(1, 1, 8, 8\)"):
        relative_local_counting(good, good[:1], region=2)
    bad = good.clone()
    bad[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="density holds 1 values that are NaN"):
        relative_local_counting(bad, good, region=2)
    with pytest.raises(ValueError, match="expected at least one image"):
        relative_local_counting(good[:0], good[:0], region=2)
    with pytest.raises(ValueError, match="factor is 2"):
        nested_windows((8, 8), factor=2.0)
