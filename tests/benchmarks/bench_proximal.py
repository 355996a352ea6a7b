"""The proximal loss against its dense form, and the Bayesian loss against its own; then both on real layouts.

python tests/benchmarks/bench_proximal.py [LAYOUTS]
"""

import sys

import torch
from point_losses_bench import DEVICE, LAYOUTS, SIZES, one_thread, peak_mebibytes, scene, step, time_layouts
from timing import interleaved_medians

from workbench.losses import build_loss
from workbench.points import cell_centres


def dense_proximal(density, points):
    """The default loss ("l1", exponential cost) with a matrix of cells times annotations for every quantity."""
    (points,) = points
    size = density.shape[-2:]
    cells = cell_centres(size, 8, dtype=density.dtype, device=density.device)
    distance = torch.cdist(cells, points)
    member = torch.nn.functional.one_hot(distance.argmin(dim=1), len(points)).to(density)
    number = member.sum(dim=0).clamp(min=1)
    reach = (distance * member).max(dim=0).values.clamp(min=32)
    cost = torch.expm1(distance / reach) * member / torch.expm1(torch.ones(()))
    mean = cost.sum(dim=0) / number
    mass = density.reshape(-1, 1) * member
    return ((cost - mean) * mass).sum() + (mass.sum(dim=0) - 1).abs().sum()


def dense_bayesian(density, points):
    """The Bayesian loss with background, with a matrix of cells times annotations."""
    (points,) = points
    size = density.shape[-2:]
    cells = cell_centres(size, 8, dtype=density.dtype, device=density.device)
    squared = (cells[:, None] - points).square().sum(dim=2)
    nearest = squared.min(dim=1).values.sqrt()
    margin = 0.15 * min(size) * 8
    logits = -torch.cat([squared, (margin - nearest).square()[:, None]], dim=1) / (2 * 8.0**2)
    counts = (torch.softmax(logits, dim=1) * density.reshape(-1, 1)).sum(dim=0)
    return (counts[:-1] - 1).abs().sum() + counts[-1]


def main(path):
    pairs = {
        "proximal": (build_loss("proximal"), dense_proximal),
        "bayesian": (build_loss("bayesian"), dense_bayesian),
    }
    titles = ("loss", "map", "people", "ms", "dense ms", "faster", "MiB", "dense MiB")
    print("{:10s} {:>9s} {:>6s} {:>8s} {:>9s} {:>7s} {:>7s} {:>9s}".format(*titles))
    for name, (loss, peer) in pairs.items():
        for side, people in SIZES:
            density, points = scene(side, people)
            runs = {
                "mine": lambda loss=loss, d=density, p=points: step(loss, d, p),
                "dense": lambda peer=peer, d=density, p=points: step(peer, d, p),
            }
            seconds = interleaved_medians(runs, rounds=25 if side * people < 50000 else 9, device=DEVICE.type)
            ms = {which: 1e3 * value for which, value in seconds.items()}
            memory = {which: peak_mebibytes(run) for which, run in runs.items()}
            print(
                f"{name:10s} {side:4d}x{side:<4d} {people:6d} {ms['mine']:8.2f} {ms['dense']:9.2f} "
                f"{ms['dense'] / ms['mine']:6.1f}x {memory['mine']:7.1f} {memory['dense']:9.1f}",
                flush=True,
            )
    forms = ("l1", "l2", "simplex", "kl", "p2p", "gaussian")
    losses = {f"proximal {form}": build_loss("proximal", form=form) for form in forms}
    losses["proximal official"] = build_loss("proximal", convention="official")
    losses["bayesian"] = build_loss("bayesian")
    losses["bayesian, no background"] = build_loss("bayesian", background=False)
    losses["bayesian official"] = build_loss("bayesian", convention="official")
    time_layouts(losses, path)


if __name__ == "__main__":
    with one_thread():
        main(sys.argv[1] if len(sys.argv) > 1 else LAYOUTS)
