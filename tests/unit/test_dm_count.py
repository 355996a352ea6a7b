import resource
import time

import numpy as np
import pytest
import scipy.special
import torch
from scipy.optimize import linprog

from workbench.losses import build_loss
from workbench.losses.dm_count import count_loss, normalised, variation_loss
from workbench.transport import sinkhorn
from workbench.transport.dm_count import published_grid_plan, solve_grid
from workbench.transport.nearest import boxes, grid, near

SIZE = (6, 9)
POINTS = torch.tensor([[12.0, 20.0], [40.5, 30.0], [60.0, 8.0]], dtype=torch.float64)


def random_density(size=SIZE, seed=0, dtype=torch.float64):
    return torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradient(function, density):
    density = density.clone().requires_grad_(True)
    return torch.autograd.grad(function(density), density)[0]


# ---- count and variation


def test_the_counting_gradient_is_one_everywhere():
    # [GL supp 2]
    people = torch.tensor(3.0, dtype=torch.float64)
    for scale, sign in ((0.01, -1.0), (10.0, 1.0)):
        density = random_density() * scale
        slope = gradient(lambda a: count_loss(a, people), density)
        torch.testing.assert_close(slope, torch.full(SIZE, sign, dtype=torch.float64))
    only_count = build_loss("dm_count", ot_weight=0.0, tv_weight=0.0)
    slope = gradient(lambda a: only_count(a[None, None], [POINTS]), random_density() * 10)
    torch.testing.assert_close(slope, torch.ones(SIZE, dtype=torch.float64))


def test_variation_of_known_distributions():
    dots = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    assert variation_loss(5 * dots, dots).item() == pytest.approx(0, abs=1e-8)
    assert variation_loss(torch.tensor([[0.0, 2.0], [0.0, 0.0]], dtype=torch.float64), dots).item() == pytest.approx(1)
    even = torch.ones(2, 2, dtype=torch.float64)
    assert variation_loss(even, dots).item() == pytest.approx(0.5)  # |1/4 - 1/4| + 1/4 + 1/4 + |1/4 - 3/4|, halved
    assert normalised(torch.zeros(2, 2)).sum() == 0


# ---- the exact transport


def test_one_point_takes_everything_at_its_squared_distance():
    density = random_density()
    plan = solve_grid(density.numpy(), POINTS[:1].numpy(), np.ones(1), stride=8, epsilon=10.0)
    squared = ((grid(SIZE, 8) - POINTS[:1].numpy()) ** 2).sum(axis=1).reshape(SIZE)
    mean = (density.numpy() * squared).sum() / density.sum().item()
    assert plan.value == pytest.approx(mean)
    np.testing.assert_allclose(plan.row_potential, squared - mean, atol=1e-9)


def test_a_permutation_is_recovered():
    # each point has as much as the cell it lies in the centre of: nothing moves, at any cost but the entropy's
    cells, people = [3, 17, 40, 53], np.array([1.0, 2.0, 3.0, 4.0])
    mass = np.zeros(54)
    mass[cells] = people
    plan = solve_grid(mass.reshape(SIZE), grid(SIZE, 8)[cells], people, stride=8, epsilon=10.0)
    share = people / 10
    assert plan.value == pytest.approx(-10 * (share @ np.log(share)), rel=1e-9)  # KL of a diagonal plan
    assert plan.converged


@pytest.mark.parametrize("kind", ["even", "sparse", "far"])
def test_the_unregularised_optimum_is_the_limit(kind):
    mass = random_density().numpy()
    points, people = POINTS.numpy(), np.array([1.0, 2.0, 1.5])
    if kind == "sparse":
        mass = mass**12 + 1e-9
    if kind == "far":
        points = points / 6
    plan = solve_grid(mass, points, people, stride=8, epsilon=0.01, tolerance=1e-9)
    cost = ((grid(SIZE, 8)[:, None] - points) ** 2).sum(axis=2)
    rows = np.kron(np.eye(54), np.ones(3))
    columns = np.kron(np.ones(54), np.eye(3))
    marginals = np.concatenate([mass.ravel() / mass.sum(), people / people.sum()])
    exact = linprog(cost.ravel(), A_eq=np.vstack([rows, columns])[:-1], b_eq=marginals[:-1])  # one is implied
    assert exact.status == 0
    assert plan.converged
    assert plan.value == pytest.approx(exact.fun, abs=0.05)
    assert plan.value >= exact.fun - 1e-9


