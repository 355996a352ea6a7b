import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from workbench.losses import build_loss
from workbench.losses.proximal_patches import divide
from workbench.transport.nearest import FEW_POINTS, grid, neighbours

FORMS = ["l1", "l2", "simplex", "kl", "p2p", "gaussian"]
SIZE = (5, 8)
POINTS = torch.tensor([[11.3, 17.2], [41.0, 30.5], [58.9, 8.1]], dtype=torch.float64)


def random_density(size=SIZE, seed=0, dtype=torch.float64):
    return torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def ones(points):
    return torch.ones(len(points), dtype=torch.float64)


def gradient(loss, density, points, weights=None):
    density = density.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(density[None, None], [points], None if weights is None else [weights]), density)
    return slope


# ---- divide


def test_each_cell_goes_to_its_nearest_annotation():
    patches = divide(POINTS, SIZE, stride=8, weights=ones(POINTS))
    row, column = np.divmod(np.arange(40), 8)
    distance = np.hypot(*(np.stack([column, row])[:, :, None] * 8 + 4 - POINTS.T.numpy()[:, None]))
    # patches are numbered by x, as these annotations happen to be
    assert patches.patch.tolist() == distance.argmin(axis=1).tolist()
    torch.testing.assert_close(patches.distance, torch.tensor(distance.min(axis=1)))
    assert patches.share is None
    assert patches.cells.sum() == 40


def test_annotations_on_one_spot_are_one_of_their_sum():
    points = torch.tensor([[20.0, 12.0], [50.0, 20.0], [20.0, 12.0]], dtype=torch.float64)
    weights = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
    assert divide(points, SIZE, stride=8, weights=weights).people.tolist() == [3.0, 3.0]
    slope = gradient(build_loss("proximal"), torch.zeros(SIZE, dtype=torch.float64), points, weights)
    merged = gradient(build_loss("proximal"), torch.zeros(SIZE, dtype=torch.float64), points[:2], weights[:2] + 2)
    torch.testing.assert_close(slope, merged)


def test_a_cell_between_two_annotations_is_shared():
    # cells at x = 4, 12, 20; annotations at 4 and 20: the middle one is half theirs each
    points = torch.tensor([[4.0, 4.0], [20.0, 4.0]], dtype=torch.float64)
    patches = divide(points, (1, 3), stride=8, weights=ones(points))
    density = torch.tensor([[1.0, 4.0, 3.0]], dtype=torch.float64)
    mass = patches.split(density)
    assert patches.sum(mass).tolist() == [3.0, 5.0]
    torch.testing.assert_close(patches.join(mass, (1, 3)), density)


