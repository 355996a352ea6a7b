"""Robustness against budget: the attacks of one ensemble at every budget, and what contradicts the figures."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.adversarial.attacks import Model
from workbench.adversarial.ensemble import LEAST_TARGETED, library_attack, square_search
from workbench.adversarial.robustness import Attack, with_budget, withstands, worst_case
from workbench.adversarial.tasks import CLASSIFICATION, Targets, Task
from workbench.checks import check_positive

WHITE_BOX, BLACK_BOX = ("APGD-CE", "APGD-T", "FAB"), ("Square",)
"""Attacks of :func:`full_ensemble` by gradients, and by outputs only."""
SAME_ACCURACY = 0.02  # differences of accuracy up to this are no contradiction


def full_ensemble(
    epsilon: float, *, steps: int = 20, restarts: int = 2, queries: int = 200, classes: int = 10
) -> dict[str, Attack]:
    """The four attacks of AutoAttack, with one budget in the L-infinity norm.

    APGD on the cross-entropy, APGD on every target, and FAB are torchattacks'; the search by squares is ours.

    Args:
        epsilon: the budget.
        steps: of the attacks by gradients.
        restarts: random starts of each of them.
        queries: of the search.
        classes: of the model; below four APGD-T, whose loss compares four, is left out.

    Raises:
        ImportError: torchattacks is not installed.

    Reference:
        Croce and Hein, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free
        Attacks", ICML 2020.
    """
    options = {"steps": steps, "n_restarts": restarts}
    attacks = {"APGD-CE": library_attack("APGD", epsilon, **options)}
    if classes >= LEAST_TARGETED:
        attacks["APGD-T"] = library_attack("APGDT", epsilon, **options)
    attacks["FAB"] = library_attack("FAB", epsilon, **options)
    return attacks | {"Square": with_budget(square_search, epsilon, queries=queries)}


def against_budgets(
    model: Model, x: Tensor, y: Targets, epsilons: Sequence[float], **options: int
) -> tuple[list[dict[str, float]], list[str]]:
    """Accuracy under each attack of :func:`full_ensemble` at each budget, and what contradicts it.

    Args:
        model: a classifier.
        x: (N, C, H, W), in [0, 1].
        y: labels (N,).
        epsilons: budgets above zero, in ascending order.
        options: of the ensemble.

    Returns:
        A row a budget: "epsilon", "clean", each attack's accuracy, and "all", the share that withstands every attack.
        And the sentences of :func:`contradictions`.

    Raises:
        ValueError: budgets that do not rise.
        ImportError: torchattacks is not installed.
    """
    if list(epsilons) != sorted(set(epsilons)):
        raise ValueError(f"epsilons is {list(epsilons)}, expected budgets that rise")
    rows = []
    for epsilon in epsilons:
        check_positive(epsilon, "epsilon")
        found = worst_case(model, x, y, full_ensemble(epsilon, **options), epsilon=epsilon)
        rows.append({"epsilon": epsilon, **{name: accuracy.share for name, accuracy in found.items()}})
    return rows, contradictions(rows)


def contradictions(rows: Sequence[Mapping[str, float]], *, tolerance: float = SAME_ACCURACY) -> list[str]:
    """What cannot be if the attacks are sound; an empty list if there is nothing.

    A larger budget allows everything that a smaller one does, so accuracy falls with it. And an attack that sees the
    gradient should do at least as much harm as one that sees outputs only.

    Args:
        rows: of :func:`against_budgets`.
        tolerance: differences up to this do not count.
    """
    found = []
    for name in [key for key in rows[0] if key != "epsilon"] if rows else []:
        for before, after in pairwise(rows):
            if after[name] > before[name] + tolerance:
                found.append(
                    f"{name}: accuracy rises from {before[name]:.3f} at {before['epsilon']:g} to {after[name]:.3f} at "
                    f"{after['epsilon']:g}, expected it to fall with the budget"
                )
    for row in rows:
        white = min((row[name] for name in WHITE_BOX if name in row), default=0.0)
        black = min((row[name] for name in BLACK_BOX if name in row), default=1.0)
        if white > black + tolerance:
            found.append(
                f"at {row['epsilon']:g} the attacks by gradients leave {white:.3f} right and the search without them "
                f"{black:.3f}: the gradients are masked"
            )
    return found


def transfer(
    models: Mapping[str, nn.Module], x: Tensor, y: Targets, attack: Attack, *, task: Task = CLASSIFICATION
) -> tuple[list[str], Float[Tensor, "k k"]]:
    """Accuracy of each model (column) on the inputs that an attack on each model (row) made.

    A model that falls more to another's inputs than to its own masks its gradient.

    Returns:
        The models' names, and the accuracies in their order.
    """
    names = list(models)
    shares = torch.empty(len(names), len(names))
    for row, name in enumerate(names):
        moved = attack(models[name], x, y).detach()
        for column, other in enumerate(names):
            shares[row, column] = withstands(models[other], moved, y, task=task).double().mean()
    return names, shares
