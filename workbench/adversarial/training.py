"""Natural, adversarial and locality-aware adversarial training.

A run that was stopped goes on from its last epoch and ends with the same weights: the seed and the epoch fix what an
epoch draws, and a checkpoint holds the rest.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from workbench.adversarial.attacks import pgd
from workbench.adversarial.margins import margins
from workbench.adversarial.partition import balanced_batches, margin_partition
from workbench.adversarial.tasks import CLASSIFICATION, Targets, Task, take
from workbench.checks import check_choice, check_positive, check_whole
from workbench.sampling.partition import Partition
from workbench.sampling.zoom import zoom_rates
from workbench.training.checkpoint import load_checkpoint, save_checkpoint

# Of the margins that training asks for. Measured on the digits after adversarial training: the first crossings are the
# same as with steps of 1/512, and .4 % of the samples are in another group of LADP than at a resolution of 2**-20.
RESOLUTION, BRACKET = 1 / 512, 1 / 16


@dataclass(frozen=True)
class Recipe:
    r"""What kind of training; the defaults are plain adversarial training with a fixed epsilon.

    Attributes:
        epsilon: radius of the training attack, and the start of every sample's own; None for natural training.
        lada: each sample's epsilon follows its confidence (line 7).
        ladp: batches are drawn evenly over groups of margins and bins of hash codes (line 3).
        start: where epsilon_i begins: "constant" at ``epsilon``, or "margin" at CALCULATE_MARGIN (line 2), brought
            within the bounds.
        bounds: least and largest epsilon_i; ``epsilon`` less and plus a third if None. Without bounds epsilon_i
            grows or shrinks from epoch to epoch.
        strength: lambda of the zoom function, 0 < lambda < 2.
        steepness: gamma of the zoom function.
        threshold: delta, the confidence at which epsilon_i stays.
        sign: "paper": a confident sample gets a smaller epsilon, one that fails a larger one; "flipped": the other way
            round.
        steps: steps T of the training's PGD.
        step_size: of the training's PGD; 2.5 epsilon_i / T if None.
        random_start: of the training's PGD.
        clean_share: weight of the clean samples in the loss. Line 6 trains on both sets; Madry's training has weight 0.
        cap: where the search for margins ends. Many samples have no crossing along their direction. A margin of 1 for
            them would stretch LADP's groups, which have equal width, and leave few groups to all others.
        groups: G of LADP.
        bins: B of LADP.
        warmup: natural epochs before the first attack: margins of random weights say nothing.

    Raises:
        ValueError: an option is out of range.
    """

    epsilon: float | None = 8 / 255
    lada: bool = False
    ladp: bool = False
    start: str = "constant"
    bounds: tuple[float, float] | None = None
    strength: float = 2 / 3
    steepness: float = 10.0
    threshold: float = 0.3
    sign: str = "paper"
    steps: int = 7
    step_size: float | None = None
    random_start: bool = False
    clean_share: float = 0.5
    cap: float = 0.5
    groups: int = 6
    bins: int = 10
    warmup: int = 0

    def __post_init__(self) -> None:
        check_choice(self.start, ("constant", "margin"), "start")
        check_choice(self.sign, ("paper", "flipped"), "sign")
        check_whole(self.warmup, "warmup", least=0)
        check_positive(self.steepness, "steepness")
        check_positive(self.cap, "cap")
        if not 0 < self.strength < 2:
            raise ValueError(f"strength is {self.strength!r}, expected a number between 0 and 2")
        if not -1 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold!r}, expected a number in [-1, 1]")
        if not 0 <= self.clean_share < 1:
            raise ValueError(f"clean_share is {self.clean_share!r}, expected a share in [0, 1)")
        if self.epsilon is None:
            if self.lada or self.ladp:
                raise ValueError("epsilon is None, natural training, expected a radius with lada or ladp")
            return
        check_positive(self.epsilon, "epsilon")
        low, high = self.limits
        if not 0 <= low <= high <= 1:
            raise ValueError(f"bounds is {self.bounds!r}, expected 0 <= least <= largest <= 1")

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest epsilon_i."""
        return self.bounds or ((self.epsilon or 0) * 2 / 3, min((self.epsilon or 0) * 4 / 3, 1.0))


