import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.losses import build_loss
from workbench.losses.bayesian import expected_counts


def scene(seed, heads, size=(7, 11)):
    generator = torch.Generator().manual_seed(seed)
    extent = torch.tensor([size[1] * 8.0, size[0] * 8.0], dtype=torch.float64)
    points = torch.rand(heads, 2, generator=generator, dtype=torch.float64) * extent
    return torch.rand(size, generator=generator, dtype=torch.float64), points


SEED, HEADS = st.integers(0, 10**6), st.integers(1, 12)


@settings(max_examples=30, deadline=None)
@given(SEED, HEADS, st.floats(1e-3, 1e3))
def test_mass_is_kept_and_counts_scale_with_it(seed, heads, factor):
    density, points = scene(seed, heads)
    counts, _ = expected_counts(density, points)
    torch.testing.assert_close(counts.sum(), density.sum())
    torch.testing.assert_close(expected_counts(density * factor, points)[0], counts * factor)


@settings(max_examples=30, deadline=None)
@given(SEED, HEADS, st.booleans())
def test_the_order_of_points_does_not_matter(seed, heads, background):
    density, points = scene(seed, heads)
    order = torch.randperm(heads, generator=torch.Generator().manual_seed(seed))
    weights = torch.rand(heads, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    loss = build_loss("bayesian", background=background)
    torch.testing.assert_close(
        loss(density[None, None], [points], [weights]), loss(density[None, None], [points[order]], [weights[order]])
    )


@settings(max_examples=30, deadline=None)
@given(SEED, HEADS, st.integers(1, 3), st.integers(1, 3))
def test_moving_everything_by_whole_cells_changes_nothing(seed, heads, down, right):
    density, points = scene(seed, heads)
    moved = torch.zeros(10, 14, dtype=torch.float64)
    moved[down : down + 7, right : right + 11] = density
    loss = build_loss("bayesian", background_distance=15.0)
    torch.testing.assert_close(
        loss(moved[None, None], [points + 8.0 * torch.tensor([right, down])]), loss(density[None, None], [points])
    )
