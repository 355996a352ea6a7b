"""Exercises of the notebooks 400 (HMoDE) and 410 (relative local counting)."""

import torch

from workbench.exercises.exercise import Exercise
from workbench.losses.relative import order_violations
from workbench.models.hmode_mixture import hierarchy


def _violation(sublists: int) -> float:
    listed = torch.tensor([[9.0, 7.0, 8.0, 4.0, 10.0, 2.0]])
    return float(order_violations(listed, sublists=sublists))


EXERCISES = {
    "400.1": Exercise(
        "Four experts are combined in overlapping groups of two. How many groups does the first level have?",
        lambda: float(len(hierarchy("hmode", experts=4, group_size=2)[0])),
        "Every pair of experts is one.",
        "Each expert is in several groups, so none can be ignored by all of the gates.",
    ),
    "400.2": Exercise(
        "K = 3 experts, groups of N = 2, two levels. How many density maps does eq. (7) supervise?",
        lambda: float(3 + sum(len(level) for level in hierarchy("hmode", experts=3, group_size=2))),
        "The experts, the groups of the first level, and the final map.",
        "K + M + 1: each expert and each group has to be a counter of its own.",
    ),
    "400.3": Exercise(
        "A gate's logits are equal for both members of a group. What weight does each get?",
        lambda: float(torch.softmax(torch.zeros(2), 0)[0]),
        "The softmax of equal numbers.",
        "Equal weights have no variance, so the importance loss, eq. (6), is zero.",
    ),
    "410.1": Exercise(
        "Regions in the descending order of their true counts are predicted to hold 9, 7, 8, 4, 10, 2 people. What is"
        " eq. (2) with 3 sub-lists?",
        lambda: _violation(3),
        "Compare what is three places apart: 4 with 9, 10 with 7, 2 with 8.",
        "Only one pair is in the wrong order, by three people.",
    ),
    "410.2": Exercise(
        "And with one list, comparing neighbours?",
        lambda: _violation(1),
        "Add up how far each number exceeds the one before it.",
        "Neighbours have nearly equal true counts, so their order is mostly noise: sub-lists forgive it.",
    ),
}
