"""Attacks for evaluation that no training here uses: restarts, every target, and a search without gradients.

Together they show where a defence only hides its gradients. The first two are torchattacks' APGD. The search is our
own, because torchattacks' Square draws one place for the whole batch and is weaker: on digits after adversarial
training, with epsilon 0.15 and 200 queries, 58 % of the answers stay right under ours and 69 % under theirs. Theirs
needs about five times the queries for the same effect.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.adversarial.attacks import Model, attacked, check_inputs, like
from workbench.adversarial.robustness import Attack, with_budget
from workbench.adversarial.tasks import MARGIN_LOSS, Targets, Task, check_classes
from workbench.checks import check_choice, check_positive, check_whole
from workbench.io.extras import need

LIBRARY = ("AutoAttack", "APGD", "APGDT", "FAB", "Square")
COUNTS_CLASSES = ("AutoAttack", "APGDT", "FAB")
LEAST_TARGETED = 4
"""Classes that the targeted loss of APGDT compares."""


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
    """A random search by squares that needs outputs only, so that masked gradients are no defence.

    Each query sets a random square of the image to x plus or minus epsilon, with one sign a channel, and keeps it where
    the loss rises. The squares cover ``share`` of the image at first; the area is halved eight times over the queries.

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
        moved = (x + epsilon * signs(count, channels, 1, width)).clamp(0, 1)  # vertical stripes to begin with
        best = task.losses(model(moved), y)
        for query in range(queries):
            area = share * 0.5 ** (8 * query / queries) * height * width
            side = min(max(1, round(area**0.5)), height, width)
            top = torch.randint(height - side + 1, (count,), generator=draw, device=x.device)
            left = torch.randint(width - side + 1, (count,), generator=draw, device=x.device)
            # the offsets of every row and column from the corner of each image's square
            down, across = rows - top[:, None], columns - left[:, None]
            inside = ((down >= 0) & (down < side))[:, None, :, None] & ((across >= 0) & (across < side))[:, None, None]
            tried = torch.where(inside, (x + epsilon * signs(count, channels, 1, 1)).clamp(0, 1), moved)
            value = task.losses(model(tried), y)
            better = value > best
            moved = torch.where(like(better, x), tried, moved)
            best = torch.where(better, value, best)
    return moved


def ensemble(epsilon: float, *, steps: int = 20, restarts: int = 3, queries: int = 200) -> dict[str, Attack]:
    """Three attacks with one budget, for :func:`workbench.adversarial.robustness.worst_case`.

    Args:
        epsilon: the budget, in the L-infinity norm.
        steps: of APGD.
        restarts: random starts of the untargeted APGD, on the cross-entropy.
        queries: of the search.

    Raises:
        ImportError: torchattacks is not installed.
    """
    return {
        "APGD, restarts": library_attack("APGD", epsilon, steps=steps, n_restarts=restarts),
        "APGD, every target": library_attack("APGDT", epsilon, steps=steps),
        "square search": with_budget(square_search, epsilon, queries=queries),
    }


def library_attack(name: str, epsilon: float, *, seed: int = 0, **options: Any) -> Attack:
    """An attack of the package torchattacks in the L-infinity norm, for instance "AutoAttack".

    APGDT's loss compares four classes; for a model of fewer its place is taken by APGD on the cross-entropy.

    Args:
        name: one of ``LIBRARY``.
        epsilon: the budget.
        seed: what it draws from; torch's own generator is left as it was.
        options: of that attack, for instance ``steps``; the number of classes is the model's.

    Raises:
        ImportError: torchattacks is not installed.
        ValueError: an unknown name, or a budget that is not above zero. The attack itself: as in
            :func:`workbench.adversarial.pgd`.
        TypeError: the attack itself, where the model is not a module.
    """
    check_choice(name, LIBRARY, "name")
    check_positive(epsilon, "epsilon")
    need("adversarial")
    import torchattacks  # five seconds

    def attack(model: Model, x: Tensor, y: Targets) -> Tensor:
        check_inputs(x, y)
        if not isinstance(model, nn.Module):
            raise TypeError(f"model is a {type(model).__name__}, expected a module: torchattacks takes no other")
        with attacked(model), torch.random.fork_rng():
            with torch.no_grad():
                logits = model(x)
            labels, classes = check_classes(logits, y), logits.shape[1]
            if name == "AutoAttack" and classes < LEAST_TARGETED:
                raise ValueError(f"AutoAttack wants {LEAST_TARGETED} classes or more, the model has {classes}")
            chosen = "APGD" if name == "APGDT" and classes < LEAST_TARGETED else name
            settings = {"n_classes": classes} | options if chosen in COUNTS_CLASSES else options
            torch.manual_seed(seed)
            return getattr(torchattacks, chosen)(model, eps=epsilon, seed=seed, **settings)(x, labels).detach()

    return attack
