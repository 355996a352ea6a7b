import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.losses import build_loss
from workbench.losses.proximal_patches import divide

FORMS = st.sampled_from(["l1", "l2", "simplex", "kl", "p2p", "gaussian"])
SEED, HEADS = st.integers(0, 10**6), st.integers(1, 40)


def scene(seed, heads, size=(7, 11)):
    """A density, and annotations of which some share a spot and many lie on the corners and edges of cells."""
    generator = torch.Generator().manual_seed(seed)
    extent = torch.tensor([size[1] * 8.0, size[0] * 8.0], dtype=torch.float64)
    points = (torch.rand(heads, 2, generator=generator, dtype=torch.float64) * extent / 4).round() * 4
    weights = torch.rand(heads, generator=generator, dtype=torch.float64) * 2
    return torch.rand(size, generator=generator, dtype=torch.float64), points, weights


@settings(max_examples=50, deadline=None)
@given(SEED, HEADS)
def test_everybody_and_every_cell_is_in_a_patch(seed, heads):
    density, points, weights = scene(seed, heads)
    patches = divide(points, (7, 11), stride=8, weights=weights)
    torch.testing.assert_close(patches.people.sum(), weights.sum())
    torch.testing.assert_close(patches.sum(patches.split(density)).sum(), density.sum())
    torch.testing.assert_close(patches.join(patches.split(density), (7, 11)), density)
    assert patches.cells.min() >= 1
    assert patches.centred_cost.min() > -1  # no patch gains people without end


@settings(max_examples=40, deadline=None)
@given(SEED, HEADS, FORMS)
def test_the_order_of_points_does_not_matter(seed, heads, form):
    density, points, weights = scene(seed, heads)
    order = torch.randperm(heads, generator=torch.Generator().manual_seed(seed))
    loss = build_loss("proximal", form=form)
    torch.testing.assert_close(
        loss(density[None, None], [points], [weights]), loss(density[None, None], [points[order]], [weights[order]])
    )


@settings(max_examples=40, deadline=None)
@given(SEED, HEADS, FORMS)
def test_a_mirrored_scene_has_the_mirrored_gradient(seed, heads, form):
    density, points, weights = scene(seed, heads)
    loss = build_loss("proximal", form=form)

    def slope(a, y):
        a = a.clone().requires_grad_(True)
        return torch.autograd.grad(loss(a[None, None], [y], [weights]), a)[0]

    mirrored = torch.stack([88 - points[:, 0], points[:, 1]], dim=1)
    torch.testing.assert_close(slope(density.flip(1), mirrored), slope(density, points).flip(1))


@settings(max_examples=30, deadline=None)
@given(SEED, HEADS, st.floats(1e-3, 1e3))
def test_twice_the_people_and_density_is_twice_the_l1_loss(seed, heads, factor):
    density, points, weights = scene(seed, heads)
    loss = build_loss("proximal")
    torch.testing.assert_close(
        loss(density[None, None] * factor, [points], [weights * factor]),
        loss(density[None, None], [points], [weights]) * factor,
    )


@settings(max_examples=30, deadline=None)
@given(SEED, HEADS, st.sampled_from(["l1", "l2", "simplex", "kl", "gaussian"]))
def test_targets_sum_to_the_people(seed, heads, form):
    density, points, weights = scene(seed, heads)
    target = build_loss("proximal", form=form).target(density, points, weights)
    torch.testing.assert_close(target.sum(), weights.sum())
    if form in ("simplex", "kl", "gaussian"):
        assert target.min() >= 0
