"""A set of 5,000 pictures: preparation under kill -9, memory of a training epoch, images a second.

python tests/benchmarks/bench_data.py [FOLDER [IMAGES]]

Pictures of 240 to 480 pixels a side in the layout of NWPU-Crowd, one of them with 20,033 people, are written below
FOLDER (a temporary one that is removed again unless given) and prepared by a process that is killed again and again.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from workbench.data import collate, open_dataset
from workbench.data.check.validator import reader
from workbench.data.files.preparing import prepare
from workbench.data.patches import TrainingPatches
from workbench.losses import build_loss
from workbench.models import build_model
from workbench.sampling import build_sampler

IMAGES, MOST = 5_000, 20_033
OPTIONS = {"resize": "longest:480", "evaluate_on": "val"}


def write_set(root, images):
    """Pictures with the grain and the file size of photographs, the first nine tenths for training."""
    rng = np.random.default_rng(0)
    (root / "jsons").mkdir(parents=True, exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    numbers = [f"{number:04d}" for number in range(1, images + 1)]
    for number in numbers:
        height, width = (int(side) for side in rng.integers(240, 481, 2))
        people = MOST if number == "0007" else int(min(rng.lognormal(3.5, 1.2), 5_000)) * int(rng.random() > 0.07)
        points = rng.random((people, 2)) * [width, height]
        coarse = rng.integers(40, 200, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        grain = rng.integers(0, 30, (height, width, 1), dtype=np.uint8)
        Image.fromarray(pixels + grain).save(root / "images" / f"{number}.jpg", quality=90)
        said = {"human_num": people, "points": points.round(2).tolist()}
        (root / "jsons" / f"{number}.json").write_text(json.dumps(said))
    cut = images * 9 // 10
    (root / "train.txt").write_text("\n".join(numbers[:cut]))
    (root / "val.txt").write_text("\n".join(numbers[cut:]))


def prepare_in_a_process(root, cache, workers):
    command = [sys.executable, __file__, "--prepare", str(root), str(cache), str(workers)]
    return subprocess.Popen(command, start_new_session=True)


def prepared_files(cache):
    return {p: p.stat().st_mtime_ns for p in Path(cache).rglob("*.npz") if not p.name.startswith(".")}


def kill_and_resume(root, cache, images, workers, kills):
    """Prepare, killed ``kills`` times on the way; returns the seconds of work and how many images were made twice."""
    twice, seconds, kept = 0, 0.0, {}
    for number in range(kills + 1):
        begun = time.perf_counter()
        process = prepare_in_a_process(root, cache, workers)
        goal = images * (number + 1) // (kills + 1) if number < kills else images + 1
        while process.poll() is None and len(kept) < goal:
            time.sleep(0.3)
            now = prepared_files(cache)
            twice += sum(now[path] != changed for path, changed in kept.items())
            kept = now
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seconds += time.perf_counter() - begun
    now = prepared_files(cache)
    twice += sum(now[path] != changed for path, changed in kept.items())
    return seconds, twice, len(now)


def family(pid):
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(grandchild for child in children for grandchild in family(child))]


def proportional_memory():
    """MiB of this process and its children, shared pages counted once."""
    total = 0
    for pid in family(os.getpid()):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:  # ended meanwhile
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def epoch(root, cache, limit, workers):
    """Train narrow csrnet for one epoch; prints images a second and the memory above that of the libraries."""
    model = build_model("csrnet", width=0.125, norm="batch").to(memory_format=torch.channels_last)
    loss = build_loss("l2", stride=model.stride)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    images = torch.zeros(8, 3, 128, 128).to(memory_format=torch.channels_last)
    loss(model(images), [torch.zeros(0, 2)] * 8).backward()  # what the libraries allocate at the first step
    optimizer.step()
    base, peak, running = proportional_memory(), 0.0, True

    def watch():
        nonlocal peak
        while running:
            peak = max(peak, proportional_memory())
            time.sleep(0.2)

    thread = threading.Thread(target=watch)
    thread.start()
    data = open_dataset("nwpu_crowd", root, "train", prepared=cache, **OPTIONS)
    patches = TrainingPatches(data, 128)
    sampler = build_sampler("random", samples=min(len(patches), limit), batch_size=8)
    sampler.start(0)
    loader = DataLoader(patches, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
    begun, seen = time.perf_counter(), 0
    for batch in loader:
        value = loss(model(batch.images.contiguous(memory_format=torch.channels_last)), batch.points)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        seen += len(batch)
    seconds = time.perf_counter() - begun
    running = False
    thread.join()
    print(json.dumps({"images": seen, "per_second": seen / seconds, "base": base, "above": peak - base}))


def loading(root, cache, images, prepared=True):
    """Patches that one process loads in a second of its own time, reading files included."""
    options = {"prepared": cache} if prepared else {}
    data = open_dataset("nwpu_crowd", root, "train", **OPTIONS, **options)
    patches = TrainingPatches(data, 128)
    sampler = build_sampler("random", samples=min(len(patches), images), batch_size=8, seed=1)
    sampler.start(0)
    begun, seen = time.process_time(), 0
    for batch in DataLoader(patches, batch_sampler=sampler, collate_fn=collate):
        seen += len(batch)
    return seen / (time.process_time() - begun)


def consuming():
    """Patches that narrow csrnet trains on, from memory, in a second of one thread."""
    model = build_model("csrnet", width=0.125, norm="batch").to(memory_format=torch.channels_last)
    loss = build_loss("l2", stride=model.stride)
    images = torch.rand(8, 3, 128, 128).to(memory_format=torch.channels_last)
    points = [torch.rand(40, 2) * 128 for _ in range(8)]
    times = []
    for _ in range(25):
        begun = time.process_time()
        loss(model(images), points).backward()
        times.append(time.process_time() - begun)
    return 8 / min(times)  # at its fastest: the hardest to keep up with


def in_a_process(stage, *arguments):
    command = [sys.executable, __file__, f"--{stage}", *map(str, arguments)]
    return json.loads(subprocess.check_output(command, text=True).splitlines()[-1])


def main(folder, images):
    root, cache = folder / "set", folder / "cache"
    begun = time.perf_counter()
    if not (root / "val.txt").is_file():
        write_set(root, images)
    print(f"{images} pictures written in {time.perf_counter() - begun:.0f} s", flush=True)
    seconds, twice, made = kill_and_resume(root, cache, images, workers=2, kills=6)
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) / 2**30
    print(f"prepared {made} in {seconds:.0f} s with six kill -9 between, {twice} twice; {size:.2f} GiB", flush=True)
    whole = in_a_process("epoch", root, cache, images, 1)
    tenth = in_a_process("epoch", root, cache, images // 10, 1)
    for row in (tenth, whole):
        print(
            f"epoch of {row['images']} patches: {row['above']:.0f} MiB above the {row['base']:.0f} of the libraries, "
            f"{row['per_second']:.0f} images/s",
            flush=True,
        )
    supply, raw = loading(root, cache, images), loading(root, cache, images // 10, prepared=False)
    demand = consuming()
    print(
        f"one core loads {supply:.0f} images/s ({raw:.0f} from the JPEG files) and trains csrnet of width 0.125 on "
        f"{demand:.0f}: {supply / demand:.1f} times, {supply / demand / 2:.1f} times what two cores could take",
        flush=True,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1 and sys.argv[1] == "--prepare":
        prepare(reader("nwpu_crowd"), sys.argv[2], sys.argv[3], workers=int(sys.argv[4]), **OPTIONS)
    elif len(sys.argv) > 1 and sys.argv[1] == "--epoch":
        epoch(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        number = int(sys.argv[2]) if len(sys.argv) > 2 else IMAGES
        if len(sys.argv) > 1:
            main(Path(sys.argv[1]), number)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                main(Path(scratch), number)
