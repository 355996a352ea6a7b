import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from workbench.localization.formats import Heads
from workbench.localization.matching import first_matched, match_points, matched_counts
from workbench.localization.scores import average_precision, nwpu_scores, qnrf_scores, radius_scores


@st.composite
def crowds(draw, most=14):
    """Predicted and annotated points on a coarse grid, so that ties and duplicates are common, and radii."""
    place = st.tuples(st.integers(0, 12), st.integers(0, 12))
    predicted, people = (draw(st.lists(place, max_size=most)) for _ in range(2))
    radius = draw(st.lists(st.integers(0, 6), min_size=len(people), max_size=len(people)))
    tensors = (torch.tensor(values, dtype=torch.float64).reshape(-1, 2) for values in (predicted, people))
    return *tensors, torch.tensor(radius, dtype=torch.float64)


def assignment(predicted, people, radius):
    """Size and total distance of the best matching, by a dense assignment."""
    if not len(predicted) or not len(people):
        return 0, 0.0
    distance = torch.cdist(predicted, people, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    allowed = distance <= radius.numpy()
    rows, columns = linear_sum_assignment(np.where(allowed, distance - 1e4, 0))
    taken = allowed[rows, columns]
    return int(taken.sum()), float(distance[rows, columns][taken].sum())


@given(crowds())
@settings(max_examples=150, deadline=None)
def test_matchings_are_as_large_and_as_short_as_a_dense_assignment(crowd):
    predicted, people, radius = crowd
    size, distance = assignment(*crowd)
    for objective in ("cardinality", "distance"):
        matching = match_points(predicted, people, radius, objective=objective)
        assert len(matching) == size
        assert len(set(matching.predicted.tolist())) == len(set(matching.truth.tolist())) == size
        away = (predicted[matching.predicted] - people[matching.truth]).norm(dim=1)
        assert torch.allclose(away, matching.distance)
        assert (matching.distance <= radius[matching.truth]).all()
    assert abs(float(matching.distance.sum()) - distance) < 1e-9


@given(crowds(), st.permutations(range(6)))
@settings(max_examples=60, deadline=None)
def test_a_matching_that_grows_with_the_radius_is_the_largest_at_each(crowd, order):
    predicted, people, _ = crowd
    radii = [float(value) for value in order]
    sizes = [assignment(predicted, people, torch.full((len(people),), radius))[0] for radius in radii]
    assert matched_counts(predicted, people, radii).tolist() == sizes


@given(crowds(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_each_cut_of_the_surest_predictions_has_its_largest_matching(crowd, random):
    predicted, people, _ = crowd
    ranks = list(range(len(predicted)))
    random.shuffle(ranks)
    gains = first_matched(predicted, torch.tensor(ranks, dtype=torch.float64), people, 3.0)
    order = torch.tensor(ranks, dtype=torch.float64).argsort(descending=True)
    radius = torch.full((len(people),), 3.0, dtype=torch.float64)
    sizes = [assignment(predicted[order[: cut + 1]], people, radius)[0] for cut in range(len(ranks))]
    assert gains.cumsum().tolist() == sizes


def everything(predicted, people, radius, level):
    """Every score of one image that there is."""
    heads = Heads(people, radius, 2 * radius, level)
    small, large = (nwpu_scores([predicted], [heads], sigma=sigma) for sigma in ("small", "large"))
    fixed, swept = radius_scores([predicted], [people], 4.0), qnrf_scores([predicted], [people], radii=range(8))
    figures = [*swept.to_dict().values(), *fixed.detection.to_dict().values(), fixed.error]
    for one in (small, large):
        figures += [*one.detection.to_dict().values(), *one.recall_by_level.values()]
    return torch.tensor(figures, dtype=torch.float64)


@given(crowds(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_scores_do_not_depend_on_the_order_of_the_points(crowd, seed):
    predicted, people, radius = crowd
    generator = torch.Generator().manual_seed(seed)
    level = (people.sum(1) % 6).long()  # people on one spot are alike
    first = torch.randperm(len(predicted), generator=generator)
    second = torch.randperm(len(people), generator=generator)
    radius = people[:, 0] / 3 if len(people) else radius
    before = everything(predicted, people, radius, level)
    after = everything(predicted[first], people[second], radius[second], level[second])
    assert torch.allclose(before, after, atol=1e-12)


@given(crowds(), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_false_alarms_lower_precision_and_leave_recall(crowd, number):
    predicted, people, radius = crowd
    alarms = torch.full((number, 2), 500.0, dtype=torch.float64)
    heads = Heads(people, radius, radius, torch.zeros(len(people), dtype=torch.long))
    before = nwpu_scores([predicted], [heads]).detection
    after = nwpu_scores([torch.cat([predicted, alarms])], [heads]).detection
    assert after.precision <= before.precision
    assert after.precision < before.precision or not before.true_positives
    assert after.recall == before.recall
    assert after.f1 <= before.f1
    sure = torch.linspace(1, 0, len(predicted), dtype=torch.float64)
    area = average_precision([predicted], [sure], [people], 3.0)
    for confidence in (2.0, -1.0):
        scores = torch.cat([sure, torch.full((number,), confidence, dtype=torch.float64)])
        assert average_precision([torch.cat([predicted, alarms])], [scores], [people], 3.0) <= area + 1e-12
