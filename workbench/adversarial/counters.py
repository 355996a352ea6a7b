"""How many people an attack adds to a density model's count, or takes from it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.adversarial.attacks import Model, attacked, check_inputs, pgd
from workbench.adversarial.tasks import counting, people, take
from workbench.checks import check_positive

BATCH = 32  # images at a time


def counted(model: Model, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
    """The number of people that a density model sees in each image, in eval mode."""
    with attacked(model), torch.no_grad():
        return torch.cat([people(model(images)) for images in x.split(BATCH)])


class AttackedCounts(NamedTuple):
    """What an attack does to a counter, as means over the images, in people.

    Attributes:
        more: what the raising attack adds.
        fewer: what the lowering attack takes away.
        error: the larger absolute error of the two attacked counts.
    """

    more: float
    fewer: float
    error: float


def attacked_counts(
    model: Model,
    x: Float[Tensor, "b c h w"],
    points: Sequence[Tensor],
    attack: Callable[..., Tensor],
) -> AttackedCounts:
    """Raise the counts by an attack, and lower them.

    Args:
        model: from images to densities.
        x: (B, C, H, W), in [0, 1].
        points: B tensors (N_i, 2).
        attack: from model, images, points and the keyword ``task`` to images.

    Raises:
        ValueError: x is not in [0, 1], or shapes do not fit.
    """
    check_inputs(x, points)
    clean = counted(model, x)
    truth = clean.new_tensor([len(image) for image in points])
    counts = []
    for task in (counting("over"), counting("under")):
        parts = torch.arange(len(x)).split(BATCH)
        moved = [attack(model, x[part], take(points, part), task=task) for part in parts]
        counts.append(counted(model, torch.cat(moved)))
    error = (torch.stack(counts) - truth).abs().amax(dim=0).mean()
    return AttackedCounts(float((counts[0] - clean).mean()), float((clean - counts[1]).mean()), float(error))


def people_against_epsilon(
    model: Model,
    x: Float[Tensor, "b c h w"],
    points: Sequence[Tensor],
    epsilons: Sequence[float],
    *,
    steps: int = 10,
    norm: str = "linf",
) -> list[dict[str, float]]:
    """How far PGD can raise and lower a counter's count, for each budget.

    Args:
        model: from images to densities.
        x: (B, C, H, W), in [0, 1].
        points: B tensors (N_i, 2).
        epsilons: budgets.
        steps: of the PGD.
        norm: of the budgets, "linf" or "l2".

    Returns:
        A row a budget: epsilon; more, fewer and error, see :class:`AttackedCounts`; per_epsilon, the mean of more and
        fewer divided by epsilon (0 for a budget of 0).

    Raises:
        ValueError: x is not in [0, 1], shapes do not fit, a budget below zero, an unknown norm.
    """
    rows = []
    for epsilon in epsilons:
        check_positive(epsilon, "epsilon", zero=True)
        attack = partial(pgd, epsilon=epsilon, steps=steps, norm=norm)
        found = attacked_counts(model, x, points, attack)
        moved = (found.more + found.fewer) / 2
        rows.append({"epsilon": epsilon, **found._asdict(), "per_epsilon": moved / epsilon if epsilon else 0.0})
    return rows
