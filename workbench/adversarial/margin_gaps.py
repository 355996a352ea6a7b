"""How loose margins are: Algorithm 2's, the best attack's and the exact one, sample by sample."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from workbench.adversarial.attacks import Model, attacked, check_inputs, flat, pgd
from workbench.adversarial.exact import exact_margins
from workbench.adversarial.margins import first_crossing, margins
from workbench.adversarial.robustness import Attack
from workbench.adversarial.tasks import CLASSIFICATION, Targets, Task, take
from workbench.checks import check_positive


class MarginGaps(NamedTuple):
    """Three margins of each sample (B,), in the L-infinity norm and within [0, 1].

    Attributes:
        algorithm: Algorithm 2's, along the sign of one gradient; the cap where it found no crossing.
        attack: the smallest distance of any attack's success, Algorithm 2's among them.
        exact: the distance to the nearest input with another answer.
    """

    algorithm: Float[Tensor, "b"]
    attack: Float[Tensor, "b"]
    exact: Float[Tensor, "b"]

    @property
    def gap(self) -> Float[Tensor, "b"]:
        """By how much Algorithm 2's margin is above the exact one, in units of x."""
        return self.algorithm - self.exact


def pgd_margins(
    model: Model,
    x: Float[Tensor, "b *shape"],
    y: Targets,
    *,
    resolution: float = 1 / 1024,
    cap: float = 1.0,
    bracket: float = 1 / 32,
    steps: int = 20,
    task: Task = CLASSIFICATION,
) -> Float[Tensor, "b"]:
    """The smallest budget at which PGD succeeds, by the search of Algorithm 2's margins; an upper bound.

    Args:
        model: from x to logits, or to whatever else the task reads.
        x: (B, ...), in [0, 1].
        y: labels (B,), or points.
        resolution: of the budget.
        cap: the largest budget.
        bracket: the coarse step of the search.
        steps: of the PGD.
        task: the loss to raise, and what is right.

    Returns:
        (B,), in units of x; 0 where the answer is wrong already, the cap where PGD does not succeed.
    """
    check_inputs(x, y)
    with attacked(model):

        def changed(epsilon: Tensor, index: Tensor) -> Tensor:
            targets = take(y, index)
            moved = pgd(model, x[index], targets, epsilon.to(x), steps=steps, task=task)
            with torch.no_grad():
                return ~task.correct(model(moved), targets)

        with torch.no_grad():
            wrong = ~task.correct(model(x), y)
        found = first_crossing(changed, wrong, resolution=resolution, cap=cap, bracket=bracket)
    return found.clamp(max=cap).to(x)


def attack_margins(
    model: Model, x: Float[Tensor, "b *shape"], y: Targets, attack: Attack, *, task: Task = CLASSIFICATION
) -> Float[Tensor, "b"]:
    """How far an attack of least distance went, for instance FAB; infinity where it changed no answer."""
    check_inputs(x, y)
    with attacked(model):
        moved = attack(model, x, y).detach()
        with torch.no_grad():
            right = task.correct(model(moved), y)
    return torch.where(right, torch.inf, flat(moved - x).abs().amax(dim=1))


def margin_gaps(
    model: nn.Module,
    x: Float[Tensor, "b *shape"],
    y: Integer[Tensor, "b"],
    *,
    attacks: Sequence[Attack] = (),
    resolution: float = 1 / 1024,
    cap: float = 1.0,
    seconds: float = 60.0,
) -> MarginGaps:
    """Algorithm 2's margin, the best attack's and the exact one of each sample.

    Args:
        model: a small network of affine layers and ReLUs, see :func:`workbench.adversarial.exact.exact_margins`.
        x: (B, ...), in [0, 1].
        y: labels (B,).
        attacks: of least distance, beside PGD; for instance ``library_attack("FAB", 1.0)``.
        resolution: of Algorithm 2 and PGD.
        cap: of both.
        seconds: the longest time for one integer program.

    Raises:
        TypeError: the model has a layer that is neither affine nor a ReLU.
        RuntimeError: a program was not solved within its time.
    """
    check_positive(cap, "cap")
    algorithm = margins(model, x, y, resolution=resolution, cap=cap, clip=True)
    tried = [algorithm, pgd_margins(model, x, y, resolution=resolution, cap=cap)]
    tried += [attack_margins(model, x, y, attack) for attack in attacks]
    best = torch.stack(tried).amin(dim=0)
    return MarginGaps(algorithm, best, exact_margins(model, x, y, best, clip=True, seconds=seconds).to(x))