def test_four_annotations_share_their_centre_equally():
    points = torch.tensor([[9.0, 12.0], [15.0, 12.0], [12.0, 9.0], [12.0, 15.0]], dtype=torch.float64)
    patches = divide(points, (3, 3), stride=8, weights=ones(points))
    middle = patches.cell == 4
    assert patches.share[middle].tolist() == [0.25] * 4
    assert sorted(patches.patch[middle].tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [FEW_POINTS // 2, 4 * FEW_POINTS])
def test_without_the_rule_the_first_of_equally_near_annotations_takes_the_cell(count):
    spots = np.random.default_rng(count).integers(0, 12, (count, 2)) * 8.0  # on the corners of cells, some on one spot
    patches = divide(torch.from_numpy(spots), (12, 12), stride=8, weights=torch.ones(count).double(), fair=False)
    distance = np.linalg.norm(grid((12, 12), 8)[:, None] - spots, axis=2)
    assert (np.sort(distance)[:, 0] == np.sort(distance)[:, 1]).mean() > 0.1
    assert patches.patch.tolist() == distance.argmin(axis=1).tolist()
    assert patches.people.tolist() == [1.0] * count


def test_neighbours_of_few_and_of_many_points():
    rng = np.random.default_rng(0)
    points, cells = rng.random((FEW_POINTS, 2)) * 90, rng.random((50, 2)) * 90
    far = np.concatenate([points, np.full((1, 2), 1e4)])  # one more, and the tree answers
    for found, expected in zip(neighbours(points, cells, 3), neighbours(far, cells, 3), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_people_without_a_cell_join_the_nearest_patch():
    # the second annotation is in the first's cell and nearer to no centre than the first
    points = torch.tensor([[4.5, 4.0], [3.0, 4.0], [20.0, 4.0]], dtype=torch.float64)
    weights = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    patches = divide(points, (1, 3), stride=8, weights=weights)
    assert patches.people.tolist() == [1.5, 2.0]
    density = torch.tensor([[1.5, 0.0, 2.0]], dtype=torch.float64)
    assert build_loss("proximal").terms(density[None, None], [points], [weights])["count"] == 0


def test_costs_lie_between_nothing_and_one():
    for cost in ("exponential", "euclidean", "squared"):
        price = divide(POINTS, (30, 50), stride=8, weights=ones(POINTS), cost=cost).cost
        assert price.min() >= 0
        assert price.max() == pytest.approx(1)
    # a reach that no cell attains: the cost is that of the distance in its units
    patches = divide(POINTS, SIZE, stride=8, weights=ones(POINTS), cost="exponential", radius=1000.0)
    torch.testing.assert_close(patches.cost, torch.expm1(patches.distance / 1000) / math.expm1(1))


# ---- conquer: closed forms against a numerical optimiser


def small_problem(form, tau, people=1.7):
    """One patch of six cells; the loss, its density, costs and p* as vectors."""
    points, weights = torch.tensor([[9.0, 6.5]], dtype=torch.float64), torch.tensor([people], dtype=torch.float64)
    density = random_density((2, 3), seed=3)
    loss = build_loss("proximal", form=form, tau=tau, tau_scale="one", floor=1e-12)
    cost = loss.patches(points, (2, 3), weights).cost.numpy()
    return loss, density, points, weights, cost


def minimised(objective, start, people, bounds=None):
    constraint = {"type": "eq", "fun": lambda p: p.sum() - people}
    found = minimize(
        objective, start, method="SLSQP", bounds=bounds, constraints=constraint, options={"ftol": 1e-15, "maxiter": 500}
    )
    assert found.success
    return found


@pytest.mark.parametrize("tau", [0.3, 4.0])
@pytest.mark.parametrize("form", ["l2", "simplex", "kl"])
def test_closed_form_is_the_numerical_minimum(form, tau):
    loss, density, points, weights, cost = small_problem(form, tau)
    a = density.flatten().numpy()

    def objective(p):
        if form == "kl":
            return cost @ p + tau * (p @ np.log(p / a) - p.sum() + a.sum())
        return cost @ p + tau / 2 * ((p - a) ** 2).sum()

    bounds = {"l2": None, "simplex": [(0, None)] * 6, "kl": [(1e-12, None)] * 6}[form]
    found = minimised(objective, np.full(6, 1.7 / 6), 1.7, bounds)
    target = loss.target(density, points, weights)
    np.testing.assert_allclose(target.flatten(), found.x, atol=2e-5)
    value = loss(density[None, None], [points], [weights]).item()
    if form == "l2":  # the constant that the slides drop
        value += 1.7 * cost.mean() - ((cost - cost.mean()) ** 2).sum() / (2 * tau)
    assert value == pytest.approx(found.fun, abs=1e-8)


@pytest.mark.parametrize("tau", [0.05, 0.6, 4.0])
def test_p2p_is_the_best_of_all_diracs(tau):
    loss, density, points, weights, cost = small_problem("p2p", tau, people=1.0)
    a = density.flatten().numpy()
    diracs = np.eye(6)
    values = diracs @ cost + tau * np.abs(diracs - a).sum(axis=1)
    target = loss.target(density, points, weights).flatten()
    assert target.argmax() == values.argmin() == (cost - 2 * tau * a).argmin()  # the slides' argmin
    assert target.sum() == 1
    assert loss(density[None, None], [points], [weights]).item() == pytest.approx(values.min())


# ---- the identities of the slides


def test_gradient_of_squared_l2_is_c_less_tau_eta_and_that_of_the_dynamic_l2_loss():
    tau = 3.0
    loss = build_loss("proximal", form="l2", tau=tau, tau_scale="one")
    density = random_density()
    slope = gradient(loss, density, POINTS)
    patches = loss.patches(POINTS, SIZE, ones(POINTS))
    a = density.flatten()
    eta = (1 - patches.sum(a - patches.cost / tau)) / patches.cells
    torch.testing.assert_close(slope.flatten(), patches.cost - tau * eta[patches.patch])
    free = density.clone().requires_grad_(True)
    dynamic = tau / 2 * (free - loss.target(density, POINTS)).square().sum()
    torch.testing.assert_close(slope, torch.autograd.grad(dynamic, free)[0])


@pytest.mark.parametrize("form", ["simplex", "kl"])
def test_gradient_is_that_of_the_divergence_at_the_minimiser(form):
    tau = 0.7
    loss = build_loss("proximal", form=form, tau=tau, tau_scale="one", floor=1e-12)
    density = random_density()
    target = loss.target(density, POINTS)
    wanted = tau * (density - target if form == "simplex" else 1 - target / density)
    torch.testing.assert_close(gradient(loss, density, POINTS), wanted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("tau_scale", ["one", "cells"])
def test_l1_is_squared_l2_with_the_count_error_in_tau(tau_scale):
    # the slides: tau = 2 / |1'a - 1| turns the count term into |1'a - 1| / n
    density, points = random_density() * 0.3, POINTS[:1]
    wrong = (density.sum() - 1).abs().item()
    l1 = build_loss("proximal", tau_scale=tau_scale)
    l2 = build_loss("proximal", form="l2", tau=2 / wrong, tau_scale=tau_scale)
    for name, value in l1.terms(density[None, None], [points]).items():
        torch.testing.assert_close(value, l2.terms(density[None, None], [points])[name])
    torch.testing.assert_close(l1.target(density, points), l2.target(density, points))
    count = wrong / (40 if tau_scale == "one" else 1)
    assert l1.terms(density[None, None], [points])["count"].item() == pytest.approx(count)
    # the density itself is the target where the count is right
    right = density / density.sum()
    torch.testing.assert_close(l1.target(right, points), right)


def test_gradient_of_l1_under_near_and_over():
    loss, points = build_loss("proximal"), POINTS[:1]
    background = loss.patches(points, SIZE, ones(points)).centred_cost.reshape(SIZE)
    shape = random_density() / random_density().sum()
    for people, sign in ((0.5, -1), (1.0 + 1e-9, 1), (1.5, 1)):
        torch.testing.assert_close(gradient(loss, shape * people, points), background + sign)


def test_limits_of_tau():
    density, points = random_density(), POINTS[:1]
    nearest = torch.zeros(SIZE, dtype=torch.float64)
    nearest[2, 1] = 1.0  # (11.3, 17.2) lies in row 2, column 1
    for form in ("simplex", "kl"):
        found = build_loss("proximal", form=form, tau=1e-6, tau_scale="one").target(density, points)
        torch.testing.assert_close(found, nearest)
    huge = {"tau": 1e9, "tau_scale": "one"}
    filled = density + (1 - density.sum()) / 40
    torch.testing.assert_close(build_loss("proximal", form="l2", **huge).target(density, points), filled)
    floor = {"floor": 1e-12}
    kl = build_loss("proximal", form="kl", **huge, **floor)
    torch.testing.assert_close(kl.target(density, points), density / density.sum())
    # without bounds p* leaves in the direction of the cheaper cells, faster and faster
    step = build_loss("proximal", form="l2", tau=1e-6, tau_scale="one")
    cost = step.patches(points, SIZE, ones(points)).centred_cost.reshape(SIZE)
    torch.testing.assert_close(step.target(density, points) * 1e-6, -cost, rtol=1e-4, atol=1e-5)


def test_kl_with_a_large_tau_is_dm_counts_row():
    # transport of the normalised density, and tau (1'a - log 1'a - 1) for the count
    tau, density, points = 1e5, random_density(), POINTS[:1]
    loss = build_loss("proximal", form="kl", tau=tau, floor=1e-12)
    cost = loss.patches(points, SIZE, ones(points)).cost
    people = density.sum()
    terms = loss.terms(density[None, None], [points])
    assert terms["transport"].item() == pytest.approx((cost @ density.flatten() / people).item(), rel=1e-5)
    assert terms["divergence"].item() / tau == pytest.approx((people - people.log() - 1).item(), rel=1e-8)
    torch.testing.assert_close(gradient(loss, density, points) / tau, (1 - 1 / people).expand(SIZE), rtol=1e-5, atol=0)


def test_gaussian_form_of_somebody_alone_is_the_l2_loss():
    # the first row of the slides' table: of all Gaussians no narrower than sigma, the narrowest at the annotation
    density, points = random_density(), POINTS[:1]
    for sigma in (3.0, 15.0):
        mine, theirs = build_loss("proximal", form="gaussian", sigma=sigma), build_loss("l2", sigma=sigma)
        torch.testing.assert_close(mine(density[None, None], [points]), theirs(density[None, None], [points]))
        torch.testing.assert_close(mine.target(density, points), theirs.target(points, SIZE))
    squared = divide(points, SIZE, stride=8, weights=ones(points)).distance.square()

    def price(sigma, shift=0.0):
        return (squared @ build_loss("l2", sigma=sigma).target(points + shift, SIZE).flatten()).item()

    assert price(8.0) < min(price(9.0), price(14.0), price(8.0, 6.0), price(8.0, -6.0))


def test_bayesian_row_one_annotation_the_same_count_term():
    # the slides: the Bayesian loss of a patch is a background weight and |1'a - 1|
    density, points = random_density() * 0.2, POINTS[:1]
    proximal = build_loss("proximal").terms(density[None, None], [points])
    bayesian = build_loss("bayesian", background=False).terms(density[None, None], [points])
    torch.testing.assert_close(proximal["count"], bayesian["points"])


# ---- what every loss does


@pytest.mark.parametrize("form", FORMS)
def test_targets_sum_to_the_people_and_terms_to_the_loss(form):
    density, weights = random_density(), torch.tensor([1.0, 2.5, 0.25], dtype=torch.float64)
    loss = build_loss("proximal", form=form)
    torch.testing.assert_close(loss.target(density, POINTS, weights).sum(), weights.sum())
    batch = torch.stack([density, density * 2])[:, None]
    points, people = [POINTS, POINTS[:0]], [weights, weights[:0]]
    total = loss(batch, points, people)
    torch.testing.assert_close(torch.stack(list(loss.terms(batch, points, people).values())).sum(), total)
    alone = [loss(batch[k : k + 1], points[k : k + 1], people[k : k + 1]) for k in range(2)]
    torch.testing.assert_close(total, torch.stack(alone).mean())


def test_nobody_in_the_image():
    density = random_density()[None, None]
    assert build_loss("proximal")(density, [POINTS[:0]]).item() == pytest.approx(density.sum().item())
    assert build_loss("proximal", form="p2p")(density, [POINTS[:0]]).item() == pytest.approx(density.sum().item())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tau_scale", ["one", "cells"])
def test_gradcheck(form, tau_scale):
    density = (random_density((3, 4)) + 0.1).requires_grad_(True)
    loss = build_loss("proximal", form=form, tau_scale=tau_scale)
    points = torch.tensor([[5.0, 7.0], [21.0, 16.0], [12.0, 12.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: loss(a[None, None], [points]), density)


def test_default_is_least_at_one_person_on_the_nearest_cell():
    # minimised over all densities as a linear programme: c'a - mean c'a + t with t >= |1'a - 1|
    loss, points = build_loss("proximal"), torch.tensor([[63.0, 60.0]], dtype=torch.float64)
    slope = loss.patches(points, (16, 16), ones(points)).centred_cost.numpy()
    count = np.ones((1, 256))
    sides = np.block([[count, -1.0], [-count, -1.0]])
    found = linprog(np.append(slope, 1.0), sides, [1, -1])
    assert found.status == 0  # bounded
    wanted = np.zeros((16, 16))
    wanted[7, 7] = 1
    np.testing.assert_allclose(found.x[:-1].reshape(16, 16), wanted, atol=1e-9)
    density = torch.tensor(wanted)[None, None]
    assert loss(density, [points]).item() == pytest.approx(found.fun)


EXTREMES = {
    "nobody": (torch.zeros(0, 2), 0.1),
    "zero density": (torch.tensor([[10.0, 10.0], [100.0, 9.0]]), 0.0),
    "tiny density": (torch.tensor([[10.0, 10.0], [100.0, 9.0]]), 1e-30),
    "far too much": (torch.tensor([[10.0, 10.0], [200.0, 1.0]]), 1000.0),
    "one spot": (torch.full((2000, 2), 17.0), 0.1),
}


@pytest.mark.parametrize("case", EXTREMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [{"form": form, "tau": tau} for form in FORMS[:-1] for tau in (None, 1e-5, 1e5)]
    + [{"form": "gaussian", "sigma": 0.1}, {"convention": "official"}],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_finite(case, dtype, options):
    points, level = EXTREMES[case]
    for size in ((24, 40), (1, 1)):
        limit = torch.tensor([size[1] * 8.0, size[0] * 8.0])
        density = torch.full((1, 1, *size), level, dtype=dtype, requires_grad=True)
        value = build_loss("proximal", **options)(density, [points.minimum(limit).to(dtype)])
        (slope,) = torch.autograd.grad(value, density)
        assert value.dtype == dtype
        assert value.isfinite()
        assert slope.isfinite().all()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "l3"}, "form is 'l3', expected one of 'l1'"),
        ({"tau": 0.0}, "tau is 0.0"),
        ({"tau_scale": "pixels"}, "tau_scale is 'pixels'"),
        ({"cost": "published"}, "cost is 'published'"),
        ({"radius": -1.0}, "radius is -1.0"),
        ({"floor": 0.0}, "floor is 0.0"),
        ({"sigma": float("inf")}, "sigma is inf"),
        ({"convention": "official", "form": "kl"}, "form is 'kl', expected 'l1' with convention 'official'"),
        ({"eps": 1.0}, "no option 'eps'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build_loss("proximal", **options)
