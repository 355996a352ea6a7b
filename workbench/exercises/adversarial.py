"""Exercises of the notebook 300 (adversarial training)."""

import torch
from torch import Tensor, nn

from workbench.adversarial import fgsm, margins
from workbench.exercises.exercise import Exercise


def _linear(weights: list[float], bias: float) -> nn.Module:
    """Two classes whose difference of logits is w x + b."""
    linear = nn.Linear(len(weights), 2, dtype=torch.float64)
    linear.weight.data = torch.tensor([weights, [0.0] * len(weights)], dtype=torch.float64)
    linear.bias.data = torch.tensor([bias, 0.0], dtype=torch.float64)
    return nn.Sequential(nn.Flatten(), linear).eval()


def _pixels(count: int, value: float) -> Tensor:
    return torch.full((1, 1, 1, count), value, dtype=torch.float64)


EXERCISES = {
    "300.1": Exercise(
        "A linear classifier says w x + b with w = (1, -2, 0.5), b = 0.95, x = (0.5, 0.5, 0.5). What is the margin, the"
        " smallest L-infinity step along the gradient's sign that changes the answer?",
        lambda: float(margins(_linear([1.0, -2.0, 0.5], 0.95), _pixels(3, 0.5), torch.tensor([0]))),
        "|w x + b| divided by the sum of |w|.",
        "For a linear model the gradient's sign is the worst direction there is, so this margin is exact.",
    ),
    "300.2": Exercise(
        "A pixel is 0.95, FGSM wants it brighter, epsilon is 0.1. What does the attack make of it?",
        lambda: float(fgsm(_linear([-1.0], 0.0), _pixels(1, 0.95), torch.tensor([0]), 0.1)),
        "Pictures live in [0, 1].",
        "The ball is cut by the cube of pictures: an attack that leaves it attacks something that is no picture.",
    ),
    "300.3": Exercise(
        "Robust accuracy under FGSM is 60 %, under PGD 20 %, under a search that needs no gradient 5 %. Does the model"
        " mask its gradients?",
        lambda: "yes",
        "A search without gradients is weaker than PGD on an honest model.",
        "Where a blind search beats the gradient, the gradient misleads: report the worst of several attacks.",
        choices=("yes", "no"),
    ),
}
