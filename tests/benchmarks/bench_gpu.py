"""What a batch costs on the device that torch sees, a GPU or the CPU: losses, their peers, and their share of a step.

    python tests/benchmarks/bench_gpu.py [--quick] [--images 8] [--rounds 5]

Forward and backward in single precision; on a CPU one thread. The launches and waits are counted by
``workbench.study.launches``, on any device. Three tables:

1. Each loss, all images at once, and on a CPU also as it is there by default.
2. The generalized loss's potentials by ``batched_sinkhorn`` and by geomloss's tensorized SamplesLoss. geomloss's error
   depends on its ``scaling``; the last row is the first one that is as exact, or the slowest. Then dense loops as the
   published codes of DM-Count and the Bayesian loss have them, image by image.
3. The losses' share of a training step.
"""

import argparse
import platform
from collections.abc import Callable

import torch
from geomloss import SamplesLoss
from timing import interleaved_medians, peak_memory, table

from workbench.losses import LOSSES, build_loss
from workbench.losses.bayesian import posterior
from workbench.losses.dm_count import COUNT_GUARD, variation_loss
from workbench.models import build_model
from workbench.points import cell_centres, dot_map
from workbench.study.launches import Launches
from workbench.transport import batched_sinkhorn, sinkhorn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EPSILON, TAU = 0.005, 0.5
SCALINGS = (0.5, 0.9, 0.97, 0.99)


