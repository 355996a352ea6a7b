"""One loop for every model, loss and sampler.

A run can be stopped at any moment, by ``kill -9`` too: taken up again from its checkpoint it ends with the same
weights as a run that was never stopped. Everything random is drawn from the seed, the epoch and the step
(:mod:`workbench.sampling`), and a checkpoint holds the rest: model, optimizer, schedule, sampler and the state of every
random generator.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from workbench.checks import check_choice, check_positive, check_whole
from workbench.data.sample import CrowdSample, Draw, collate
from workbench.losses.base import CrowdLoss
from workbench.training.checkpoint import load_checkpoint, save_checkpoint
from workbench.training.evaluation import count_people
from workbench.training.health import Trivial, complaints
from workbench.training.objective import Objective

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
SCHEDULES = ("constant", "cosine", "exponential", "halving")


class Step(NamedTuple):
    """Where a run stands; what ``on_step`` is told after each step. The loss is the last one that was read."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


def build_optimizer(model: nn.Module, name: str, *, learning_rate: float, weight_decay: float = 0.0) -> Optimizer:
    """Build an optimizer: "adam", "adamw", or "sgd" with a momentum of 0.9."""
    check_choice(name, tuple(OPTIMIZERS), "optimizer")
    check_positive(learning_rate, "learning_rate")
    check_positive(weight_decay, "weight_decay", zero=True)
    options = {"momentum": 0.9} if name == "sgd" else {}
    return OPTIMIZERS[name](model.parameters(), lr=learning_rate, weight_decay=weight_decay, **options)


