import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.losses import build_loss

SEED, HEADS = st.integers(0, 10**6), st.integers(1, 12)


def scene(seed, heads, size=(7, 11)):
    generator = torch.Generator().manual_seed(seed)
    extent = torch.tensor([size[1] * 8.0, size[0] * 8.0], dtype=torch.float64)
    points = torch.rand(heads, 2, generator=generator, dtype=torch.float64) * extent
    weights = torch.rand(heads, generator=generator, dtype=torch.float64) + 0.1
    # powers make anything between an even density and a few peaks
    return torch.rand(size, generator=generator, dtype=torch.float64) ** (seed % 10), points, weights


def transport(density, points, weights, **options):
    density = density.clone().requires_grad_(True)
    value = build_loss("dm_count", tolerance=1e-9, **options).terms(density[None, None], [points], [weights])[
        "transport"
    ]
    return value.detach(), torch.autograd.grad(value, density)[0]


@settings(max_examples=30, deadline=None)
@given(SEED, HEADS, st.floats(0.1, 1e3))
def test_only_distributions_are_transported(seed, heads, factor):
    density, points, weights = scene(seed, heads)
    value, slope = transport(density, points, weights)
    scaled, gentler = transport(density * factor, points, weights * 3)
    torch.testing.assert_close(scaled, value, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gentler * factor, slope, rtol=1e-4, atol=1e-5)
    # more of the same distribution costs nothing
    torch.testing.assert_close((slope * density).sum(), torch.zeros(()).double(), rtol=0, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(SEED, HEADS)
def test_the_order_of_points_and_a_mirror_do_not_matter(seed, heads):
    density, points, weights = scene(seed, heads)
    value, slope = transport(density, points, weights)
    order = torch.randperm(heads, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(transport(density, points[order], weights[order])[1], slope, rtol=1e-5, atol=1e-5)
    mirrored = torch.stack([88 - points[:, 0], points[:, 1]], dim=1)
    again, reverse = transport(density.flip(1), mirrored, weights)
    torch.testing.assert_close(again, value, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(reverse.flip(1), slope, rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(SEED, HEADS, st.integers(0, 3), st.integers(0, 3))
def test_moving_everything_by_whole_cells_changes_nothing(seed, heads, down, right):
    density, points, weights = scene(seed, heads)
    moved = torch.zeros(10, 14, dtype=torch.float64)
    moved[down : down + 7, right : right + 11] = density
    for options in ({}, {"convention": "official"}):
        value, slope = transport(density, points, weights, **options)
        shifted, there = transport(moved, points + 8.0 * torch.tensor([right, down]), weights, **options)
        torch.testing.assert_close(shifted, value, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(there[down : down + 7, right : right + 11], slope, rtol=1e-5, atol=1e-5)
