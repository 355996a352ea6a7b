import math

import pytest
import torch

from workbench.losses import build_loss
from workbench.losses.bayesian import background_log_likelihood, expected_counts, posterior
from workbench.points import cell_centres

SIZE = (6, 9)
POINTS = torch.tensor([[12.0, 20.0], [40.5, 30.0], [60.0, 8.0]], dtype=torch.float64)


def random_density(size=SIZE, seed=0, dtype=torch.float64):
    return torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_somebody_alone_has_everybody():
    density = random_density()
    counts, empty = expected_counts(density, POINTS[:1])
    torch.testing.assert_close(counts, density.sum()[None])
    assert empty == 0


def test_two_annotations_share_by_their_distances():
    # one cell, centre (4, 4); squared distances 9 and 25; 2 sigma^2 = 16 / log 3, so the odds are 3 to 1
    points = torch.tensor([[4.0, 7.0], [4.0, -1.0 + 10.0]], dtype=torch.float64)
    counts, _ = expected_counts(torch.tensor([[2.0]], dtype=torch.float64), points, sigma=math.sqrt(8 / math.log(3)))
    torch.testing.assert_close(counts, torch.tensor([1.5, 0.5], dtype=torch.float64))


@pytest.mark.parametrize("background", [True, False])
def test_posterior_sums_to_one(background):
    dummy = background_log_likelihood(POINTS, SIZE, sigma=8, stride=8, distance=10) if background else None
    shares = posterior(POINTS, SIZE, background=dummy)
    assert shares.shape == (3 + background, *SIZE)
    torch.testing.assert_close(shares.sum(0), torch.ones(SIZE, dtype=torch.float64))


def test_background_weight_is_both_equations_of_the_supplement():
    # eq. (4) with eq. (7) on one side, eq. (11) with eq. (12) on the other, written out here from the distances
    sigma, distance = 8.0, 14.0
    epsilon = 2 * sigma**2
    dummy = background_log_likelihood(POINTS, SIZE, sigma=sigma, stride=8, distance=distance)
    found = posterior(POINTS, SIZE, sigma=sigma, background=dummy)[-1].flatten()
    radii = torch.cdist(cell_centres(SIZE, 8, dtype=torch.float64), POINTS)
    kernel = (-radii.square() / epsilon).exp()
    nearest = radii.min(dim=1).values
    denominator = (-(distance - nearest).square() / epsilon).exp() + kernel.sum(1)
    eq_11 = (2 * distance / epsilon * nearest - distance**2 / epsilon).exp() * kernel.max(dim=1).values / denominator
    torch.testing.assert_close(found, eq_11, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("distance", [None, 20.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_product_of_kernels_equals_the_posterior(dtype, distance):
    # a map wide enough that its far cells take the log-domain path
    size, points = (5, 60), torch.tensor([[12.0, 20.0], [30.0, 33.0], [31.0, 3.0]], dtype=dtype)
    density = random_density(size, dtype=dtype).requires_grad_(True)
    dummy = None
    if distance is not None:
        dummy = background_log_likelihood(points, size, sigma=4, stride=8, distance=distance)
    shares = posterior(points.double(), size, sigma=4, background=None if dummy is None else dummy.double())
    counts, empty = expected_counts(density, points, sigma=4, background=dummy)
    wanted = (shares * density.detach().double()).sum(dim=(1, 2))
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-11, "atol": 1e-13}
    torch.testing.assert_close(counts.double(), wanted[:3], **tolerance)
    if distance is not None:
        torch.testing.assert_close(empty.double(), wanted[3], **tolerance)
    (slope,) = torch.autograd.grad(counts[1], density)
    torch.testing.assert_close(slope.double(), shares[1], **tolerance)


def test_loss_is_the_generalized_papers_equations():
    # eq. (14), second term, and eq. (15)
    density, weights = random_density(), torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    loss = build_loss("bayesian", background_distance=14.0)
    shares = posterior(POINTS, SIZE, background=loss.background_map(POINTS, SIZE))
    terms = loss.terms(density[None, None], [POINTS], [weights])
    people = (shares * density).sum(dim=(1, 2))
    torch.testing.assert_close(terms["points"], (weights - people[:3]).abs().sum())
    torch.testing.assert_close(terms["background"], people[3])


def test_default_distance_is_a_fraction_of_the_shorter_side():
    density = random_density()[None, None]
    by_ratio, by_distance = build_loss("bayesian"), build_loss("bayesian", background_distance=0.15 * 6 * 8)
    torch.testing.assert_close(by_ratio(density, [POINTS]), by_distance(density, [POINTS]))


@pytest.mark.parametrize("background", [True, False])
def test_a_batch_is_the_mean_of_its_images_and_nobody_is_background(background):
    density = torch.stack([random_density(seed=seed)[None] for seed in range(2)])
    points = [POINTS, POINTS[:0]]
    loss = build_loss("bayesian", background=background)
    alone = [loss(density[image : image + 1], points[image : image + 1]) for image in range(2)]
    torch.testing.assert_close(loss(density, points), torch.stack(alone).mean())
    torch.testing.assert_close(alone[1], density[1].sum())
    torch.testing.assert_close(torch.stack(list(loss.terms(density, points).values())).sum(), loss(density, points))


@pytest.mark.parametrize("options", [{}, {"background": False}, {"convention": "official"}])
def test_gradcheck(options):
    density = random_density((3, 4)).requires_grad_(True)
    loss = build_loss("bayesian", sigma=5.0, **options)
    points = torch.tensor([[5.0, 7.0], [21.0, 16.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: loss(a[None, None], [points]), density)


EXTREMES = {
    "nobody": (torch.zeros(0, 2), 0.1),
    "zero density": (torch.tensor([[10.0, 10.0]]), 0.0),
    "tiny density": (torch.tensor([[10.0, 10.0]]), 1e-30),
    "far too much": (torch.tensor([[10.0, 10.0], [200.0, 1.0]]), 1000.0),
    "one spot": (torch.full((2000, 2), 17.0), 0.1),
}


@pytest.mark.parametrize("case", EXTREMES)
@pytest.mark.parametrize("size", [(24, 40), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"background": False}, {"convention": "official"}])
def test_finite(case, size, dtype, options):
    points, level = EXTREMES[case]
    limit = torch.tensor([size[1] * 8.0, size[0] * 8.0])
    density = torch.full((1, 1, *size), level, dtype=dtype, requires_grad=True)
    value = build_loss("bayesian", **options)(density, [points.to(dtype).minimum(limit.to(dtype))])
    (slope,) = torch.autograd.grad(value, density)
    assert value.dtype == dtype
    assert value.isfinite()
    assert slope.isfinite().all()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"background_distance": -1.0}, "background_distance is -1.0"),
        ({"background_ratio": float("nan")}, "background_ratio is nan"),
        ({"background_ratio": 0.1, "background_distance": 3.0}, "at most one"),
        ({"form": "l1"}, "no option 'form'"),
        ({"convention": "theirs"}, "convention is 'theirs'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build_loss("bayesian", **options)


@pytest.mark.bad_input
def test_bad_points():
    density = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match=r"points\[0\] has 1 of 1 points outside"):
        build_loss("bayesian")(density, [torch.tensor([[99.0, 1.0]])])
    with pytest.raises(ValueError, match="no entries"):
        posterior(torch.zeros(0, 2), (2, 2))
