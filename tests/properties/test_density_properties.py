import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.density import adaptive_sigma, density_map, local_counts
from workbench.points import dot_map


@st.composite
def crowds(draw):
    """A map's size, a stride, and people anywhere on it, the border included."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    stride = draw(st.sampled_from([1, 3, 8]))
    share = st.floats(0, 1)
    people = draw(st.lists(st.tuples(share, share), max_size=12))
    limit = torch.tensor([width * stride, height * stride], dtype=torch.float64)
    return torch.tensor(people, dtype=torch.float64).reshape(-1, 2) * limit, (height, width), stride


@given(crowds(), st.floats(1e-3, 1e3))
def test_a_density_sums_to_the_count(crowd, sigma):
    points, size, stride = crowd
    for width in (sigma, adaptive_sigma(points)):
        density = density_map(points, size, sigma=width, stride=stride)
        assert (density >= 0).all()
        assert abs(float(density.sum()) - len(points)) < 1e-9


@given(crowds(), st.integers(1, 13))
def test_local_counts_and_dots_lose_nobody(crowd, region):
    points, size, stride = crowd
    dots = dot_map(points, size, stride)
    assert float(dots.sum()) == len(points)
    assert float(local_counts(dots, region).sum()) == len(points)


@given(crowds())
def test_a_mirrored_crowd_has_the_mirrored_density(crowd):
    points, (height, width), stride = crowd
    mirrored = torch.stack([width * stride - points[:, 0], points[:, 1]], dim=1)
    one = density_map(points, (height, width), sigma=4.0, stride=stride)
    other = density_map(mirrored.clamp(min=0), (height, width), sigma=4.0, stride=stride)
    assert torch.allclose(one, other.flip(1), atol=1e-12)
