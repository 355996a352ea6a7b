"""What holds of partitions, endless shuffles, zooms and windows whatever the numbers are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.data.patches import zoom_window
from workbench.sampling.lsh import collision_bound, collision_probability
from workbench.sampling.partition import endless_shuffle, partition_samples
from workbench.sampling.zoom import next_zooms, zoom_rates

numbers = st.floats(-1e6, 1e6, allow_nan=False)
samples = st.lists(st.tuples(st.integers(0, 500), numbers), min_size=1, max_size=60)


@given(samples, st.integers(1, 12), st.integers(1, 20), st.sampled_from(["width", "count"]))
def test_a_partition_takes_every_sample_and_keeps_the_order(rows, groups, bins, spacing):
    counts, codes = [count for count, _ in rows], [code for _, code in rows]
    found = partition_samples(counts, codes, groups=groups, bins=bins, spacing=spacing)
    assert sorted(np.concatenate(found.members).tolist()) == list(range(len(rows)))
    assert (found.bin < bins).all()
    assert (found.group < groups).all()
    for one in range(len(rows)):
        for other in range(len(rows)):
            if counts[one] < counts[other]:
                assert found.group[one] <= found.group[other]
            if found.group[one] == found.group[other] and codes[one] < codes[other]:
                assert found.bin[one] <= found.bin[other]


@given(st.integers(1, 30), st.integers(0, 200), st.integers(1, 60), st.integers(0, 9))
def test_an_endless_shuffle_is_one_row_wherever_it_is_entered(size, start, length, seed):
    members = np.arange(100, 100 + size)
    whole = endless_shuffle(members, 0, start + length, seed=[seed])
    assert endless_shuffle(members, start, length, seed=[seed]).tolist() == whole[start:].tolist()
    for first in range(0, len(whole) - size + 1, size):
        assert sorted(whole[first : first + size]) == members.tolist()


@given(st.floats(-1e9, 1e9), st.floats(0.01, 1.99), st.floats(0.01, 100))
def test_zooms_stay_within_their_limits_and_are_odd(alpha, strength, steepness):
    here, there = zoom_rates([alpha, -alpha], strength=strength, steepness=steepness)
    assert 1 - strength / 2 <= here <= 1 + strength / 2
    assert abs(here + there - 2) < 1e-9
    assert (here - 1) * alpha <= 0


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 1e6)), min_size=1, max_size=20))
def test_next_zooms_are_finite_and_leave_the_empty_alone(rows):
    truth, predicted = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    zooms = next_zooms(truth, predicted)
    assert np.isfinite(zooms).all()
    assert (zooms[truth == 0] == 1).all()


@given(st.data(), st.integers(1, 400), st.integers(1, 400), st.floats(0.01, 50))
def test_a_zoomed_window_lies_within_the_image(data, height, width, zoom):
    across, down = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    left, top = data.draw(st.integers(0, width - across)), data.draw(st.integers(0, height - down))
    x, y, wide, high = zoom_window((left, top, across, down), (height, width), zoom)
    assert 0 <= x <= x + wide <= width
    assert 0 <= y <= y + high <= height
    assert wide >= 1
    assert high >= 1
    assert zoom_window((left, top, across, down), (height, width), 1.0) == (left, top, across, down)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_a_probability_lies_below_its_bound(distance, width):
    probability = collision_probability(distance, width)
    assert 0 <= probability <= collision_bound(distance, width) + 1e-12 <= 1 + 1e-12
