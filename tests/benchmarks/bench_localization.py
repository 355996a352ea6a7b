"""Scoring 20,000 heads, OT-M against a dense reference, and OT-M against the published procedure on scenes.

python tests/benchmarks/bench_localization.py [scores | otm | accuracy]...
"""

import sys
import time

import numpy as np
import torch
from point_losses_bench import peak_mebibytes
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from workbench.data import open_dataset
from workbench.density import density_map
from workbench.localization import OT_M_EPSILONS, bisection_start, ot_m
from workbench.localization.formats import Heads
from workbench.localization.matching import candidate_pairs, matched_counts
from workbench.localization.ot_m import barycentres
from workbench.localization.scores import nwpu_scores, qnrf_scores, radius_scores
from workbench.points import cell_centres
from workbench.transport import TransportCost, sinkhorn


def crowd(people, *, extent=(3000.0, 2000.0)):
    """Heads spread over a picture, and predictions: four of five near their head, the others anywhere."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor(extent, dtype=torch.float64)
    heads = torch.rand(people, 2, generator=generator, dtype=torch.float64) * spread
    near = heads + 6 * torch.randn(people, 2, generator=generator, dtype=torch.float64)
    far = torch.rand(people, 2, generator=generator, dtype=torch.float64) * spread
    lost = torch.rand(people, 1, generator=generator) < 0.2
    return torch.where(lost, far, near), heads


def timed(function):
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def scores():
    """Seconds and memory of each protocol; peers: a dense assignment, and scipy's bipartite matching."""
    predicted, people = crowd(20000)
    radius = torch.rand(20000, generator=torch.Generator().manual_seed(1)).double() * 40
    heads = Heads(people, radius / 2, radius, torch.ones(20000, dtype=torch.long))
    runs = {
        "NWPU, radii up to 40 px": lambda: nwpu_scores([predicted], [heads]),
        "4 px, with the error": lambda: radius_scores([predicted], [people], 4.0),
        "8 px, with the error": lambda: radius_scores([predicted], [people], 8.0),
        "UCF-QNRF, 1 to 100 px": lambda: qnrf_scores([predicted], [people]),
    }
    print("20,000 heads, 20,000 predictions, one image")
    for name, run in runs.items():
        _, seconds = timed(run)
        print(f"  {name:26s} {seconds:6.2f} s {peak_mebibytes(run):7.0f} MiB", flush=True)
    for radius in (8.0, 20.0, 25.0):
        pairs = candidate_pairs(predicted, people, radius)
        graph = csr_array((np.ones(len(pairs.truth), dtype=bool), (pairs.predicted, pairs.truth)), shape=pairs.sizes)
        peer, slow = timed(lambda graph=graph: (maximum_bipartite_matching(graph) >= 0).sum())
        mine, fast = timed(lambda radius=radius: matched_counts(predicted, people, [radius])[0])
        print(
            f"  matching at {radius:g} px: {fast:.2f} s, scipy's bipartite matching {slow:.2f} s, equal: {mine == peer}"
        )
    small, there = crowd(2000, extent=(900.0, 700.0))
    mine, fast = timed(lambda: matched_counts(small, there, [8.0])[0])
    cost = torch.cdist(small, there).numpy()
    (rows, columns), slow = timed(lambda: linear_sum_assignment(np.where(cost <= 8, -1, 0)))
    peer = (cost[rows, columns] <= 8).sum()
    print(f"  2,000 heads at 8 px: {fast:.3f} s, dense assignment {slow:.3f} s, equal: {mine == peer}")


def otm():
    """A step of OT-M with the screened plan, and with the dense solver in double precision (minutes for 1,000)."""
    for side, number, epsilons in ((64, 250, OT_M_EPSILONS), (128, 1000, OT_M_EPSILONS[:1])):
        generator = torch.Generator().manual_seed(0)
        people = torch.rand(number, 2, generator=generator, dtype=torch.float64) * side * 8
        density = density_map(people, (side, side), sigma=8.0, stride=8)
        found, seconds = timed(lambda density=density: ot_m(density))
        distinct = len(torch.unique(found, dim=0))
        print(f"OT-M, {side} x {side}, {number} people: {seconds:.2f} s in all, {distinct} distinct points", flush=True)
        cells, points = cell_centres((side, side), 1, dtype=torch.float64), bisection_start(density, number)
        mass, ones = density.flatten(), torch.ones(number, dtype=torch.float64)
        for epsilon in epsilons:
            mine, fast = timed(lambda at=(density, cells, points), e=epsilon: barycentres(*at, epsilon=e, tau=40 * e))
            cost, mass = TransportCost("squared")(cells, points), density.flatten()
            plan, slow = timed(lambda c=cost, a=mass, b=ones, e=epsilon: sinkhorn(c, a, b, epsilon=e, tau=40 * e))
            peer = plan.matrix.T @ cells / plan.column_marginal[:, None]
            apart = 8 * float(torch.linalg.vector_norm(mine - peer, dim=1).max())
            print(
                f"  a step at epsilon {epsilon:g}: {fast:.3f} s, dense float64 {slow:.2f} s: {slow / fast:.0f}x, "
                f"{apart:.1e} px apart",
                flush=True,
            )


def accuracy(number=50):
    """Mean distance to the heads on scenes, against the published procedure from three starts."""
    for preset, cells in (("small", 16), ("default", 32)):
        data = open_dataset("scenes", preset=preset, length=number, seed=11)
        for sigma in (4.0, 8.0):
            found = {"here": [], "published": []}
            for index in range(number):
                people = data.points(index).double()
                if not len(people):
                    continue
                density = density_map(people, (cells, cells), sigma=sigma, stride=8)
                found["here"].append(distance(ot_m(density), people))
                runs = (ot_m(density, convention="official", seed=seed) for seed in range(3 if cells == 16 else 1))
                found["published"].append(np.mean([distance(points, people) for points in runs]))
            here, published = (np.array(values) for values in found.values())
            print(
                f"{len(here)} scenes {preset!r}, kernel {sigma:g} px: {here.mean():.2f} px, published "
                f"{published.mean():.2f} px; nearer on {(here < published).mean():.0%} of them",
                flush=True,
            )


def distance(points, people):
    """Mean distance of the best one-to-one assignment, in pixels."""
    cost = torch.cdist(points, people).numpy()
    return cost[linear_sum_assignment(cost)].mean()


if __name__ == "__main__":
    torch.set_num_threads(1)
    parts = {"scores": scores, "otm": otm, "accuracy": accuracy}
    for part in sys.argv[1:] or parts:
        parts[part]()
