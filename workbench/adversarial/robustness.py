"""Robustness: accuracy under attack, with confidence intervals, and the worst of several attacks.

An attack is a function of (model, x, y) that returns inputs within its budget of x; None is no attack.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from workbench.adversarial.attacks import Model, attacked, check_inputs, flat
from workbench.adversarial.tasks import CLASSIFICATION, Targets, Task, take
from workbench.checks import check_choice, check_positive, check_whole

Attack = Callable[[Model, Tensor, Targets], Tensor]


def with_budget(attack: Callable[..., Tensor], epsilon: float, **options: Any) -> Attack:
    """An attack of (model, x, y, epsilon), as :func:`workbench.adversarial.pgd` is, with its budget and options."""
    return lambda model, x, y: attack(model, x, y, epsilon, **options)


class Accuracy(NamedTuple):
    """A share of right answers and its 95 % confidence interval (Wilson's)."""

    share: float
    low: float
    high: float
    samples: int


def wilson(right: int, samples: int) -> Accuracy:
    """The share of ``right`` answers with Wilson's 95 % interval, which is in [0, 1] for any count."""
    from scipy.stats import binomtest

    check_whole(samples, "samples")
    if not 0 <= right <= samples:
        raise ValueError(f"right is {right!r}, expected 0 to {samples}")
    interval = binomtest(right, samples).proportion_ci(method="wilson")
    return Accuracy(right / samples, float(interval.low), float(interval.high), samples)


def withstands(
    model: Model,
    x: Tensor,
    y: Targets,
    attack: Attack | None = None,
    *,
    task: Task = CLASSIFICATION,
    batch_size: int = 256,
) -> Bool[Tensor, "n"]:
    """Whether the answer to each sample is right after the attack, in eval mode; :func:`robustness` is the mean.

    Args:
        model: from x to logits (B, K).
        x: (N, ...), in [0, 1].
        y: labels (N,), or N tensors of points.
        attack: the attack; None for clean accuracy.
        task: what is right.
        batch_size: samples attacked at a time.

    Raises:
        ValueError: x, or what the attack makes of it, is not finite or not in [0, 1], or has another shape.
    """
    check_inputs(x, y)
    check_whole(batch_size, "batch_size")
    parts = [torch.zeros(0, dtype=torch.bool, device=x.device)]
    with attacked(model):
        for index in torch.arange(len(x), device=x.device).split(batch_size):
            images, targets = x[index], take(y, index)
            moved = images if attack is None else attack(model, images, targets).detach()
            if moved.shape != images.shape:
                raise ValueError(f"the attack gave shape {tuple(moved.shape)}, expected {tuple(images.shape)}")
            check_inputs(moved, targets)
            with torch.no_grad():
                parts.append(task.correct(model(moved), targets))
    return torch.cat(parts)


def robustness(
    model: Model, x: Tensor, y: Targets, attack: Attack | None = None, *, task: Task = CLASSIFICATION, **options: Any
) -> Accuracy:
    r"""The robustness of a model under an attack: the share of samples that stay right [LA 9].

    .. math:: R(F, \mathcal{A}_\epsilon) = \frac{1}{M}\sum_i \mathbb{1}[F(\mathcal{A}_\epsilon(x_i)) = y_i]

    Arguments and errors as in :func:`withstands`.
    """
    right = withstands(model, x, y, attack, task=task, **options)
    return wilson(int(right.sum()), len(right))


def accuracy_curve(
    model: Model,
    x: Tensor,
    y: Targets,
    epsilons: Sequence[float],
    attack: Callable[[Model, Tensor, Targets, float], Tensor],
    *,
    task: Task = CLASSIFICATION,
) -> list[dict[str, float]]:
    """Accuracy against epsilon for an attack of a given budget, for instance :func:`workbench.adversarial.fgsm`.

    Returns:
        A row a budget: epsilon, share, low, high, samples.
    """
    rows = []
    for epsilon in epsilons:
        check_positive(epsilon, "epsilon", zero=True)
        bounded = with_budget(attack, epsilon) if epsilon else None
        rows.append({"epsilon": epsilon, **robustness(model, x, y, bounded, task=task)._asdict()})
    return rows


def worst_case(
    model: Model,
    x: Tensor,
    y: Targets,
    attacks: Mapping[str, Attack],
    *,
    epsilon: float,
    norm: str = "linf",
    task: Task = CLASSIFICATION,
) -> dict[str, Accuracy]:
    """The accuracy under each of several attacks, and under all: the share of samples that withstand every one.

    Model, x, y and task are as in :func:`withstands`.

    Args:
        model: from x to logits (B, K).
        x: (N, ...), in [0, 1].
        y: labels (N,).
        attacks: by name. Choose attacks that the training did not use; they show masked gradients.
        epsilon: the budget of all.
        norm: "linf" or "l2".
        task: what is right.

    Returns:
        "clean", each attack's name, and "all".

    Raises:
        ValueError: an attack leaves the ball or [0, 1].
    """
    check_positive(epsilon, "epsilon", zero=True)
    check_choice(norm, ("linf", "l2"), "norm")
    order = torch.inf if norm == "linf" else 2

    def within(name: str, model: Model, images: Tensor, targets: Targets) -> Tensor:
        moved = attacks[name](model, images, targets)
        far = float(flat(moved.detach() - images).norm(order, dim=1).max())
        if far > epsilon + 1e-5:  # room for rounding
            raise ValueError(f"attack {name!r} goes {far:g} far, expected at most {epsilon:g}")
        return moved

    alive = withstands(model, x, y, task=task)
    found = {"clean": wilson(int(alive.sum()), len(alive))}
    for name in attacks:
        right = withstands(model, x, y, partial(within, name), task=task)
        found[name] = wilson(int(right.sum()), len(right))
        alive &= right
    return found | {"all": wilson(int(alive.sum()), len(alive))}


def masking_signs(
    *, single_step: float, iterated: float, black_box: float, unbounded: float, tolerance: float = 0.02
) -> list[str]:
    """Signs of masked gradients: accuracies that contradict one another unless gradients mislead the attack.

    Args:
        single_step: accuracy under FGSM.
        iterated: accuracy under PGD with the same budget.
        black_box: accuracy under an attack without gradients, with the same budget.
        unbounded: accuracy under PGD with a budget that turns any image into any other.
        tolerance: differences up to this are no sign.

    Returns:
        A sentence for each sign.

    Reference:
        Athalye, Carlini and Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018, sec. 3.1.
    """
    signs = []
    if iterated > single_step + tolerance:
        signs.append(f"one step does more harm ({single_step:.3f}) than many ({iterated:.3f})")
    if iterated > black_box + tolerance:
        signs.append(f"an attack without gradients does more harm ({black_box:.3f}) than one with ({iterated:.3f})")
    if unbounded > tolerance:
        signs.append(f"an unbounded attack leaves {unbounded:.3f} right")
    return signs