def lada(
    score: Float[Tensor, "b"], epsilon: Float[Tensor, "b"], recipe: Recipe, *, bounded: bool = True
) -> Float[Tensor, "b"]:
    r"""LADA, Algorithm 2 lines 25 to 31: :math:`\epsilon^* = g(\alpha)\,\epsilon`, :math:`\alpha = s - \delta`.

    The zoom function g is that of counting, :func:`workbench.sampling.zoom.zoom_rates`. Its rate is below 1 for a
    confident sample and above 1 for one that fails.

    Args:
        score: :math:`s = z_y - \max_{j \neq y} z_j` of the adversarial samples, see
            :class:`~workbench.adversarial.tasks.Task`.
        epsilon: the samples' epsilon.
        recipe: lambda, gamma, delta, the sign and the bounds.
        bounded: keep within the bounds; the paper states none.
    """
    alpha = (score - recipe.threshold).cpu().double()
    rates = zoom_rates(
        alpha if recipe.sign == "paper" else -alpha, strength=recipe.strength, steepness=recipe.steepness
    )
    rate = torch.from_numpy(rates).to(epsilon)
    return (rate * epsilon).clamp(*recipe.limits) if bounded else rate * epsilon


def fit_by_recipe(
    model: nn.Module,
    x: Tensor,
    y: Targets,
    recipe: Recipe,
    *,
    optimizer: Optimizer,
    schedule: LRScheduler | None = None,
    epochs: int,
    batch_size: int = 60,
    seed: int = 0,
    task: Task = CLASSIFICATION,
    loss: Callable[[Any, Targets], Tensor] | None = None,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    checkpoint: Path | None = None,
    identity: str = "",
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Train ``model`` on (x, y) by a recipe [LA Alg. 2]; the comments give the lines of the algorithm.

    Args:
        model: its own device is used; it ends in eval mode.
        x: (N, ...), in [0, 1], or 8-bit images, which are divided by 255 batch by batch.
        y: labels (N,), or N tensors of points.
        recipe: natural, adversarial or locality-aware.
        optimizer: of the model's parameters.
        schedule: stepped once an epoch.
        epochs: each of ceil(N / batch_size) updates, the warm-up among them.
        batch_size: samples an update.
        seed: of everything that is drawn.
        task: what is attacked, how confident the model is, and what is right.
        loss: of outputs and targets, one number a sample, to train with; the task's own if None.
        augment: from a batch and a generator to the augmented batch, in [0, 1].
        validate: scores of the model, called after each epoch in eval mode.
        checkpoint: file to write after each epoch, and to go on from if it is there.
        identity: what the run is; a checkpoint of another one is refused.
        on_epoch: told each epoch's row.

    Returns:
        The history, a row an epoch: epoch, loss, epsilon (mean over the samples), epsilon_spread, bins (not empty),
        each validation score with ``val_`` before it, seconds.

    Raises:
        ValueError: the checkpoint is another run's, or an option is out of range.
        RuntimeError: the loss became NaN or infinite.
    """
    check_whole(epochs, "epochs")
    check_whole(batch_size, "batch_size")
    check_whole(seed, "seed", least=0)
    if len(x) != len(y) or not len(x):
        raise ValueError(f"y has {len(y)} entries, expected {len(x)}, one a sample, and at least one")
    epsilon, history = torch.full((len(x),), recipe.epsilon or 0.0), []
    parts = {"model": model, "optimizer": optimizer, **({"schedule": schedule} if schedule else {})}
    if checkpoint is not None and checkpoint.exists():
        known = load_checkpoint(checkpoint, identity, parts, ("epsilon", "history"), kind="an adversarial training")
        epsilon, history = known["epsilon"], known["history"]
        if len(epsilon) != len(x):
            raise ValueError(f"checkpoint: {checkpoint} is of {len(epsilon)} samples, expected {len(x)}")
    model.eval()  # but for the update itself
    samples = Samples(model, x, y, recipe, task, augment)
    for epoch in range(len(history), epochs):
        began = time.perf_counter()
        draw = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        adversarial = recipe.epsilon is not None and epoch >= recipe.warmup
        if adversarial and epoch == recipe.warmup and recipe.start == "margin":
            epsilon = samples.margins().clamp(*recipe.limits)  # line 2
        batches: Iterable[Tensor]
        if adversarial and recipe.ladp:
            bins = samples.bins(draw)  # line 3, each epoch anew
            filled, batches = bins.filled, balanced_batches(bins, batch_size, draw)
        else:
            filled, batches = 0, torch.randperm(len(x), generator=draw).split(batch_size)
        total, count = 0.0, 0
        for index in batches:  # lines 4 and 8
            clean, targets = samples.batch(index, draw)
            attacked = samples.attack(clean, targets, epsilon[index], draw) if adversarial else None  # line 5
            value = update(model, optimizer, clean, attacked, targets, loss or task.losses, recipe)  # line 6
            if not math.isfinite(value):
                raise RuntimeError(f"the loss became {value} at epoch {epoch + 1}: try a lower learning rate")
            if attacked is not None and recipe.lada:  # line 7, with the updated weights
                # A sample drawn twice into one batch has the same epsilon twice: the last one written stays
                epsilon[index] = lada(samples.score(attacked, targets), epsilon[index], recipe)
            total, count = total + value * len(index), count + len(index)
        if schedule:
            schedule.step()
        row = {
            "epoch": epoch + 1,
            "loss": total / count,
            "epsilon": float(epsilon.mean()) if adversarial else 0.0,
            "epsilon_spread": float(epsilon.std(correction=0)) if adversarial else 0.0,
            "bins": filled,
            **{f"val_{name}": float(score) for name, score in (validate(model) if validate else {}).items()},
            "seconds": time.perf_counter() - began,
        }
        history.append(row)
        if checkpoint is not None:
            save_checkpoint(checkpoint, identity, parts, {"epsilon": epsilon, "history": history})
        if on_epoch:
            on_epoch(row)
    return history


def update(
    model: nn.Module,
    optimizer: Optimizer,
    clean: Tensor,
    attacked: Tensor | None,
    y: Targets,
    loss: Callable[[Any, Targets], Tensor],
    recipe: Recipe,
) -> float:
    """Line 6: one step on the samples and their adversarial forms, in train mode; gives the loss."""
    model.train()
    optimizer.zero_grad()
    share = recipe.clean_share
    if attacked is None:
        value = loss(model(clean), y).mean()
    elif share == 0:
        value = loss(model(attacked), y).mean()
    else:  # one pass, so that batch statistics are of both sets
        both = torch.cat([y, y]) if isinstance(y, Tensor) else [*y, *y]
        of_clean, of_attacked = loss(model(torch.cat([clean, attacked])), both).chunk(2)
        value = share * of_clean.mean() + (1 - share) * of_attacked.mean()
    value.backward()
    optimizer.step()
    model.eval()
    return float(value.detach())


@dataclass(frozen=True)
class Samples:
    """The training set, and what :func:`fit_by_recipe` asks of it; all on the device and of the dtype of the model."""

    model: nn.Module
    x: Tensor
    y: Targets
    recipe: Recipe
    task: Task
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None

    def batch(self, index: Tensor, draw: torch.Generator | None = None) -> tuple[Tensor, Targets]:
        """The samples at ``index``, augmented where ``draw`` is given."""
        weight = next(self.model.parameters())
        images = self.x[index.to(self.x.device)].to(weight.device)
        images = images.to(weight.dtype) / 255 if images.dtype == torch.uint8 else images.to(weight.dtype)
        if self.augment is not None and draw is not None:
            images = self.augment(images, draw)
        targets = take(self.y, index.to(self.y.device) if isinstance(self.y, Tensor) else index)
        return images, targets.to(weight.device) if isinstance(targets, Tensor) else targets

    def attack(self, x: Tensor, y: Targets, epsilon: Tensor, draw: torch.Generator) -> Tensor:
        """Line 5: PGD with each sample's epsilon."""
        recipe, start = self.recipe, None
        if recipe.random_start:
            seed = int(torch.randint(2**62, (), generator=draw))
            start = torch.Generator(device=x.device).manual_seed(seed)
        options: dict[str, Any] = {"random_start": recipe.random_start, "generator": start, "task": self.task}
        return pgd(self.model, x, y, epsilon.to(x), recipe.step_size, recipe.steps, **options)

    @torch.no_grad()
    def score(self, x: Tensor, y: Targets) -> Tensor:
        """Lines 27 and 28 without delta."""
        return self.task.score(self.model(x), y).cpu()

    def margins(self) -> Tensor:
        """Line 2: the margin of every sample, without augmentation, on the CPU."""
        options: dict[str, Any] = {"resolution": RESOLUTION, "bracket": BRACKET, "cap": self.recipe.cap}
        parts = torch.arange(len(self.x)).split(512)
        found = [margins(self.model, *self.batch(index), task=self.task, **options) for index in parts]
        return torch.cat(found).float().cpu()

    def bins(self, draw: torch.Generator) -> Partition:
        """Line 3: the bin of every sample, by its margin and its hash code."""
        seed = int(torch.randint(2**62, (), generator=draw))
        return margin_partition(self.x, self.margins(), groups=self.recipe.groups, bins=self.recipe.bins, seed=seed)
