import pytest
import torch

from workbench.localization.matching import candidate_pairs, first_matched, match_points, matched_counts


def points(*pairs):
    return torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2)


def test_a_perfect_prediction_matches_everybody():
    people = points((1, 1), (5, 5), (9, 1))
    matching = match_points(people.flip(0), people, 0.0)
    assert len(matching) == 3
    assert (matching.predicted + matching.truth == 2).all()
    assert matching.distance.tolist() == [0, 0, 0]
    assert len(matching.misses) == len(matching.false_alarms) == 0


def test_the_nearest_pair_gives_way_so_that_all_are_matched():
    # the left prediction is nearest to the right person; matching it there would leave one of each alone
    predicted = points((0, 0), (4, 0))
    people = points((1, 0), (-3, 0))
    matching = match_points(predicted, people, 3.0)
    assert sorted(zip(matching.predicted.tolist(), matching.truth.tolist(), strict=True)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("objective", ["cardinality", "distance"])
def test_a_pair_at_exactly_the_radius_matches(objective):
    at, beyond = points((3, 4)), points((3, 4.0001))
    assert len(match_points(at, points((0, 0)), 5.0, objective=objective)) == 1
    assert len(match_points(beyond, points((0, 0)), 5.0, objective=objective)) == 0


@pytest.mark.parametrize("objective", ["cardinality", "distance"])
def test_duplicates_match_once(objective):
    matching = match_points(points((2, 2), (2, 2), (2, 2)), points((2, 2)), 4.0, objective=objective)
    assert len(matching) == 1
    assert len(matching.false_alarms) == 2


def test_each_person_has_a_radius_of_their_own():
    people = points((0, 0), (100, 0))
    radius = torch.tensor([1.0, 30.0], dtype=torch.float64)
    matching = match_points(points((2, 0), (75, 0)), people, radius)
    assert (matching.predicted.tolist(), matching.truth.tolist()) == ([1], [1])
    assert matching.misses.tolist() == [0]
    assert matching.false_alarms.tolist() == [0]


def test_the_shortest_of_the_largest_matchings():
    predicted, people = points((0, 0), (10, 0)), points((1, 0), (9, 0))
    matching = match_points(predicted, people, 20.0, objective="distance")
    assert sorted(zip(matching.predicted.tolist(), matching.truth.tolist(), strict=True)) == [(0, 0), (1, 1)]
    assert matching.distance.sum() == 2


@pytest.mark.parametrize("objective", ["cardinality", "distance"])
@pytest.mark.parametrize(("predictions", "people"), [(0, 0), (0, 3), (3, 0)])
def test_nobody(objective, predictions, people):
    found, there = torch.rand(predictions, 2), torch.rand(people, 2)
    matching = match_points(found, there, 5.0, objective=objective)
    assert len(matching) == 0
    assert (len(matching.false_alarms), len(matching.misses)) == (predictions, people)
    assert matched_counts(found, there, [1.0, 2.0]).tolist() == [0, 0]
    assert first_matched(found, torch.rand(predictions), there, 5.0).tolist() == [0] * predictions


def test_counts_at_many_radii_in_any_order():
    predicted, people = points((0, 0), (4, 0), (50, 0)), points((1, 0), (-3, 0), (0, 0))
    assert matched_counts(predicted, people, [3.0, 0.0, 50.0, 1.0]).tolist() == [2, 1, 3, 1]
    assert matched_counts(predicted, people, []).tolist() == []


def test_the_surest_predictions_come_first():
    # both of the first two want the same person; the third has another one
    predicted, people = points((0, 0), (1, 0), (9, 0)), points((0, 0), (9, 0))
    scores = torch.tensor([0.2, 0.9, 0.5], dtype=torch.float64)
    assert first_matched(predicted, scores, people, 2.0).tolist() == [1, 1, 0]
    # a person further off lets the third have theirs: an exchange along a chain
    people = points((0, 0), (9, 0), (3, 0))
    assert first_matched(predicted, scores, people, 2.0).tolist() == [1, 1, 1]


def test_radii_of_every_size_find_their_pairs():
    generator = torch.Generator().manual_seed(0)
    predicted, people = (torch.rand(60, 2, generator=generator, dtype=torch.float64) * 100 for _ in range(2))
    radius = torch.logspace(-2, 2, 60, dtype=torch.float64)
    pairs = candidate_pairs(predicted, people, radius)
    near = torch.cdist(predicted, people) <= radius
    assert set(zip(pairs.predicted.tolist(), pairs.truth.tolist(), strict=True)) == set(
        map(tuple, near.nonzero().tolist())
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows(dtype):
    assert match_points(torch.zeros(1, 2, dtype=dtype), torch.zeros(1, 2, dtype=dtype), 1.0).distance.dtype == dtype


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: match_points(torch.zeros(2, 3), torch.zeros(1, 2), 1.0), "predicted has shape"),
        (lambda: match_points(torch.zeros(2, 2), torch.full((1, 2), torch.nan), 1.0), "truth holds 2 values"),
        (lambda: match_points(torch.zeros(2, 2), torch.zeros(1, 2), -1.0), "radius is -1"),
        (lambda: match_points(torch.zeros(2, 2), torch.zeros(1, 2), torch.tensor([-2.0])), "radius holds values down"),
        (lambda: match_points(torch.zeros(2, 2), torch.zeros(1, 2), torch.ones(2)), "radius has shape"),
        (lambda: match_points(torch.zeros(2, 2), torch.zeros(1, 2), 1.0, objective="best"), "objective is 'best'"),
        (lambda: matched_counts(torch.zeros(2, 2), torch.zeros(1, 2), [1.0, -1.0]), "radius is -1"),
        (lambda: first_matched(torch.zeros(2, 2), torch.zeros(3), torch.zeros(1, 2), 1.0), "scores has shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