def build_schedule(optimizer: Optimizer, name: str, *, epochs: int) -> LRScheduler:
    """Build a schedule by epoch: "constant", "cosine" to zero, "exponential" or "halving".

    "exponential" is 0.95 every 5 epochs (LA sec. 4), "halving" one half from half of the epochs on (HMoDE sec. IV-B).
    """
    check_choice(name, SCHEDULES, "schedule")
    check_whole(epochs, "epochs")
    if name == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    if name == "exponential":
        return torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.95)
    if name == "halving":
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, [max(1, epochs // 2)], gamma=0.5)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)


def average_weights(decay: float) -> Callable[..., None]:
    """An update of averaged weights by the last ones, for :class:`torch.optim.swa_utils.AveragedModel`."""

    @torch.no_grad()
    def update(averaged: list[Tensor], last: list[Tensor], step: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(step)) / (10 + int(step)))
        for mine, new in zip(averaged, last, strict=True):
            if mine.is_floating_point():
                mine.lerp_(new, share)
            else:  # a counter
                mine.copy_(new)

    return update


def mean_density(patches: Dataset[CrowdSample], stride: int, *, samples: int = 128) -> float:
    """People per cell over evenly spread training patches: what a model's head is calibrated to."""
    length = len(patches)  # type: ignore[arg-type]
    chosen = [patches[Draw(rank * length // samples, rank)] for rank in range(samples)]  # type: ignore[index]
    people = sum(sample.count for sample in chosen)
    cells = sum(sample.size[0] * sample.size[1] / stride**2 for sample in chosen)
    return max(people, 1) / cells


def fit(
    model: nn.Module,
    loss: CrowdLoss | Objective,
    patches: Dataset[CrowdSample],
    sampler: Any,
    *,
    optimizer: Optimizer,
    schedule: LRScheduler,
    epochs: int,
    validate: Callable[[nn.Module], Mapping[str, float]],
    trivial: Trivial | None = None,
    fabric: Fabric | None = None,
    workers: int = 0,
    channels_last: bool = True,
    compiler: str | None = None,
    read_every: int | None = None,
    clip_norm: float | None = None,
    average: float = 0.0,
    checkpoint: Path | None = None,
    checkpoint_steps: int | None = None,
    identity: str = "",
    on_step: Callable[[Step], None] | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Train ``model`` with ``loss``; the model ends with the weights of its best validation MAE.

    Args:
        model: the model; moved to Fabric's device.
        loss: its stride must be the model's; an :class:`~workbench.training.objective.Objective` where more is trained
            than one density map.
        patches: training patches of one size, asked by :class:`~workbench.data.sample.Draw`.
        sampler: a batch sampler of :mod:`workbench.sampling`; each process gets its share of every batch, and a sampler
            that learns is told the counts of the whole batch.
        optimizer: see :func:`build_optimizer`.
        schedule: stepped once an epoch.
        epochs: passes of the sampler.
        validate: scores of the model on held-out images, with at least ``mae``; called once an epoch.
        trivial: what predicting the mean gives on those images; an epoch that is no better is warned of, which wants
            ``bias`` among the scores, too.
        fabric: device, precision and processes; one CPU or GPU process if None.
        workers: processes that load data.
        channels_last: memory layout; faster for narrow networks on a CPU and for any on a GPU.
        compiler: backend of ``torch.compile`` for the model; None: not compiled.
        read_every: steps after which losses and terms are read from the device, all in one go; None: 1 on a CPU, 20
            elsewhere. If it is not 1, nothing waits for the device between two reads: the loss checks its values in
            the first step alone, and a loss that is not finite is noticed at the next read.
        clip_norm: largest norm of the gradient, None for any.
        average: decay a step of averaged weights, which are validated and kept in the place of the last ones; 0 for
            the last ones. The average over the first steps is shorter: its decay is at most (1 + step) / (10 + step).
        checkpoint: file to write after each epoch, and to go on from if it is there.
        checkpoint_steps: write it every so many steps, too.
        identity: what the run is; a checkpoint of another one is refused.
        on_step: told after each step.
        on_epoch: told each epoch's row of the history.

    Returns:
        The history, a row an epoch: epoch, loss, each term, the MAE of the training patches as they were shown,
        validation scores (``val_...``), learning rate, seconds; ``warning`` where :func:`complaints` found something.

    Raises:
        ValueError: the checkpoint is another run's.
        RuntimeError: the loss became NaN or infinite; the last checkpoint is left as it was.
    """
    check_whole(epochs, "epochs")
    fabric = fabric or Fabric(accelerator="auto", devices=1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if compiler is not None:
        model.compile(backend=compiler)
    network, optimizer = fabric.setup(model.to(memory_format=layout), optimizer)
    if read_every is None:
        read_every = 1 if fabric.device.type == "cpu" else 20
    check_whole(read_every, "read_every")
    objective = loss if isinstance(loss, Objective) else Objective(loss)
    # The loader's own generator: else each iterator would draw from the global state that a checkpoint restores
    loader = DataLoader(
        patches,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(0),
        pin_memory=fabric.device.type == "cuda",
    )
    sampler.divide(fabric.global_rank, fabric.world_size)
    shadow = AveragedModel(model, multi_avg_fn=average_weights(average), use_buffers=True) if average else None
    run = TrainingRun(model, optimizer, schedule, sampler, identity, shadow)
    keeps = checkpoint is not None and fabric.is_global_zero  # every process holds the same state
    if checkpoint is not None and checkpoint.exists():
        run.load(checkpoint, epochs)
    while run.epoch < epochs:
        started = time.perf_counter()
        network.train()
        sampler.start(run.epoch, run.step)
        for batch in loader:
            batch, step = batch.to(fabric.device), run.step
            images = batch.images.contiguous(memory_format=layout)
            with unchecked(model, run.checked), unchecked(objective.loss, run.checked and read_every > 1):
                density, terms = objective.step(network, images, batch.points)
            value = torch.stack(list(terms.values())).sum()
            counts = torch.stack([batch.counts, count_people(density.detach())])
            run.count({"loss": value, **terms, "train_mae": (counts[1] - counts[0]).abs().mean()}, len(batch))
            if run.step % read_every == 0 or math.isnan(run.loss):
                run.read()
            fabric.backward(value)
            if clip_norm is not None:
                fabric.clip_gradients(network, optimizer, max_norm=clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            if shadow is not None:
                shadow.update_parameters(model)
            if sampler.learns:
                sampler.observe(step, *whole_batch(counts, fabric, len(sampler.batches[step])))
            if on_step:
                on_step(Step(run.epoch + 1, epochs, run.step, len(sampler), run.loss))
            if checkpoint and keeps and checkpoint_steps and run.step % checkpoint_steps == 0:
                run.read()
                run.save(checkpoint, started)
                started = time.perf_counter()
        rate = float(schedule.get_last_lr()[0])
        schedule.step()
        run.read()
        run.gather(fabric)
        row = run.end_epoch(validate(network if shadow is None else shadow.module), rate, started)
        if trivial is not None and (found := complaints(run.history, trivial)):
            row["warning"] = "; ".join(found)
        if checkpoint and keeps:
            run.save(checkpoint)
        if on_epoch:
            on_epoch(row)
    if run.best is not None:
        model.load_state_dict(run.best)
    return run.history


@contextmanager
def unchecked(part: Any, without: bool) -> Iterator[None]:
    """A model or a loss that does not check the values of its arguments meanwhile, if ``without``."""
    before = getattr(part, "validate", True)
    part.validate = before and not without
    try:
        yield
    finally:
        part.validate = before


def whole_batch(share: Float[Tensor, "k n"], fabric: Fabric, size: int) -> Float[np.ndarray, "k size"]:
    """A batch's columns in its own order, from the shares of all processes (:meth:`EpochBatches.divide`).

    Args:
        share: (k, n), this process's columns.
        fabric: whose processes share the batch.
        size: of the whole batch.
    """
    if fabric.world_size > 1:
        most = -(-size // fabric.world_size)
        everyone = fabric.all_gather(F.pad(share, (0, most - share.shape[1])))  # (ranks, k, most)
        share = everyone.permute(1, 2, 0).flatten(1)[:, :size]  # type: ignore[union-attr]
    return share.double().cpu().numpy()


class TrainingRun:
    """What a run carries from step to step, and its checkpoint."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        schedule: LRScheduler,
        sampler: Any,
        identity: str,
        average: AveragedModel | None = None,
    ) -> None:
        self.parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "sampler": sampler}
        self.parts |= {} if average is None else {"average": average}
        self.validated = model if average is None else average.module
        self.identity = identity
        self.epoch = 0
        self.step = 0
        self.images = 0
        self.seconds = 0.0
        self.sums: dict[str, float] = {}
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.checked = False
        self.loss = math.nan
        self.unread: list[tuple[Mapping[str, Tensor], int]] = []

    def count(self, terms: Mapping[str, Tensor], images: int) -> None:
        """Count a step. Its terms stay on the device until :meth:`read`."""
        self.step += 1
        self.checked = True
        self.unread.append(({name: value.detach() for name, value in terms.items()}, images))

    def read(self) -> None:
        """Add the terms of the steps since the last read to the epoch's sums; waits for the device once.

        Raises:
            RuntimeError: the loss of one of these steps is NaN or infinite.
        """
        if not self.unread:
            return
        rows = torch.stack([torch.stack(list(terms.values())) for terms, _ in self.unread]).tolist()
        for row, step in zip(rows, range(self.step - len(rows) + 1, self.step + 1), strict=True):
            self.loss = row[0]
            if not math.isfinite(self.loss):
                raise RuntimeError(
                    f"the loss became {self.loss} at epoch {self.epoch + 1}, step {step}: try a lower "
                    "learning rate or clip_norm; the last checkpoint is left as it was"
                )
        for row, (terms, images) in zip(rows, self.unread, strict=True):
            self.images += images
            for name, value in zip(terms, row, strict=True):
                self.sums[name] = self.sums.get(name, 0.0) + value * images
        self.unread = []

    def gather(self, fabric: Fabric) -> None:
        """Add up the epoch's sums over the processes, so that the history tells of all images."""
        if fabric.world_size > 1:
            mine = torch.tensor([self.images, *self.sums.values()], dtype=torch.float64, device=fabric.device)
            images, *sums = fabric.all_reduce(mine, reduce_op="sum").tolist()  # type: ignore[union-attr]
            self.images, self.sums = round(images), dict(zip(self.sums, sums, strict=True))

    def end_epoch(self, validation: Mapping[str, float], rate: float, started: float) -> dict[str, Any]:
        """Close the epoch: its row of the history, and the best weights so far."""
        row = {
            "epoch": self.epoch + 1,
            **{name: total / self.images for name, total in self.sums.items()},
            **{f"val_{name}": float(value) for name, value in validation.items()},
            "learning_rate": rate,
            "seconds": self.seconds + time.perf_counter() - started,
        }
        if not self.history or row["val_mae"] < min(past["val_mae"] for past in self.history):
            self.best = {name: value.detach().clone() for name, value in self.validated.state_dict().items()}
        self.history.append(row)
        self.epoch, self.step, self.images, self.seconds, self.sums = self.epoch + 1, 0, 0, 0.0, {}
        return row

    def save(self, path: Path, started: float | None = None) -> None:
        """Write the checkpoint, whole or not at all."""
        if started is not None:
            self.seconds += time.perf_counter() - started
        save_checkpoint(path, self.identity, self.parts, {name: getattr(self, name) for name in PROGRESS})

    def load(self, path: Path, epochs: int) -> None:
        """Go on from a checkpoint; errors as in :func:`~workbench.training.checkpoint.load_checkpoint`.

        Raises:
            ValueError: a field that no run of so many epochs can hold.
        """
        values = load_checkpoint(path, self.identity, self.parts, PROGRESS)
        epoch, step, history = (values[name] for name in ("epoch", "step", "history"))
        sound = {
            "epoch": type(epoch) is int and 0 <= epoch <= epochs,
            "step": type(step) is int and 0 <= step <= len(self.parts["sampler"]),
            "images": type(values["images"]) is int and values["images"] >= 0,
            "seconds": isinstance(values["seconds"], float) and 0 <= values["seconds"] < math.inf,
            "sums": isinstance(values["sums"], dict),
            "history": isinstance(history, list) and len(history) == epoch and all("val_mae" in row for row in history),
            "best": (values["best"] is not None) == (epoch != 0),
        }
        for name, right in sound.items():
            if not right:
                found = "" if name == "best" else f" {str(values[name])[:60]}"
                raise ValueError(f"checkpoint: {path} is damaged: its {name}{found} fits no run of {epochs} epochs")
        for name, value in values.items():
            setattr(self, name, value)


PROGRESS = ("epoch", "step", "images", "seconds", "sums", "history", "best")