def scene(images: int, people: int, side: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Noise that sums to the people, and people."""
    draw = torch.Generator().manual_seed(people)
    density = torch.rand(images, 1, side, side, generator=draw)
    density = (density * people / density.sum(dim=(2, 3), keepdim=True)).to(DEVICE)
    return density, [(torch.rand(people, 2, generator=draw) * 8 * side).to(DEVICE) for _ in range(images)]


def step(loss: Callable, density: torch.Tensor, points: list[torch.Tensor]) -> Callable[[], torch.Tensor]:
    """A forward and a backward pass, and the gradient."""
    leaf = density.clone().requires_grad_()
    return lambda: torch.autograd.grad(loss(leaf, points), leaf)[0]


def counted(run: Callable[[], object]) -> tuple[str, str]:
    """Launches and waits."""
    with Launches() as count:
        run()
    return str(count.launches), str(count.waits)


def losses(images: int, crowds: list[int], side: int, rounds: int) -> str:
    """The table of the losses."""
    rows = []
    for name in sorted(LOSSES):
        able = "solver" in repr(build_loss(name))
        for convention in ("paper", "official"):
            for people in crowds:
                given = scene(images, people, side)
                ways = {"at once": {"solver": "batched"} if able else {}}
                if able and DEVICE == "cpu":
                    ways["by default"] = {}
                runs = {
                    way: step(build_loss(name, convention=convention, **options), *given)
                    for way, options in ways.items()
                }
                took = interleaved_medians(runs, rounds=rounds, device=DEVICE)
                for way, run in runs.items():
                    memory = f"{peak_memory(run, device=DEVICE) / 2**20:.0f}"
                    rows.append((name, convention, str(people), way, f"{1e3 * took[way]:.1f}", memory, *counted(run)))
    return table(("loss", "convention", "people", "computed", "ms", "MiB", "launches", "waits"), rows)


def potentials(images: int, crowds: list[int], side: int, rounds: int) -> str:
    """Ours and geomloss's, on one cost, until the gradient is as exact."""
    rows = []
    for people in crowds:
        density, points = scene(images, people, side)
        loss = build_loss("generalized")
        cost, cells, places = loss.geometry((side, side), torch.stack(points))
        matrix, a, b = (
            cost.between(cells[:, None], places[:, None]),
            density.flatten(1),
            torch.ones_like(places[..., 0]),
        )
        exact = [
            sinkhorn(
                *(given.double().cpu() for given in (matrix[k], a[k], b[k])),
                epsilon=EPSILON,
                tau=TAU,
                entropy="relative",
            )
            for k in range(images)
        ]
        exact = torch.stack([plan.row_potential for plan in exact])

        def ours(matrix=matrix, a=a, b=b) -> torch.Tensor:
            options = {"epsilon": EPSILON, "tau": TAU, "entropy": "relative", "tolerance": 3e-4, "validate": False}
            return batched_sinkhorn(matrix, a, b, **options).row_potential

        def theirs(scaling: float, cost=cost, a=a, b=b, cells=cells, places=places) -> Callable[[], torch.Tensor]:
            samples = SamplesLoss(
                "sinkhorn", p=1, blur=EPSILON, reach=TAU, scaling=scaling, debias=False, backend="tensorized",
                potentials=True, cost=lambda x, y: cost.between(x[:, :, None], y[:, None]),
            )  # fmt: skip
            everywhere = cells.repeat(len(a), 1, 1)
            return lambda: samples(a, everywhere, b, places)[0].reshape(a.shape)

        def error(run: Callable[[], torch.Tensor], exact=exact) -> float:
            with torch.no_grad():
                found = run().double().cpu()
            return float((torch.exp(-found / TAU) - torch.exp(-exact / TAU)).abs().max() * TAU)

        wanted = error(ours)
        errors = {}
        for scaling in SCALINGS:
            errors[scaling] = error(theirs(scaling))
            if errors[scaling] <= wanted:
                break
        runs = {"ours": ours, "at .5": theirs(0.5), "as exact": theirs(scaling)}
        with torch.no_grad():
            took = interleaved_medians(runs, rounds=rounds, device=DEVICE)
            for name, run in runs.items():
                wrong = {"ours": wanted, "at .5": errors[0.5], "as exact": errors[scaling]}[name]
                label = name if name == "ours" else f"geomloss, scaling {0.5 if name == 'at .5' else scaling:g}"
                cells_of = (f"{took[name] / took['ours']:.1f}x", f"{wrong:.0e}", *counted(run))
                rows.append((str(people), label, f"{1e3 * took[name]:.1f}", *cells_of))
    return table(("people", "solver", "ms", "ratio", "error", "launches", "waits"), rows)


def dense_dm_count(density: torch.Tensor, points: list[torch.Tensor]) -> torch.Tensor:
    """DM-Count as published: 100 iterations of the dense kernel, image by image."""
    total = density.new_zeros(())
    cells = cell_centres((density.shape[2], density.shape[3]), 8, device=density.device)
    for image, people in zip(density[:, 0], points, strict=True):
        count = image.sum()
        with torch.no_grad():
            kernel = torch.exp(-torch.cdist(people, cells).square() / 10)
            a, b = image.flatten() / (count + 1e-8), people.new_full((len(people),), 1 / len(people))
            u = b.clone()
            for _ in range(100):
                v = a / (u @ kernel + 1e-16)
                u = b / (kernel @ v + 1e-16)
            potential = 10 * torch.log(v + 1e-16).reshape(image.shape)
        transport = (potential * image).sum() * count / (count.square() + COUNT_GUARD)
        dots = dot_map(people, (image.shape[0], image.shape[1]), 8)
        total = total + (count - len(people)).abs() + 0.1 * transport + 0.01 * count * variation_loss(image, dots)
    return total


def dense_bayesian(density: torch.Tensor, points: list[torch.Tensor]) -> torch.Tensor:
    """The Bayesian loss as published, without a background: the whole posterior of each image."""
    shares = [posterior(people, (density.shape[2], density.shape[3])).flatten(1) for people in points]
    return sum(
        (share @ image.flatten() - 1).abs().sum() for share, image in zip(shares, density[:, 0], strict=True)
    ) / len(density)


def loops(images: int, crowds: list[int], side: int, rounds: int) -> str:
    """Ours and the published loops."""
    rows = []
    pairs = {
        "dm_count": (build_loss("dm_count", convention="official", solver="batched"), dense_dm_count),
        "bayesian": (build_loss("bayesian", background=False, solver="batched"), dense_bayesian),
    }
    for people in crowds:
        given = scene(images, people, side)
        for name, pair in pairs.items():
            runs = {way: step(loss, *given) for way, loss in zip(("ours", "published"), pair, strict=True)}
            took = interleaved_medians(runs, rounds=rounds, device=DEVICE)
            for way, run in runs.items():
                cells = (f"{1e3 * took[way]:.1f}", f"{took[way] / took['ours']:.1f}x", *counted(run))
                rows.append((name, str(people), way, *cells))
    return table(("loss", "people", "loop", "ms", "ratio", "launches", "waits"), rows)


def share(images: int, side: int, people: int, rounds: int) -> str:
    """How much of a training step the loss is."""
    rows = []
    for model_name in ("vgg19", "csrnet"):
        model = build_model(model_name).to(DEVICE)
        pictures = torch.rand(images, 3, side, side, device=DEVICE)
        density, points = scene(images, people, side // 8)
        stride = model.stride

        def network(model=model, pictures=pictures) -> None:
            model.zero_grad()
            model(pictures).sum().backward()

        runs = {"the network alone": network}
        for name in sorted(LOSSES):
            cells = torch.nn.functional.interpolate(density, size=(side // stride, side // stride))
            runs[name] = step(build_loss(name, stride=stride), cells, points)
        took = interleaved_medians(runs, rounds=rounds, device=DEVICE)
        base = took.pop("the network alone")
        for name, seconds in took.items():
            cells_of = (f"{1e3 * base:.0f}", f"{1e3 * seconds:.1f}", f"{100 * seconds / (base + seconds):.1f} %")
            rows.append((model_name, name, *cells_of))
    return table(("model", "loss", "network, ms", "loss, ms", "share"), rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small maps and batches")
    parser.add_argument("--images", type=int, default=8, help="images of a batch in the first two tables")
    parser.add_argument("--rounds", type=int, default=5, help="turns that the median is taken over")
    given = parser.parse_args()
    torch.set_num_threads(1)
    side, crowds = (24, [50]) if given.quick else (64, [50, 500, 2000])
    images, rounds = (2, 2) if given.quick else (given.images, given.rounds)
    name = (
        torch.cuda.get_device_name() if DEVICE == "cuda" else f"{platform.processor() or platform.machine()}, 1 thread"
    )
    print(f"{name}; torch {torch.__version__}; {images} maps of {side} x {side} cells\n")
    print(losses(images, crowds, side, rounds), "\n")
    print(potentials(images, crowds, side, rounds), "\n")
    print(loops(images, crowds, side, rounds), "\n")
    crop, batch = (128, 2) if given.quick else (512, 16)
    print(f"crops of {crop} px, batch of {batch}\n")
    print(share(batch, crop, 50 if given.quick else 300, rounds))


if __name__ == "__main__":
    main()
