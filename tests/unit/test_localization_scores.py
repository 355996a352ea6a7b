import pytest
import torch

from workbench.localization.formats import Heads
from workbench.localization.scores import (
    Detection,
    average_precision,
    nwpu_scores,
    qnrf_scores,
    radius_scores,
)

PEOPLE = torch.tensor([[10.0, 10.0], [40.0, 10.0], [70.0, 10.0], [100.0, 10.0]])
NOBODY = torch.zeros(0, 2)
FAR = PEOPLE + torch.tensor([0.0, 500.0])


def heads(people, small=4.0, large=8.0, level=1):
    count = len(people)
    return Heads(people, torch.full((count,), small), torch.full((count,), large), torch.full((count,), level))


@pytest.mark.parametrize(
    ("predicted", "people", "precision", "recall"),
    [
        (PEOPLE, PEOPLE, 1, 1),
        (NOBODY, PEOPLE, 0, 0),
        (PEOPLE, NOBODY, 0, 0),
        (NOBODY, NOBODY, 0, 0),
        (FAR, PEOPLE, 0, 0),
        (torch.cat([PEOPLE, PEOPLE]), PEOPLE, 0.5, 1),  # duplicates are false alarms
        (PEOPLE[:1], PEOPLE, 1, 0.25),
        (torch.cat([PEOPLE[:2], FAR[:2]]), PEOPLE, 0.5, 0.5),
        (PEOPLE + torch.tensor([8.0, 0.0]), PEOPLE, 1, 1),  # at exactly the radius
        (PEOPLE + torch.tensor([8.001, 0.0]), PEOPLE, 0, 0),
    ],
)
def test_constructed_cases(predicted, people, precision, recall):
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
    for found in (
        nwpu_scores([predicted], [heads(people)]).detection,
        radius_scores([predicted], [people], 8.0).detection,
    ):
        assert (found.precision, found.recall) == (precision, recall)
        assert found.f1 == pytest.approx(f1)
    swept = qnrf_scores([predicted], [people], radii=[8.0, 8.0])
    assert (swept.mean_precision, swept.mean_recall) == (precision, recall)
    assert swept.f1 == pytest.approx(f1)
    assert swept.auc == pytest.approx(precision * recall)


def test_images_are_summed_before_anything_is_divided():
    # one image of one person found, one image of four people missed with four false alarms
    predicted, people = [PEOPLE[:1], FAR], [PEOPLE[:1], PEOPLE]
    assert nwpu_scores(predicted, [heads(one) for one in people]).detection == Detection(1, 4, 4)
    assert radius_scores(predicted, people, 4.0).detection.recall == 0.2
    assert qnrf_scores(predicted, people).mean_precision == pytest.approx(0.2)


def test_each_sigma_is_a_radius_of_its_own():
    predicted = PEOPLE + torch.tensor([6.0, 0.0])
    assert nwpu_scores([predicted], [heads(PEOPLE)], sigma="small").detection.true_positives == 0
    assert nwpu_scores([predicted], [heads(PEOPLE)], sigma="large").detection.true_positives == 4


def test_recall_by_head_area():
    both = Heads(PEOPLE, torch.ones(4), torch.full((4,), 8.0), torch.tensor([0, 2, 2, 5]))
    scores = nwpu_scores([PEOPLE[1:3]], [both])
    assert scores.by_level == {"10^0 to 10^1": (0, 1), "10^2 to 10^3": (2, 2), "10^5 and up": (0, 1)}
    assert scores.recall_by_level == {"10^0 to 10^1": 0, "10^2 to 10^3": 1, "10^5 and up": 0}


def test_the_localization_error_is_the_mean_distance_of_who_is_found():
    predicted = PEOPLE + torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 50.0]])
    assert radius_scores([predicted], [PEOPLE], 4.0).error == pytest.approx(2)
    assert radius_scores([FAR], [PEOPLE], 4.0).error == 0


def test_the_mean_over_one_to_a_hundred_pixels():
    swept = qnrf_scores([PEOPLE[:1] + torch.tensor([25.0, 0.0])], [PEOPLE[:1]])
    assert len(swept.radii) == 100
    assert swept.mean_precision == swept.mean_recall == swept.f1 == pytest.approx(0.76)  # 25, 26, ... 100


def test_average_precision_by_hand():
    predicted = torch.cat([PEOPLE[:1], FAR[:1], PEOPLE[1:2]])
    # falling scores: a person, a false alarm, a person
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert average_precision([predicted], [scores], [PEOPLE], 4.0) == pytest.approx((1 + 2 / 3) / 4)
    # the false alarm first
    assert average_precision([predicted], [torch.tensor([0.7, 0.9, 0.8])], [PEOPLE], 4.0) == pytest.approx(
        (1 / 2 + 2 / 3) / 4
    )
    # all alike: one precision up to one recall
    assert average_precision([predicted], [torch.ones(3)], [PEOPLE], 4.0) == pytest.approx(2 / 3 * 2 / 4)
    assert qnrf_scores([predicted], [PEOPLE], radii=[4.0], scores=[scores]).auc == pytest.approx((1 + 2 / 3) / 4)


def test_average_precision_ranks_the_predictions_of_all_images_together():
    predicted, people = [PEOPLE[:1], FAR[:1]], [PEOPLE[:1], PEOPLE[:1]]
    surer, less = torch.tensor([0.9]), torch.tensor([0.1])
    assert average_precision(predicted, [surer, less], people, 4.0) == 0.5
    assert average_precision(predicted, [less, surer], people, 4.0) == 0.25


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nwpu_scores([NOBODY], []), "predicted holds 1 images and truth 0"),
        (lambda: nwpu_scores([NOBODY], [heads(NOBODY)], sigma="medium"), "sigma is 'medium'"),
        (lambda: qnrf_scores([NOBODY], [NOBODY], radii=[]), "radii is empty"),
        (lambda: radius_scores([NOBODY], [NOBODY], -4.0), "radius is -4"),
        (lambda: average_precision([NOBODY], [], [NOBODY], 4.0), "scores holds 0 images"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