def test_potentials_satisfy_both_marginals():
    generator = np.random.default_rng(0)
    mass, points = generator.random((20, 24)) ** 6, generator.random((60, 2)) * [192, 160]
    people = generator.random(60) + 0.2
    plan = solve_grid(mass, points, people, stride=8, epsilon=10.0, tolerance=1e-8)
    assert plan.converged
    a, b = mass.ravel() / mass.sum(), people / people.sum()
    cost = ((grid((20, 24), 8)[:, None] - points) ** 2).sum(axis=2)
    matrix = a[:, None] * b * np.exp((plan.row_potential.reshape(-1, 1) + plan.column_potential - cost) / 10)
    np.testing.assert_allclose(matrix.sum(axis=1), a, rtol=1e-9)
    np.testing.assert_allclose(matrix.sum(axis=0), b, rtol=1e-7)
    value = (matrix * cost).sum() + 10 * scipy.special.xlogy(matrix, matrix / (a[:, None] * b)).sum()
    assert plan.value == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("seed", [0, 2, 9, 14, 16, 18, 66, 98])
def test_problems_that_fall_apart_converge(seed):
    # few massive cells, clustered points, costs of up to a million epsilon: parts that exchange next to nothing
    generator = np.random.default_rng(seed)
    size = generator.integers(3, 40, 2)
    count = generator.integers(1, 80)
    points = generator.uniform(0, 1, (count, 2)) * size[::-1] * 8 * generator.choice([1, 0.2])
    mass = generator.random(size) ** generator.integers(0, 30)
    if seed % 3 == 0:
        mass *= generator.random(size) < 0.1
        mass[0, 0] += 1e-9
    epsilon = float(10 ** generator.uniform(-2, 1))
    plan = solve_grid(mass, points, generator.random(count) + 0.01, stride=8, epsilon=epsilon)
    assert plan.converged
    assert plan.residual <= 1e-6


@pytest.mark.parametrize("seed", [1010, 1361, 1432])
def test_newtons_matrix_keeps_the_small_shares_of_a_few_points(seed):
    # epsilon of .02 to .05: what joins the parts of these problems is shares below e^-9
    generator = np.random.default_rng(seed)
    size, count = generator.integers(1, 48, 2), generator.integers(1, 200)
    points = generator.uniform(0, 1, (count, 2)) * size[::-1] * 8 * generator.choice([1, 0.2])
    mass = generator.random(size) ** generator.integers(0, 30)
    if seed % 3 == 0:
        mass *= generator.random(size) < 0.1
        mass[0, 0] += 1e-9
    epsilon = float(10 ** generator.uniform(-2, 1.5))
    assert solve_grid(mass, points, generator.random(count) + 0.01, stride=8, epsilon=epsilon).converged


@pytest.mark.parametrize("clustered", [False, True])
def test_the_exact_solution_is_the_dense_solvers(clustered):
    generator = np.random.default_rng(3)
    mass, points = generator.random((14, 17)) ** 3, generator.random((160, 2)) * [136, 112]
    if clustered:
        points = np.clip(points[generator.integers(4, size=160)] + generator.normal(size=(160, 2)) * 6, 0, 112)
    plan = solve_grid(mass, points, np.ones(160), stride=8, epsilon=10.0, tolerance=1e-8)
    a, b = torch.tensor(mass.ravel() / mass.sum()), torch.full((160,), 1 / 160, dtype=torch.float64)
    cost = torch.tensor(((grid((14, 17), 8)[:, None] - points) ** 2).sum(axis=2))
    dense = sinkhorn(cost, a, b, epsilon=10.0, entropy="relative", tolerance=1e-9)
    wanted = dense.row_potential - a @ dense.row_potential
    torch.testing.assert_close(torch.tensor(plan.row_potential).flatten(), wanted, rtol=1e-5, atol=1e-4)
    assert plan.value == pytest.approx(float(a @ dense.row_potential + b @ dense.column_potential), rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "clustered", "seconds"), [(20000, False, 5), (12000, False, 5), (6000, True, 5)])
def test_large_crowds_take_seconds(count, clustered, seconds):
    # measured: 3.3, 1.5 and 2.7 s
    generator = np.random.default_rng(0)
    points = generator.random((count, 2)) * 1024
    if clustered:
        centres = points[:12][generator.integers(12, size=count)]
        points = np.clip(centres + generator.normal(size=(count, 2)) * 30, 0, 1024)
    mass = generator.random((128, 128))
    started = time.thread_time()
    plan = solve_grid(mass, points, np.ones(count), stride=8, epsilon=10.0)
    assert time.thread_time() - started < seconds
    assert plan.converged
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 * 2**20  # KiB, of the whole process


