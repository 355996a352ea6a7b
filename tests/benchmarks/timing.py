"""Interleaved medians and peak memory: the same yardstick for every benchmark.

Competitors take turns, so that whatever else the machine does hits all of them alike; the median of each is taken.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch


def interleaved_medians(
    competitors: Mapping[str, Callable[[], object]], *, rounds: int = 7, device: str = "cpu"
) -> dict[str, float]:
    """Median seconds of each competitor over ``rounds`` turns, after one that does not count.

    On a CPU the time is the calling thread's own (set one thread), so that other processes on the machine are left
    out; on a GPU it is the wall clock around a synchronisation.
    """
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for turn in range(rounds + 1):
        for name, competitor in competitors.items():
            start = now(device)
            competitor()
            spent = now(device) - start
            if turn:
                seconds[name].append(spent)
    return {name: statistics.median(values) for name, values in seconds.items()}


def now(device: str) -> float:
    """Seconds: the thread's own on a CPU, the wall clock after a synchronisation on a GPU."""
    if device == "cpu":
        return time.thread_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_memory(competitor: Callable[[], object], *, device: str = "cpu") -> int:
    """The most bytes that tensors held at once while it ran, beyond what they held before."""
    if device != "cpu":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        competitor()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        competitor()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    return "\n".join([f"| {lines[0]} |", "|" + "|".join("-" * (w + 2) for w in widths) + "|"]
                     + [f"| {line} |" for line in lines[1:]])  # fmt: skip
