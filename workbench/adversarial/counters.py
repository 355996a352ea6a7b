"""How many people an attack adds to a density model's count, or takes from it."""

from collections.abc import Sequence

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


def people_against_epsilon(
    model: Model, x: Float[Tensor, "b c h w"], points: Sequence[Tensor], epsilons: Sequence[float], *, steps: int = 10
) -> list[dict[str, float]]:
    """How far PGD can raise and lower a counter's count, for each budget.

    Args:
        model: from images to densities.
        x: (B, C, H, W), in [0, 1].
        points: B tensors (N_i, 2).
        epsilons: budgets in the L-infinity norm.
        steps: of the PGD.

    Returns:
        A row a budget. In people, as means over the images: epsilon; more, what the raising attack adds; fewer, what
        the lowering attack takes away; error, the larger absolute error of the two attacked counts; per_epsilon, the
        mean of more and fewer divided by epsilon (0 for a budget of 0).

    Raises:
        ValueError: x is not in [0, 1], shapes do not fit, a budget below zero.
    """
    check_inputs(x, points)
    clean = counted(model, x)
    truth = clean.new_tensor([len(image) for image in points])
    rows = []
    for epsilon in epsilons:
        check_positive(epsilon, "epsilon", zero=True)
        counts = []
        for task in (counting("over"), counting("under")):
            parts = torch.arange(len(x)).split(BATCH)
            moved = [pgd(model, x[part], take(points, part), epsilon, steps=steps, task=task) for part in parts]
            counts.append(counted(model, torch.cat(moved)))
        more, fewer = counts[0] - clean, clean - counts[1]
        row = {
            "epsilon": epsilon,
            "more": float(more.mean()),
            "fewer": float(fewer.mean()),
            "error": float((torch.stack(counts) - truth).abs().amax(dim=0).mean()),
            "per_epsilon": float((more + fewer).mean()) / (2 * epsilon) if epsilon else 0.0,
        }
        rows.append(row)
    return rows