@pytest.mark.parametrize("spread", [0.0, 30.0, 3000.0])
def test_the_search_finds_all_pairs_in_the_band_and_no_other(spread):
    # against all pairs: scores that differ more than any squared distance leave some points without a cell
    generator = np.random.default_rng(4)
    cells, spots = grid((13, 21), 8), generator.random((90, 2)) * [168, 104]
    score = generator.random(90) * spread
    layers, order = boxes(cells, generator.random(len(cells)), 8)
    size, column, cost = near(layers, spots, score, 200.0)
    squared = ((cells[order][:, None] - spots) ** 2).sum(axis=2)
    wanted = squared - score <= (squared - score).min(axis=1, keepdims=True) + 200.0
    np.testing.assert_array_equal(size, wanted.sum(axis=1))
    found = np.zeros_like(wanted)
    found[np.repeat(np.arange(len(cells)), size), column] = True
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(cost, squared[np.repeat(np.arange(len(cells)), size), column])


def test_boxes_hold_their_places():
    generator = np.random.default_rng(5)
    places, mass = generator.random((70, 2)) * [300, 90], generator.random(70)
    layers, order = boxes(places, mass, 8.0)
    index = np.arange(70)
    for power, layer in enumerate(layers):
        assert layer.reach == 8 * 2**power / 2
        assert (abs(places[order] - layer.middle[index]) <= layer.reach).all()
        np.testing.assert_allclose(layer.mass, np.bincount(index, mass[order]))
        for axis in (0, 1):
            moment = np.bincount(index, mass[order] * places[order, axis])
            np.testing.assert_allclose(layer.place[:, axis] * layer.mass, moment)
        index = layer.parent[index]
    assert len(layers[-1].mass) == 1


def test_points_on_one_spot_are_one_point():
    mass, spots = random_density().numpy(), POINTS.numpy()[[0, 1, 1, 2, 0]]
    together = solve_grid(mass, POINTS.numpy(), np.array([2.0, 2.0, 1.0]), stride=8, epsilon=10.0)
    apart = solve_grid(mass, spots, np.ones(5), stride=8, epsilon=10.0)
    np.testing.assert_allclose(apart.row_potential, together.row_potential, atol=1e-4)
    np.testing.assert_allclose(apart.column_potential, together.column_potential[[0, 1, 1, 2, 0]], atol=1e-4)


# ---- the published iterations


@pytest.mark.parametrize("iterations", [3, 100])
def test_the_sparse_iterations_are_the_dense_ones(iterations):
    generator = np.random.default_rng(1)
    density, points = generator.random((16, 20)), generator.random((9, 2)) * [160, 128]
    found = published_grid_plan(density, points, np.ones(9), stride=8, epsilon=10.0, iterations=iterations)
    kernel = np.exp(-((grid((16, 20), 8) - points[:, None]) ** 2).sum(axis=2) / 10)
    a, u = density.ravel() / (density.sum() + 1e-8), np.full(9, 1 / 9)
    for _ in range(iterations):
        v = a / (u @ kernel + 1e-16)
        u = (1 / 9) / (kernel @ v + 1e-16)
    np.testing.assert_allclose(found.row_potential.ravel(), 10 * np.log(v + 1e-16), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.column_potential, 10 * np.log(u + 1e-16), rtol=1e-5, atol=1e-6)


# ---- the loss


def test_terms_are_the_papers():
    density, weights = random_density(), torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    terms = build_loss("dm_count").terms(density[None, None], [POINTS], [weights])
    plan = solve_grid(density.numpy(), POINTS.numpy(), weights.numpy(), stride=8, epsilon=10.0)
    assert terms["count"].item() == pytest.approx(density.sum().item() - 3.5)
    assert terms["transport"].item() == pytest.approx(0.1 * plan.value)
    dots = torch.zeros(SIZE, dtype=torch.float64)
    dots[2, 1], dots[3, 5], dots[1, 7] = 1.0, 2.0, 0.5
    variation = (density / density.sum() - dots / 3.5).abs().sum() / 2
    assert terms["variation"].item() == pytest.approx(0.01 * 3.5 * variation.item(), rel=1e-6)


