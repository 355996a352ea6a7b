import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.localization import bisection_start, find_points, ot_m


@st.composite
def maps(draw):
    """Small maps of every shape: empty cells, next to nothing, several people in a cell."""
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    value = st.sampled_from([0.0, 0.0, 1e-30, 1e-8, 0.1, 0.5, 1.0, 1.3, 4.0, 9.0])
    values = draw(st.lists(value, min_size=height * width, max_size=height * width))
    return torch.tensor(values, dtype=torch.float64).reshape(height, width)


@given(maps(), st.sampled_from([1, 3, 8]))
@settings(max_examples=25, deadline=None)
def test_as_many_distinct_points_as_people_within_the_map(density, stride):
    points = ot_m(density, stride=stride)
    assert len(points) == int(density.sum() + 0.5) == len(torch.unique(points, dim=0))
    assert ((points >= 0) & (points <= stride * torch.tensor(density.shape).flip(0))).all()
    assert torch.equal(points, ot_m(density, stride=stride))


@given(maps(), st.integers(0, 40))
@settings(max_examples=80, deadline=None)
def test_the_start_has_distinct_points_and_the_maps_barycentre(density, people):
    density = density + 1e-3
    points = bisection_start(density, people)
    assert len(torch.unique(points, dim=0)) == len(points) == people
    if people:
        height, width = density.shape
        mass = density / density.sum()
        x = (mass.sum(0) * (torch.arange(width) + 0.5)).sum()
        y = (mass.sum(1) * (torch.arange(height) + 0.5)).sum()
        assert torch.allclose(points.mean(0), torch.stack([x, y]))


@given(maps(), st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_points_lie_within_an_image_that_ends_in_its_last_cells(density, right, bottom):
    height, width = density.shape
    size = ((height - 1) * 8 + bottom, (width - 1) * 8 + right)
    for method in ("local_maxima", "ot_m"):
        (found,) = find_points(density[None, None], method, stride=8, sizes=[size])
        assert ((found.points >= 0) & (found.points <= torch.tensor(size).flip(0))).all()
        assert len(torch.unique(found.points, dim=0)) == len(found.points)
