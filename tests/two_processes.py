"""Train with LA-Batch's zooms in some processes on this machine: python tests/two_processes.py PROCESSES FOLDER.

Each process leaves its weights, the zooms that its sampler learnt, and how many samples it was shown.
"""

import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric

from workbench.data import open_dataset
from workbench.data.patches import ImagePatches
from workbench.losses import build_loss
from workbench.models import build_model
from workbench.sampling import build_sampler
from workbench.training.loop import build_optimizer, build_schedule, fit


class Counting(ImagePatches):
    """Patches that count how often one is asked for."""

    shown = 0

    def __getitem__(self, item):
        self.shown += isinstance(item, tuple)
        return super().__getitem__(item)


def train(fabric, folder):
    torch.manual_seed(0)
    patches = Counting(open_dataset("scenes", preset="imbalanced", length=8), (32, 32), per_image=4, flip=True)
    sampler = build_sampler("lada", samples=len(patches), batch_size=8, patches=patches)
    model = build_model("mcnn", width=0.125, norm="group")
    optimizer = build_optimizer(model, "sgd", learning_rate=1e-4)
    fit(
        model,
        build_loss("l2", stride=model.stride),
        patches,
        sampler,
        optimizer=optimizer,
        schedule=build_schedule(optimizer, "constant", epochs=2),
        epochs=2,
        validate=lambda network: {"mae": 0.0},
        fabric=fabric,
        checkpoint=folder / "checkpoint.pt",
    )
    state = {"model": model.state_dict(), "zooms": torch.from_numpy(sampler.noted), "shown": patches.shown}
    torch.save(state, folder / f"rank{fabric.global_rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    processes, folder = int(sys.argv[1]), Path(sys.argv[2])
    strategy = "ddp_spawn" if processes > 1 else "auto"
    Fabric(accelerator="cpu", devices=processes, strategy=strategy).launch(train, folder)