def test_the_transport_gradient_is_that_of_its_value():
    # finite differences of the converged objective, through a solver that knows nothing of gradients
    loss = build_loss("dm_count", tolerance=1e-10)
    density = random_density((3, 5)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda a: loss(a[None, None], [POINTS.clamp(max=24)]), density, rtol=1e-3)


def test_zero_density_has_the_count_alone():
    density = torch.zeros(1, 1, *SIZE, dtype=torch.float64, requires_grad=True)
    value = build_loss("dm_count")(density, [POINTS])
    assert value.item() == pytest.approx(3 + 0.01 * 3 / 2)
    torch.testing.assert_close(torch.autograd.grad(value, density)[0], -torch.ones_like(density))


@pytest.mark.parametrize("convention", ["paper", "official"])
def test_a_batch_and_its_images(convention):
    density = torch.stack([random_density(seed=seed)[None] for seed in range(3)])
    points = [POINTS, POINTS[:0], POINTS[1:]]
    loss = build_loss("dm_count", convention=convention)
    alone = [loss.terms(density[k : k + 1], points[k : k + 1]) for k in range(3)]
    terms = loss.terms(density, points)
    for name in ("count", "transport", "variation"):
        torch.testing.assert_close(terms[name], torch.stack([one[name] for one in alone]).mean(), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(torch.stack(list(terms.values())).sum(), loss(density, points))
    assert alone[1]["count"] == density[1].sum()
    assert alone[1]["transport"] == alone[1]["variation"] == 0
    # the published transport term is summed over the batch: its gradient does not shrink with it
    slopes = [
        gradient(lambda a, p=p: loss.terms(a, p)["transport"], batch)[0]
        for batch, p in ((density, points), (density[:1], points[:1]))
    ]
    torch.testing.assert_close(slopes[0] * (3 if convention == "paper" else 1), slopes[1])


def test_the_published_potential_levels_off_and_the_exact_one_does_not():
    # beyond 30 pixels the published potential depends on the density alone, the exact one on the distance
    density = torch.full((8, 40), 0.01, dtype=torch.float64)
    points, weights = torch.tensor([[20.0, 30.0]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    flat, _ = build_loss("dm_count", convention="official").potential(density, points, weights)
    steep, _ = build_loss("dm_count").potential(density, points, weights)
    assert (flat[:, 10:] - flat[0, -1]).abs().max() < 1e-9
    assert (steep[:, 11:] - steep[:, 10:-1]).min() > 100


EXTREMES = {
    "nobody": (torch.zeros(0, 2), 0.1),
    "zero density": (torch.tensor([[10.0, 10.0], [100.0, 9.0]]), 0.0),
    "tiny density": (torch.tensor([[10.0, 10.0], [100.0, 9.0]]), 1e-30),
    "far too much": (torch.tensor([[10.0, 10.0], [200.0, 1.0]]), 1000.0),
    "far too little": (torch.tensor([[10.0, 10.0], [200.0, 1.0]]), 1e-6),
    "one spot": (torch.full((2000, 2), 17.0), 0.1),
}


@pytest.mark.parametrize("case", EXTREMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"reg": 1e-3}, {"reg": 1e4}, {"convention": "official"}])
def test_finite(case, dtype, options):
    points, level = EXTREMES[case]
    for size in ((24, 40), (1, 1)):
        limit = torch.tensor([size[1] * 8.0, size[0] * 8.0])
        density = torch.full((1, 1, *size), level, dtype=dtype, requires_grad=True)
        value = build_loss("dm_count", **options)(density, [points.minimum(limit).to(dtype)])
        (slope,) = torch.autograd.grad(value, density)
        assert value.dtype == dtype
        assert value.isfinite()
        assert slope.isfinite().all()


def test_weights_of_nothing_are_nobody():
    density = random_density()[None, None]
    loss = build_loss("dm_count")
    assert loss(density, [POINTS], [torch.zeros(3, dtype=torch.float64)]) == loss(density, [POINTS[:0]])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reg": 0.0}, "reg is 0.0"),
        ({"ot_weight": -0.1}, "ot_weight is -0.1"),
        ({"tv_weight": float("nan")}, "tv_weight is nan"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"iterations": 0}, "iterations is 0"),
        ({"sigma": 8.0}, "no option 'sigma'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build_loss("dm_count", **options)


@pytest.mark.bad_input
def test_no_potential_without_people():
    with pytest.raises(ValueError, match="weights to 0, expected both to be above zero"):
        build_loss("dm_count").potential(random_density(), POINTS[:0], torch.zeros(0))
