"""What the benchmarks of the proximal, Bayesian and DM-Count losses share: scenes, peak memory, real layouts."""

import ctypes
import gc
import os
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits
from timing import now

from workbench.data.noise import gaussian_noise
from workbench.density import density_map

LAYOUTS = Path(__file__).resolve().parents[3] / "shared/data/localization/shanghaitech_a_gt.txt"
SIZES = ((64, 50), (64, 500), (64, 2000), (128, 500))  # cells a side, people
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def scene(side, people, *, stride=8, dtype=torch.float32):
    """A density that more or less follows uniformly spread people, (1, 1, side, side), and the people."""
    generator = torch.Generator().manual_seed(people)
    extent = float(side * stride)
    points = torch.rand(people, 2, generator=generator, dtype=torch.float64) * extent
    moved = gaussian_noise(points, (extent, extent), amount=8.0, generator=generator)
    density = density_map(moved, (side, side), sigma=12.0, stride=stride) + 1e-3
    return density[None, None].to(DEVICE, dtype), points.to(DEVICE, dtype)


def step(loss, density, points):
    """One forward and backward pass: the gradient."""
    leaf = density.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(leaf, [points]), leaf)
    return slope


def one_thread():
    """One thread for torch from here on, and for numpy's matrix products while the result is held."""
    torch.set_num_threads(1)
    return threadpool_limits(1)


def peak_mebibytes(function):
    """Memory that a call needs beyond what stands before it, at its peak."""
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # a child process sees its own peak of resident memory, whoever allocates it: much here is numpy's and scipy's
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            function()  # what it loads and keeps is no part of its need
            gc.collect()
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            before = resident("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")
            function()
            os.write(writing, str(resident("VmHWM") - before).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        found = answer.read()
    if status:
        raise RuntimeError("the measured call failed")
    return int(found) / 1024


def resident(field):
    """A field of this process's status in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise RuntimeError(f"no {field} in the process's status")


def layouts(path, stride=8):
    """Real layouts as (density, points): lines of ``id n (x y sigma sigma level) * n``.

    A few annotations lie above or left of their image; those are left out. The map is as large as the rest need.
    """
    generator = torch.Generator().manual_seed(0)
    for line in Path(path).read_text().splitlines():
        numbers = [float(number) for number in line.split()]
        points = torch.tensor(numbers[2:], dtype=torch.float64).reshape(int(numbers[1]), 5)[:, :2]
        points = points[(points >= 0).all(dim=1)]
        width, height = (int(points[:, axis].max() // stride) + 1 for axis in (0, 1))
        extent = (float(height * stride), float(width * stride))
        moved = gaussian_noise(points, extent, amount=8.0, generator=generator)
        density = density_map(moved, (height, width), sigma=12.0, stride=stride) + 1e-3
        yield density[None, None].to(DEVICE, torch.float32), points.to(DEVICE, torch.float32)


def time_layouts(losses, path):
    """Forward and backward of each loss on every layout: prints the total seconds, and how many were not finite."""
    if not Path(path).exists():
        print(f"no layouts at {path}: left out")
        return
    data = list(layouts(path))
    people = [len(points) for _, points in data]
    print(f"\n{len(data)} real layouts of {min(people)} to {max(people)} people, float32, forward and backward")
    for name, loss in losses.items():
        start, bad, longest = now(DEVICE.type), 0, 0.0
        for density, points in data:
            before = now(DEVICE.type)
            leaf = density.clone().requires_grad_(True)
            value = loss(leaf, [points])
            (slope,) = torch.autograd.grad(value, leaf)
            bad += not (bool(value.isfinite()) and bool(slope.isfinite().all()))
            longest = max(longest, now(DEVICE.type) - before)
        print(f"{name:34s} {now(DEVICE.type) - start:7.2f} s, longest {longest:5.2f} s, {bad} not finite")
