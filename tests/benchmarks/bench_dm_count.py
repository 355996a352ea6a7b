"""DM-Count's published iterations against the dense loop, its exact default against a dense solver, real layouts.

python tests/benchmarks/bench_dm_count.py [LAYOUTS]
"""

import sys

import torch
from point_losses_bench import DEVICE, LAYOUTS, SIZES, one_thread, peak_mebibytes, scene, step, time_layouts
from timing import interleaved_medians

from workbench.losses import build_loss
from workbench.points import cell_centres, dot_map
from workbench.transport import sinkhorn


def dense_published(density, points):
    """The published maths with a matrix of annotations times cells, 100 iterations."""
    (points,) = points
    size = density.shape[-2:]
    cells = cell_centres(size, 8, dtype=density.dtype, device=density.device)
    flat, count, people = density.reshape(-1), density.sum(), len(points)
    with torch.no_grad():
        cost = (points[:, None] - cells).square().sum(dim=2)
        kernel = torch.exp(-cost / 10)
        a, u = flat / (count + 1e-8), flat.new_full((people,), 1 / people)
        for _ in range(100):
            v = a / (u @ kernel + 1e-16)
            u = (1 / people) / (kernel @ v + 1e-16)
        potential = 10 * torch.log(v + 1e-16)
        slope = (potential * count - (potential * flat).sum()) / (count.square() + 1e-8)
    dots = dot_map(points.round().clamp(max=8 * size[0] - 1), size, 8).reshape(-1)
    variation = (flat / (count + 1e-6) - dots / (people + 1e-6)).abs().sum() * people
    return (count - people).abs() + 0.1 * (flat * slope).sum() + 0.01 * variation


def dense_exact(density, points):
    """The exact default's transport term by the dense solver, converged likewise; the value alone."""
    mass = density.reshape(-1).double()
    cells = cell_centres(density.shape[-2:], 8, dtype=torch.float64, device=density.device)
    cost = (cells[:, None] - points.double()).square().sum(dim=2)
    due = torch.full((len(points),), 1 / len(points), dtype=torch.float64, device=density.device)
    return sinkhorn(cost, mass / mass.sum(), due, epsilon=10.0, entropy="relative")


def main(path):
    official, exact = build_loss("dm_count", convention="official"), build_loss("dm_count")
    print("published: 100 iterations in the kernel domain, forward and backward, float32")
    titles = ("map", "people", "ms", "dense ms", "faster", "MiB", "dense MiB", "gradients")
    print("{:>9s} {:>6s} {:>8s} {:>9s} {:>7s} {:>7s} {:>9s} {:>10s}".format(*titles))
    for side, people in SIZES:
        density, points = scene(side, people)
        runs = {
            "mine": lambda d=density, p=points: step(official, d, p),
            "dense": lambda d=density, p=points: step(dense_published, d, p),
        }
        seconds = interleaved_medians(runs, rounds=15 if side * people < 50000 else 5, device=DEVICE.type)
        ms = {which: 1e3 * value for which, value in seconds.items()}
        memory = {which: peak_mebibytes(run) for which, run in runs.items()}
        wanted = step(dense_published, density.double(), points.double())
        apart = float((runs["mine"]().double() - wanted).norm() / wanted.norm())
        print(
            f"{side:4d}x{side:<4d} {people:6d} {ms['mine']:8.2f} {ms['dense']:9.2f} {ms['dense'] / ms['mine']:6.1f}x "
            f"{memory['mine']:7.1f} {memory['dense']:9.1f} {apart:10.1e}",
            flush=True,
        )
    print("\nexact: converged, forward and backward, against the dense Newton solver's forward pass alone")
    print("{:>9s} {:>6s} {:>8s} {:>9s} {:>7s} {:>7s}".format(*titles[:6]))
    for side, people in SIZES:
        density, points = scene(side, people)
        runs = {"mine": lambda d=density, p=points: step(exact, d, p)}
        if side * people <= 32000:  # the dense solver takes minutes beyond
            runs["dense"] = lambda d=density, p=points: dense_exact(d, p)
        seconds = interleaved_medians(runs, rounds=1 if "dense" in runs else 5, device=DEVICE.type)
        ms = {which: 1e3 * value for which, value in seconds.items()}
        compared = f"{ms['dense']:9.0f} {ms['dense'] / ms['mine']:6.1f}x" if "dense" in runs else f"{'-':>9s} {'-':>7s}"
        print(
            f"{side:4d}x{side:<4d} {people:6d} {ms['mine']:8.1f} {compared} {peak_mebibytes(runs['mine']):7.1f}",
            flush=True,
        )
    time_layouts({"dm_count official": official, "dm_count": exact}, path)


if __name__ == "__main__":
    with one_thread():
        main(sys.argv[1] if len(sys.argv) > 1 else LAYOUTS)
