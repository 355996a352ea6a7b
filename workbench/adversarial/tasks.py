"""What is attacked: the loss to raise, the confidence that LADA reads, and when an answer counts as right.

Attacks, margins and training are the same for a classifier and for a counter. A ``Task`` holds what differs.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from workbench.checks import check_choice, check_positive

Targets = Tensor | Sequence[Tensor]
"""Labels (B,), or for a counter B tensors (N_i, 2) of points."""


class Task(NamedTuple):
    """Three functions of a model's output and the targets, each one number a sample.

    Attributes:
        losses: what an attack raises.
        score: the confidence in the right answer, at most 1; LADA compares it with its threshold delta.
        correct: whether the answer is right. A margin is the distance at which it becomes wrong.
    """

    losses: Callable[[Any, Any], Tensor]
    score: Callable[[Any, Any], Tensor]
    correct: Callable[[Any, Any], Tensor]


def take(y: Targets, index: Tensor) -> Targets:
    """The targets at ``index`` (k,): of labels or of a list of points."""
    return y[index] if isinstance(y, Tensor) else [y[i] for i in index.tolist()]


def check_classes(logits: Tensor, labels: Targets) -> Tensor:
    """``labels`` as int64, if they are classes of ``logits`` (B, K); any type of whole numbers will do.

    Raises:
        TypeError: labels are not whole numbers in a tensor.
        ValueError: logits of another shape, another number of labels, a label that is no class.
    """
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.dtype == torch.bool:
        found = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"y is {found}, expected a tensor of whole numbers, the classes")
    labels = labels.long()
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(f"the model's output has shape {tuple(logits.shape)}, expected (batch, classes)")
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"y has shape {tuple(labels.shape)}, expected ({len(logits)},)")
    if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]):
        raise ValueError(
            f"y holds classes {int(labels.min())} to {int(labels.max())}, expected 0 to {logits.shape[1] - 1}"
        )
    return labels


def cross_entropy(logits: Float[Tensor, "b k"], labels: Integer[Tensor, "b"]) -> Float[Tensor, "b"]:
    """The cross-entropy of each sample, of the model's logits."""
    return F.cross_entropy(logits, check_classes(logits, labels), reduction="none")


def gap(values: Float[Tensor, "b k"], labels: Integer[Tensor, "b"]) -> Float[Tensor, "b"]:
    r""":math:`z_y - \max_{j \neq y} z_j`: above zero where the label has the largest value."""
    labels = check_classes(values, labels)
    own = values.gather(1, labels[:, None])
    others = values.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return own[:, 0] - others


def confidence_gap(logits: Float[Tensor, "b k"], labels: Integer[Tensor, "b"]) -> Float[Tensor, "b"]:
    r""":math:`z_y - \max_{j \neq y} z_j` of the softmax probabilities z, in [-1, 1] (LA sec. 6)."""
    return gap(logits.softmax(dim=1), labels)


def right_class(logits: Float[Tensor, "b k"], labels: Integer[Tensor, "b"]) -> Bool[Tensor, "b"]:
    """Whether the largest logit is the label's: C(x) = y."""
    return logits.argmax(dim=1) == check_classes(logits, labels)


CLASSIFICATION = Task(cross_entropy, confidence_gap, right_class)
MARGIN_LOSS = CLASSIFICATION._replace(losses=lambda logits, labels: -gap(logits, labels))
"""The loss of Carlini and Wagner: it keeps its slope where a classifier is confident and the cross-entropy is flat."""


def people(density: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b"]:
    """The number of people of each density map."""
    return density.sum(dim=(1, 2, 3))


def true_people(density: Float[Tensor, "b 1 h w"], points: Targets) -> Float[Tensor, "b"]:
    """The number of annotated people of each image, on the density's device and dtype."""
    if isinstance(points, Tensor) or len(points) != len(density):
        found = "one tensor" if isinstance(points, Tensor) else f"{len(points)} entries"
        raise ValueError(f"y holds {found}, expected a list of {len(density)} tensors of points, one an image")
    return density.new_tensor([len(image) for image in points])


def counting(
    objective: str | Callable[[Tensor, Sequence[Tensor]], Tensor] = "error", *, tolerance: float = 0.25
) -> Task:
    r"""The task of a density model, whose targets are lists of points.

    The score is :math:`1 - |\hat n - n| / \max(n, 1)`, in place of a classifier's confidence. It is 1 for the right
    count, and below zero for an error larger than the crowd.

    Args:
        objective: what an attack raises: "error", the squared error of the count (a counter's regression loss);
            "over", the count; "under", minus the count; or a loss of densities and points, for instance of
            :func:`workbench.losses.build_loss`, which is called with one image at a time.
        tolerance: a count is right if its error is at most this share of the people; where nobody is there, of one
            person.

    Raises:
        ValueError: an unknown objective, a tolerance that is not above zero.
    """
    check_positive(tolerance, "tolerance")

    def relative_error(density: Tensor, points: Targets) -> Tensor:
        truth = true_people(density, points)
        return (people(density) - truth).abs() / truth.clamp(min=1)

    def losses(density: Tensor, points: Targets) -> Tensor:
        if callable(objective):
            return torch.stack([objective(density[i : i + 1], [points[i]]) for i in range(len(density))])
        if objective == "error":
            return (people(density) - true_people(density, points)).square()
        return people(density) if objective == "over" else -people(density)

    if not callable(objective):
        check_choice(objective, ("error", "over", "under"), "objective")
    return Task(
        losses,
        lambda density, points: 1 - relative_error(density, points),
        lambda density, points: relative_error(density, points) <= tolerance,
    )
