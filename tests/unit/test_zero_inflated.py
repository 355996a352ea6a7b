import math

import pytest
import torch
from scipy import stats

from workbench.losses import build_loss
from workbench.losses.zero_inflated import density_zip, guarded_log_likelihood, log_likelihood, multi_scale_error
from workbench.models import ModelOutput

NUMBERS = torch.arange(40, dtype=torch.float64)[None, None]


def test_without_inflation_it_is_scipys_poisson():
    rates = torch.full_like(NUMBERS, 3.7)
    zero = torch.stack([torch.full_like(NUMBERS, -800.0), torch.zeros_like(NUMBERS)], dim=1)
    found = log_likelihood(NUMBERS, zero, rates).flatten()
    torch.testing.assert_close(found, torch.tensor(stats.poisson.logpmf(NUMBERS.flatten().numpy(), 3.7)))


def test_the_probabilities_of_all_counts_sum_to_one():
    for logit, rate in ((0.0, 2.0), (-3.0, 0.4), (2.0, 4.3)):
        zero = torch.stack([torch.zeros_like(NUMBERS), torch.full_like(NUMBERS, logit)], dim=1)
        found = log_likelihood(NUMBERS, zero, torch.full_like(NUMBERS, rate)).exp()
        assert found.sum().item() == pytest.approx(1, rel=1e-12)
        filled = 1 / (1 + math.exp(-logit))
        assert (found * NUMBERS).sum().item() == pytest.approx(filled * rate, rel=1e-12)


def test_a_plain_density_is_a_poisson_count():
    density = torch.tensor([[[1e-3, 0.2, 1.0, 30.0]]], dtype=torch.float64)
    zero, rates = density_zip(density)
    torch.testing.assert_close(torch.softmax(zero, dim=1)[:, 1] * rates, density)
    torch.testing.assert_close(torch.softmax(zero, dim=1)[:, 0], torch.exp(-density))


def scene():
    generator = torch.Generator().manual_seed(2)
    size = torch.tensor([56.0, 40.0], dtype=torch.float64)
    points = [torch.rand(n, 2, generator=generator, dtype=torch.float64) * size for n in (30, 0)]
    maps = [torch.randn(2, k, 5, 7, generator=generator, dtype=torch.float64) for k in (2, 4)]
    return maps, points


@pytest.mark.parametrize("convention", ["paper", "official"])
def test_gradient(convention):
    maps, points = scene()
    loss = build_loss("zero_inflated", convention=convention)
    density = torch.ones(2, 1, 5, 7, dtype=torch.float64)

    def value(zero, bins):
        return loss(ModelOutput(density, zero_logits=zero, bin_logits=bins), points)

    torch.autograd.gradcheck(value, [one.requires_grad_(True) for one in maps])


def test_the_guard_stops_the_gradient_of_a_block_that_is_wrong_with_certainty():
    counts, rates = torch.ones(1, 1, 1), torch.ones(1, 1, 1)
    zero = torch.tensor([30.0, 0.0]).reshape(1, 2, 1, 1).requires_grad_(True)
    slopes = [
        torch.autograd.grad(likelihood(counts, zero, rates).sum(), zero)[0][0, 1].item()
        for likelihood in (log_likelihood, guarded_log_likelihood)
    ]
    assert slopes[0] == pytest.approx(1, rel=1e-6)
    assert slopes[1] == pytest.approx(9.4e-6, rel=0.01)


def test_no_block_holds_more_than_the_last_centre():
    bins = torch.tensor([-50.0, -50.0, -50.0, 50.0]).reshape(1, 4, 1, 1)
    zero = torch.tensor([-50.0, 50.0]).reshape(1, 2, 1, 1)
    crowd = [torch.full((10, 2), 4.0)]
    loss = build_loss("zero_inflated")
    terms = loss.terms(ModelOutput(torch.ones(1, 1, 1, 1), zero_logits=zero, bin_logits=bins), crowd)
    assert terms["count"].item() == pytest.approx(10 - 4.3155, rel=1e-5)
    terms = build_loss("zero_inflated", centres=(1.0, 2.0, 3.0, 8.0)).terms(
        ModelOutput(torch.ones(1, 1, 1, 1), zero_logits=zero, bin_logits=bins), crowd
    )
    assert terms["count"].item() == pytest.approx(2, rel=1e-5)


def test_a_common_error_weighs_less_at_coarser_scales():
    sums = multi_scale_error(torch.ones(1, 8, 8), torch.zeros(1, 8, 8))[:, 0]
    assert sums.tolist() == [64 / 4, 64 / 8, 64 / 16]
    assert multi_scale_error(torch.ones(1, 3, 8), torch.zeros(1, 3, 8)).shape == (2, 1)


def test_the_bin_of_a_count():
    loss = build_loss("zero_inflated", bin_weight=2.0)
    bins = torch.zeros(1, 4, 1, 2, dtype=torch.float64)
    bins[0, 3, 0, 0] = 1.0
    result = ModelOutput(torch.ones(1, 1, 1, 2), zero_logits=torch.zeros(1, 2, 1, 2).double(), bin_logits=bins)
    for people in (4, 9):
        crowd = [torch.full((people, 2), 4.0)]
        assert loss.terms(result, crowd)["bins"].item() == pytest.approx(2 * math.log1p(3 / math.e))
    assert loss.terms(result, [torch.full((1, 2), 4.0)])["bins"].item() == pytest.approx(2 * math.log(3 + math.e))


@pytest.mark.bad_input
def test_what_is_refused():
    maps, points = scene()
    loss = build_loss("zero_inflated")
    result = ModelOutput(torch.ones(2, 1, 5, 7), zero_logits=maps[0], bin_logits=maps[1])
    weights = [torch.ones(30), torch.ones(0)]
    assert loss(result, points, weights) == loss(result, points)
    weights[0][3] = 1.5
    with pytest.raises(ValueError, match=r"weights\[0\] holds 1\.5, expected whole numbers of people"):
        loss(result, points, weights)
    with pytest.raises(ValueError, match=r"bin_logits has shape \(2, 3, 5, 7\), expected \(2, 4, 5, 7\)"):
        loss(result._replace(bin_logits=maps[1][:, :3]), points)
    with pytest.raises(ValueError, match=r"centres is \(2\.0, 1\.0\), expected at least one number, in increasing"):
        build_loss("zero_inflated", centres=(2.0, 1.0))
