"""The generalized loss beside geomloss's SamplesLoss: time, error of the gradient, peak memory, real layouts.

    python tests/benchmarks/bench_generalized.py [--rounds 7] [--layouts FILE]

Forward and backward, single precision, one thread (and again on a GPU where torch sees one). geomloss runs its
tensorized backend at scaling 0.5 with the same cost, epsilon and tau; at the end of that schedule it is not converged.
POT's translation-invariant solver finds the plan alone, and its error is that of the plan. The official convention has
another peer, which computes the same numbers: geomloss's potentials and all four terms on the dense plan.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from geomloss import SamplesLoss
from ot.unbalanced import sinkhorn_unbalanced
from timing import interleaved_medians, now, peak_memory, table

from workbench.density import density_map
from workbench.losses import build_loss
from workbench.losses.generalized import GeneralizedLoss
from workbench.transport import sinkhorn

SIZES = ((64, 50), (64, 500), (64, 2000), (128, 500))
LAYOUTS = Path(__file__).resolve().parents[3] / "shared/data/localization/shanghaitech_a_gt.txt"


def scene(side: int, count: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A density of blurred heads and noise that sums to the count, and points, the noise's seed fixed."""
    generator = torch.Generator().manual_seed(side + count)
    points = torch.rand(count, 2, generator=generator) * 8 * side
    noise = torch.rand(side, side, generator=generator)
    density = density_map(points, (side, side), sigma=12.0, stride=8) + count * noise / noise.sum()
    return (density / 2)[None, None].to(device), points.to(device)


def samples_loss(loss: GeneralizedLoss, epsilon: float, **options) -> SamplesLoss:
    """geomloss on the loss's own cost."""
    cost = loss.geometry((1, 1), torch.zeros(0, 2))[0]
    return SamplesLoss(
        "sinkhorn", p=1, blur=epsilon, reach=0.5, scaling=0.5, debias=False, backend="tensorized",
        cost=lambda x, y: cost.between(x[:, :, None], y[:, None]), **options,
    )  # fmt: skip


def peer(loss: GeneralizedLoss, density: torch.Tensor, points: torch.Tensor, epsilon: float):
    """Forward and backward of geomloss on the loss's own cost and coordinates."""
    _, cells, places = loss.geometry(density.shape[-2:], points)
    samples = samples_loss(loss, epsilon)
    mass = density.flatten()[None].clone().requires_grad_()
    people = torch.ones_like(places[None, :, 0])

    def run() -> torch.Tensor:
        mass.grad = None
        samples(mass, cells[None], people, places[None]).sum().backward()
        return mass.grad

    return run


def translation_invariant(loss: GeneralizedLoss, density: torch.Tensor, points: torch.Tensor):
    """POT's fastest unbalanced solver, on the loss's own cost, entropy, epsilon and tau: the plan alone."""
    cost, cells, places = loss.geometry(density.shape[-2:], points)
    given = [x.double().cpu().numpy() for x in (density.flatten(), torch.ones(len(places)), cost(cells, places))]

    def run() -> torch.Tensor:
        plan = sinkhorn_unbalanced(
            *given, loss.epsilon, loss.tau, method="sinkhorn_translation_invariant", reg_type="entropy",
            numItermax=10000, stopThr=1e-4,
        )  # fmt: skip
        return torch.from_numpy(plan)

    return run


def dense_peer(loss: GeneralizedLoss, density: torch.Tensor, points: torch.Tensor):
    """The official convention as a reader of the paper would write it: geomloss's potentials, the plan as a matrix."""
    cost, cells, places = loss.geometry(density.shape[-2:], points)
    schedule = loss.schedule
    samples = samples_loss(loss, schedule.blur, potentials=True)
    mass = density.flatten().clone().requires_grad_()
    people = torch.ones_like(places[:, 0])
    scale = schedule.reach + schedule.blur / 2

    def run() -> torch.Tensor:
        mass.grad = None
        with torch.no_grad():
            f, g = (x.flatten() for x in samples(mass[None], cells[None], people[None], places[None]))
            share = ((f[:, None] + g - cost(cells, places)) / schedule.blur).exp()
        plan = mass[:, None] * share
        transport = mass @ -torch.expm1(-f / schedule.reach) + people @ -torch.expm1(-g / schedule.reach)
        entropy = schedule.blur * (plan * (plan + 1e-20).log()).mean()
        pixel = (plan.detach().sum(1) - mass).square().sum()
        point = (plan.sum(0) - people).abs().sum()
        (scale * transport + entropy + loss.tau * (pixel + point)).backward()
        return mass.grad

    return run


