"""Attacks for evaluation that no training here uses: restarts, every target, and a search without gradients.

Together they show where a defence only hides its gradients. :func:`library_attack` adds AutoAttack where the optional
package torchattacks is installed.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.adversarial.attacks import Model, attacked, check_inputs, like, pgd
from workbench.adversarial.robustness import Attack, with_budget
from workbench.adversarial.tasks import CLASSIFICATION, MARGIN_LOSS, Targets, Task, take
from workbench.checks import check_choice, check_positive, check_whole

LIBRARY = ("AutoAttack", "APGD", "APGDT", "FAB", "Square")


def first_success(
    model: Model, x: Tensor, y: Targets, attempt: Callable[[Tensor, int], Tensor], turns: int, task: Task
) -> Tensor:
    """What the first of ``turns`` attempts that succeeds makes of each sample, else what the last one makes.

    Args:
        model: from x to logits.
        x: (B, ...).
        y: labels (B,).
        attempt: of the numbers (k,) of the samples still right and of the turn, their attacked form.
        turns: at most so many.
        task: what is right.
    """
    moved, alive = x.clone(), torch.arange(len(x), device=x.device)
    for turn in range(turns):
        if not len(alive):
            break
        moved[alive] = tried = attempt(alive, turn)
        with attacked(model), torch.no_grad():
            alive = alive[task.correct(model(tried), take(y, alive))]
    return moved


def restarted_pgd(
    model: Model,
    x: Float[Tensor, "b *shape"],
    y: Targets,
    epsilon: float,
    *,
    steps: int = 20,
    restarts: int = 3,
    average: int = 1,
    seed: int = 0,
    task: Task = MARGIN_LOSS,
) -> Float[Tensor, "b *shape"]:
    """PGD from several random starts, on the loss of Carlini and Wagner, which does not fade where a model is sure.

    ``seed`` is what the starts are drawn from; the rest as in :func:`workbench.adversarial.pgd`.
    """
    check_inputs(x, y)
    check_whole(restarts, "restarts")
    draw = torch.Generator(device=x.device).manual_seed(seed)
    options: dict[str, Any] = {"random_start": True, "average": average, "generator": draw, "task": task}

    def attempt(index: Tensor, turn: int) -> Tensor:
        return pgd(model, x[index], take(y, index), epsilon, steps=steps, **options)

    return first_success(model, x, y, attempt, restarts, task)


def targeted_pgd(
    model: Model, x: Float[Tensor, "b *shape"], y: Tensor, epsilon: float, *, steps: int = 20, targets: int = 9
) -> Float[Tensor, "b *shape"]:
    """PGD towards each of the ``targets`` likeliest wrong classes in turn."""
    check_inputs(x, y)
    check_whole(targets, "targets")
    with attacked(model), torch.no_grad():
        logits = model(x)
    order = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True)  # the label comes last

    def attempt(index: Tensor, turn: int) -> Tensor:
        return pgd(model, x[index], order[index, turn], epsilon, steps=steps, targeted=True)

    return first_success(model, x, y, attempt, min(targets, logits.shape[1] - 1), CLASSIFICATION)


def square_search(
    model: Model,
    x: Float[Tensor, "b c h w"],
    y: Targets,
    epsilon: float,
    *,
    queries: int = 200,
    share: float = 0.3,
    seed: int = 0,
    task: Task = MARGIN_LOSS,
) -> Float[Tensor, "b c h w"]:
    """A random search by squares that asks for outputs alone, so that no masking of gradients helps against it.

    Each query sets a random square of the image to plus or minus epsilon from x, a sign a channel, and keeps it where
    the loss rises. The squares cover ``share`` of the image at first and less as the queries go on.

    Reference:
        Andriushchenko et al., "Square Attack: A Query-Efficient Black-Box Adversarial Attack via Random Search",
        ECCV 2020.
    """
    check_inputs(x, y)
    check_positive(epsilon, "epsilon", zero=True)
    check_whole(queries, "queries")
    if not 0 < share <= 1:
        raise ValueError(f"share is {share!r}, expected a share of the image in (0, 1]")
    draw = torch.Generator(device=x.device).manual_seed(seed)
    count, channels, height, width = x.shape
    rows, columns = (torch.arange(size, device=x.device) for size in (height, width))

    def signs(*shape: int) -> Tensor:
        return torch.randint(2, shape, generator=draw, device=x.device).to(x.dtype) * 2 - 1

    with attacked(model), torch.no_grad():
        moved = (x + epsilon * signs(count, channels, 1, width)).clamp(0, 1)  # stripes
        best = task.losses(model(moved), y)
        for query in range(queries):
            area = share * 0.5 ** (8 * query / queries) * height * width
            side = min(max(1, round(area**0.5)), height, width)
            top = torch.randint(height - side + 1, (count,), generator=draw, device=x.device)
            left = torch.randint(width - side + 1, (count,), generator=draw, device=x.device)
            down, across = rows - top[:, None], columns - left[:, None]
            inside = ((down >= 0) & (down < side))[:, None, :, None] & ((across >= 0) & (across < side))[:, None, None]
            tried = torch.where(inside, (x + epsilon * signs(count, channels, 1, 1)).clamp(0, 1), moved)
            value = task.losses(model(tried), y)
            better = value > best
            moved = torch.where(like(better, x), tried, moved)
            best = torch.where(better, value, best)
    return moved


def ensemble(epsilon: float, *, steps: int = 20, restarts: int = 3, queries: int = 200) -> dict[str, Attack]:
    """The three attacks of this file with one budget, for :func:`workbench.adversarial.robustness.worst_case`."""
    return {
        "restarted PGD": with_budget(restarted_pgd, epsilon, steps=steps, restarts=restarts),
        "targeted PGD": with_budget(targeted_pgd, epsilon, steps=steps),
        "square search": with_budget(square_search, epsilon, queries=queries),
    }


def library_attack(name: str, epsilon: float, *, seed: int = 0, **options: Any) -> Attack:
    """An attack of the package torchattacks in the L-infinity norm, for instance "AutoAttack".

    Args:
        name: one of ``LIBRARY``.
        epsilon: the budget.
        seed: what it draws from.
        options: of that attack, for instance ``n_classes``.

    Raises:
        ImportError: torchattacks is not installed.
        ValueError: an unknown name, a budget below zero.
    """
    check_choice(name, LIBRARY, "name")
    check_positive(epsilon, "epsilon")
    try:
        import torchattacks  # optional, and five seconds to import
    except ImportError as error:
        raise ImportError(
            f"attack {name!r} is of torchattacks, which is not installed: pip install torchattacks==3.3.0"
        ) from error

    def attack(model: Model, x: Tensor, y: Targets) -> Tensor:
        # It draws from torch's own generator, which is put back
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return getattr(torchattacks, name)(model, eps=epsilon, seed=seed, **options)(x, y)

    return attack
