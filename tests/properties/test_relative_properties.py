import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.losses import relative_local_counting
from workbench.losses.hmode import importance_loss
from workbench.models.hmode_mixture import combine, gate_weights, hierarchy

counts = st.lists(st.floats(0, 50, width=32), min_size=16, max_size=16)


def regions(values):
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 4, 4)


@settings(max_examples=40, deadline=None)
@given(truth=counts, predicted=counts, order=st.permutations(range(16)), sublists=st.integers(1, 5))
def test_moving_regions_about_changes_nothing(truth, predicted, order, sublists):
    def value(places):
        return relative_local_counting(
            regions(predicted).flatten()[places].view(1, 1, 4, 4),
            regions(truth).flatten()[places].view(1, 1, 4, 4),
            region=1,
            sublists=sublists,
        ).item()

    assert value(list(order)) == value(list(range(16)))


@settings(max_examples=40, deadline=None)
@given(truth=counts, slope=st.floats(0, 3), hardest=st.integers(1, 20), sublists=st.integers(1, 5))
def test_whatever_rises_with_the_truth_costs_nothing(truth, slope, hardest, sublists):
    predicted = slope * regions(truth) + 1
    assert relative_local_counting(predicted, regions(truth), region=1, hardest=hardest, sublists=sublists).item() == 0


@settings(max_examples=40, deadline=None)
@given(truth=counts, predicted=counts, shift=st.floats(0.5, 20), scale=st.floats(0.5, 2))
def test_a_loss_of_differences(truth, predicted, shift, scale):
    def value(density):  # all regions, so that the choice stays the same
        return relative_local_counting(density, regions(truth), region=1, hardest=16).item()

    plain = value(regions(predicted))
    assert abs(value(regions(predicted) + shift) - plain) < 1e-6
    assert abs(value(regions(predicted) * scale) - scale * plain) < 1e-6 * (1 + plain)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from([(3, 2), (4, 2), (4, 3)]),
    depth=st.integers(2, 3),
    weighting=st.sampled_from(["pixel", "image", "hard"]),
)
def test_gates_sum_to_one_and_groups_stay_between_their_members(seed, shape, depth, weighting):
    generator = torch.Generator().manual_seed(seed)
    experts, group_size = shape
    members = torch.rand(2, experts, 1, 6, 9, generator=generator, dtype=torch.float64)
    for level in hierarchy("hmode", experts=experts, group_size=group_size, depth=depth):
        logits = 9 * torch.randn(2, sum(map(len, level)), 2, 3, generator=generator, dtype=torch.float64)
        weights = gate_weights(logits, level, (6, 9), weighting=weighting, mode="bilinear")
        assert all(torch.allclose(weight.sum(dim=1), torch.ones((), dtype=torch.float64)) for weight in weights)
        combined = combine(members, level, weights)
        for index, group in enumerate(level):
            inside = members[:, list(group)]
            assert (combined[:, index] <= inside.amax(dim=1) + 1e-12).all()
            assert (combined[:, index] >= inside.amin(dim=1) - 1e-12).all()
        members = combined


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100))
def test_importance_does_not_know_the_size_of_the_image(seed, scale):
    gate = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    plain = importance_loss([gate])
    assert torch.allclose(importance_loss([gate * scale]), plain, rtol=1e-6)
    assert torch.allclose(importance_loss([gate.repeat(1, 1, 2, 2)]), plain, rtol=1e-6)
