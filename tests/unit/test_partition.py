import numpy as np
import pytest

from workbench.sampling.partition import partition_by, partition_samples


def test_group_borders():
    # y_max = 60 in 6 groups: [0, 10), [10, 20), ..., and 60 itself in the last one
    counts = [0, 9, 10, 19, 20, 49, 50, 59, 60]
    assert partition_samples(counts, [0.0] * 9).group.tolist() == [0, 0, 1, 1, 2, 4, 5, 5, 5]
    # y_max = 61: the width is ceil(61 / 6) = 11
    assert partition_samples([0, 10, 11, 54, 55, 61], [0.0] * 6).group.tolist() == [0, 0, 1, 4, 5, 5]


def test_bins_by_hand():
    codes = [0.0, 1.0, 4.9, 5.0, 9.9, 10.0]
    assert partition_samples([0] * 6, codes, groups=1, bins=2).bin.tolist() == [0, 0, 0, 1, 1, 1]
    assert partition_samples([0] * 6, codes, groups=1, bins=5).bin.tolist() == [0, 0, 2, 2, 4, 4]
    assert partition_samples([0] * 6, codes, groups=1, bins=4, spacing="count").bin.tolist() == [0, 0, 1, 1, 2, 3]


def test_each_group_has_a_range_of_its_own():
    found = partition_samples([0, 0, 9, 9], [0.0, 1.0, 100.0, 200.0], groups=2, bins=2)
    assert list(zip(found.group.tolist(), found.bin.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_empty_bins_are_left_out_and_reported():
    found = partition_samples([0, 0, 0, 30], [0.0, 0.1, 1.0, 5.0], groups=3, bins=4)
    assert found.occupancy.tolist() == [[2, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert [members.tolist() for members in found.members] == [[0, 1], [2], [3]]
    assert found.filled == 3
    assert str(found) == "4 samples in 3 of 3 x 4 bins, 1 to 2 in each; 9 are empty"


def test_every_sample_is_in_one_bin():
    rng = np.random.default_rng(0)
    counts, codes = rng.geometric(0.1, 500).tolist(), rng.normal(size=500)
    for spacing in ("width", "count"):
        found = partition_samples(counts, codes, spacing=spacing)
        assert sorted(np.concatenate(found.members).tolist()) == list(range(500))
        assert found.occupancy.sum() == 500
        if spacing == "count":
            for row in found.occupancy:
                assert row.max() - row.min() <= 1


def test_groups_that_are_known():
    found = partition_by([2, 0, 2], [0.5, 0.0, 0.1], groups=3, bins=2)
    assert [members.tolist() for members in found.members] == [[1], [2], [0]]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: partition_samples([1, 2], [0.0]), r"codes have shape \(1,\) for 2 samples"),
        (lambda: partition_samples([], []), "counts are"),
        (lambda: partition_samples([-1, 2], [0.0, 1.0]), "none below 0"),
        (lambda: partition_samples([1, 2], [0.0, float("nan")]), "codes hold 1 values that are NaN"),
        (lambda: partition_samples([1, 2], [0.0, 1.0], groups=0), "groups is 0"),
        (lambda: partition_samples([1, 2], [0.0, 1.0], bins=0), "bins is 0"),
        (lambda: partition_samples([1, 2], [0.0, 1.0], spacing="even"), "spacing is 'even', expected one of 'width'"),
        (lambda: partition_by([0, 3], [0.0, 1.0], groups=3), "labels reach from 0 to 3, expected 0 to 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