def runner(loss: GeneralizedLoss, density: torch.Tensor, points: torch.Tensor):
    """Forward and backward, and the gradient."""
    density = density.clone().requires_grad_()

    def run() -> torch.Tensor:
        density.grad = None
        loss(density, [points]).backward()
        return density.grad

    return run


def plan_of(loss: GeneralizedLoss, density: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """The converged plan in double precision."""
    cost, cells, places = loss.geometry(density.shape[-2:], points.double().cpu())
    mass, people = density.flatten().double().cpu(), torch.ones(len(places), dtype=torch.float64)
    return sinkhorn(cost(cells, places), mass, people, epsilon=loss.epsilon, tau=loss.tau).matrix


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Relative L2 distance."""
    return float(torch.linalg.norm(found.double().cpu() - exact) / torch.linalg.norm(exact))


def compare(device: str, rounds: int) -> str:
    """The table of times, errors and memory."""
    rows = []
    for side, count in SIZES:
        density, points = scene(side, count, device)
        for convention in ("paper", "official"):
            loss = build_loss("generalized", convention=convention)
            runs = {"ours": runner(loss, density, points)}
            runs["geomloss"] = peer(loss, density, points, 0.005 if convention == "paper" else 0.01)
            if convention == "paper" and device == "cpu":
                runs["POT, invariant"] = translation_invariant(loss, density, points)
            if convention == "official":
                runs["dense"] = dense_peer(loss, density, points)
            exact = runner(loss, density.double().cpu(), points.double().cpu())()
            took = interleaved_medians(runs, rounds=rounds, device=device)
            memory = {name: peak_memory(run, device=device) / 2**20 for name, run in runs.items()}
            for name in list(runs)[1:]:
                wrong = error(runs[name]().reshape(exact.shape), exact) if name == "dense" else None
                if name.startswith("POT"):
                    wrong = error(runs[name](), plan_of(loss, density, points))
                rows.append((
                    f"{side} x {side}", str(count), convention, name,
                    f"{1e3 * took['ours']:.1f}", f"{1e3 * took[name]:.1f}", f"{took[name] / took['ours']:.1f}x",
                    f"{error(runs['ours'](), exact):.0e}", "" if wrong is None else f"{wrong:.0e}",
                    f"{memory['ours']:.1f}", f"{memory[name]:.1f}", f"{memory[name] / memory['ours']:.1f}x",
                ))  # fmt: skip
    header = ("map", "points", "convention", "peer", "ours, ms", "peer, ms", "ratio", "our gradient's error",
              "peer's", "ours, MiB", "peer, MiB", "ratio")  # fmt: skip
    return table(header, rows)


def layouts(path: Path) -> list[np.ndarray]:
    """The points of each line ``id n (x y sigma sigma level) * n``, moved to where no coordinate is negative."""
    found = []
    for line in path.read_text().splitlines():
        numbers = np.array(line.split()[2:], np.float32).reshape(-1, 5)[:, :2]
        found.append(numbers - numbers.min(0).clip(max=0))
    return found


def real_layouts(path: Path, device: str) -> str:
    """Total time over real layouts at stride 8, and whether every value and gradient was finite."""
    rows = []
    for convention in ("paper", "official"):
        loss = build_loss("generalized", convention=convention)
        finite, spent = True, 0.0
        for index, numbers in enumerate(layouts(path)):
            points = torch.from_numpy(numbers).to(device)
            width, height = (int(np.ceil((extent + 1) / 8)) for extent in numbers.max(0))
            noise = torch.rand(height, width, generator=torch.Generator().manual_seed(index)).to(device)
            density = density_map(points, (height, width), sigma=12.0, stride=8) + len(points) * noise / noise.sum()
            density = (density / 2)[None, None].requires_grad_()
            start = now(device)
            value = loss(density, [points])
            value.backward()
            spent += now(device) - start
            finite &= bool(torch.isfinite(value)) and bool(torch.isfinite(density.grad).all())
        rows.append((convention, str(len(layouts(path))), f"{spent:.1f}", "yes" if finite else "NO"))
    return table(("convention", "layouts", "seconds in all", "all finite"), rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns that the median is taken over")
    parser.add_argument("--layouts", type=Path, default=LAYOUTS, help="ShanghaiTech A's ground-truth points")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        print(f"\n{device}\n\n{compare(device, options.rounds)}\n")
        if options.layouts.exists():
            print(real_layouts(options.layouts, device))
        else:
            print(f"no layouts at {options.layouts}")


if __name__ == "__main__":
    main()
