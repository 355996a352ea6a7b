import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.data import CrowdSample
from workbench.data.transforms import crop_sample, flip_sample, resize_sample

sides = st.integers(2, 40)


@st.composite
def samples(draw):
    height, width = draw(sides), draw(sides)
    # whole and half pixels fall on borders often
    xs = st.integers(0, 2 * width).map(lambda v: v / 2)
    ys = st.integers(0, 2 * height).map(lambda v: v / 2)
    points = draw(st.lists(st.tuples(xs, ys), max_size=12))
    return CrowdSample(torch.zeros(3, height, width), torch.tensor(points).reshape(-1, 2), "x")


@given(samples(), st.data())
def test_any_partition_holds_everybody_once(sample, data):
    height, width = sample.size
    across = data.draw(st.integers(1, width - 1))
    down = data.draw(st.integers(1, height - 1))
    windows = [
        crop_sample(sample, left, top, w, h)
        for left, w in ((0, across), (across, width - across))
        for top, h in ((0, down), (down, height - down))
    ]
    assert sum(window.count for window in windows) == sample.count
    for window in windows:
        h, w = window.size
        assert ((window.points >= 0) & (window.points <= torch.tensor([w, h]))).all()


@given(samples())
def test_two_flips_are_none(sample):
    assert torch.equal(flip_sample(flip_sample(sample)).points, sample.points)


@given(samples(), sides, sides)
def test_a_new_size_keeps_everybody_inside(sample, height, width):
    resized = resize_sample(sample, (height, width))
    assert resized.count == sample.count
    assert resized.size == (height, width)
    assert (resized.points <= torch.tensor([width, height]) * (1 + 1e-6)).all()
