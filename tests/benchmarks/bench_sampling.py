"""LA-Batch's cost: python tests/benchmarks/bench_sampling.py

What each way of making batches adds to an epoch of csrnet on patches of 128 px, interleaved (the paper's Table 8: 6 %
for LA-Batch), and the memory and time of hashing 10,000 patches of 180 x 296 x 3 as they stream by. The limit is
for the published width; a narrow csrnet, whose steps are shorter than the zooming of a patch is long, is shown beside.
Patches are loaded by the process that trains: worker processes would hide most of what is left.
"""

import sys
import time

import numpy as np
import torch

from workbench.data import open_dataset
from workbench.data.patches import ImagePatches
from workbench.losses import build_loss
from workbench.models import build_model
from workbench.sampling import build_sampler
from workbench.sampling.lsh import draw_projection, hash_stream
from workbench.study.epoch_timing import epoch_seconds

PATCHES, SIZE = 10_000, (180, 296)
LIMIT = 0.03


def peak_resident():
    """MiB that this process held at most, since it began."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def overhead(width, images, rounds):
    """Seconds an epoch with each sampler, the seconds of setting up LA-Batch, the number of patches."""
    torch.manual_seed(0)
    data = open_dataset("scenes", preset="default", length=images)
    patches = ImagePatches(data, (128, 128), per_image=4, flip=True)
    patches.counts(), [data[index] for index in range(images)]  # made and kept, as any data set is read once
    model = build_model("csrnet", width=width).to(memory_format=torch.channels_last)
    loss = build_loss("l2", stride=model.stride)
    begun = time.process_time()
    samplers = {
        name: build_sampler(name, samples=len(patches), batch_size=12, patches=patches)
        for name in ("la_batch", "random", "ladp", "lada")
    }
    setting_up = time.process_time() - begun
    return epoch_seconds(samplers, model, loss, patches, rounds=rounds), setting_up, len(patches)


def hashing():
    """Seconds of making the patches and hashing them, and MiB at the peak beyond what there was before."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (3, 400, 600), dtype=np.uint8)
    places = rng.integers(0, 200, (PATCHES, 2))
    images = (torch.from_numpy(texture[:, top : top + SIZE[0], left : left + SIZE[1]].copy()) for top, left in places)
    projection = draw_projection(SIZE)
    before = peak_resident()
    begun = time.perf_counter()
    codes = hash_stream(images, projection)
    seconds = time.perf_counter() - begun
    assert len(codes) == PATCHES
    return seconds, peak_resident() - before


def report(width, images, rounds):
    """Print the cost of each sampler; returns LA-Batch's share."""
    times, setting_up, number = overhead(width, images, rounds)
    shares = {name: spent / times["random"] - 1 for name, spent in times.items()}
    for name, spent in times.items():
        print(
            f"csrnet of width {width:g}, {number} patches of 128 px: {name:9} {spent:7.2f} s an epoch "
            f"({shares[name]:+.1%})",
            flush=True,
        )
    print(f"  hashing and partition, once a training: {setting_up:.2f} s for three samplers", flush=True)
    return shares["la_batch"]


def main():
    seconds, grown = hashing()
    print(
        f"{PATCHES} patches of {SIZE[0]} x {SIZE[1]} x 3 made and hashed in {seconds:.1f} s, {grown:.0f} MiB at most",
        flush=True,
    )
    report(0.125, 30, 5)
    share = report(1.0, 6, 3)
    if grown > 1024 or share > LIMIT:
        sys.exit(f"over the limit: {grown:.0f} MiB of 1024, {share:.1%} of {LIMIT:.0%}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
