"""Attacks by the gradient: FGSM and PGD.

Inputs are in [0, 1]; normalisation belongs to the model. A model is attacked in eval mode. For a model in train mode
there is a warning, and the attack puts it back into train mode at its end.
"""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.adversarial.tasks import CLASSIFICATION, Targets, Task
from workbench.checks import check_choice, check_positive, check_whole
from workbench.tensor_checks import check_tensor
from workbench.training.evaluation import evaluating

NORMS = ("linf", "l2")
Model = Callable[[Tensor], Any]


def fgsm(
    model: Model,
    x: Float[Tensor, "b *shape"],
    y: Targets,
    epsilon: float | Tensor,
    *,
    norm: str = "linf",
    targeted: bool = False,
    task: Task = CLASSIFICATION,
) -> Float[Tensor, "b *shape"]:
    r"""The fast gradient sign method: :math:`x + \epsilon\, \mathrm{sign}(\nabla_x \ell)`, within [0, 1].

    One step of :func:`pgd` as long as the ball's radius; arguments and errors as there.

    Reference:
        Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015.
    """
    return pgd(model, x, y, epsilon, epsilon, 1, norm=norm, targeted=targeted, task=task)


def pgd(
    model: Model,
    x: Float[Tensor, "b *shape"],
    y: Targets,
    epsilon: float | Tensor,
    step_size: float | Tensor | None = None,
    steps: int = 10,
    *,
    norm: str = "linf",
    random_start: bool = False,
    momentum: float = 0.0,
    targeted: bool = False,
    average: int = 1,
    generator: torch.Generator | None = None,
    task: Task = CLASSIFICATION,
) -> Float[Tensor, "b *shape"]:
    r"""Projected gradient descent, as in lines 16 to 24 of the LA paper's Algorithm 2.

    .. math:: x_t = \Pi_{\epsilon}\big(x_{t-1} + \beta\, \mathrm{sign}(\nabla_x \ell(F(x_{t-1}), y))\big)

    The projection brings a point back into the ball of radius epsilon around x and into [0, 1]. In the L2 norm the
    direction is the gradient divided by its length.

    Args:
        model: maps x to logits (B, K), or to whatever else the task reads. A module is attacked in eval mode.
        x: (B, ...), in [0, 1].
        y: labels (B,), with ``targeted`` those to reach; points for a counter.
        epsilon: radius of the ball, one number or one a sample (B,); 0 leaves the sample alone.
        step_size: beta, one number or one a sample; 2.5 epsilon / steps if None.
        steps: number of steps T. (The loop that the paper prints has T - 1.)
        norm: "linf" or "l2".
        random_start: begin at a random point of the ball; the paper begins at x.
        momentum: decay of the gradients' running sum (Dong et al., CVPR 2018); 0 for none.
        targeted: lower the loss of ``y`` instead of raising it.
        average: number of forward passes whose gradients are averaged; above 1 for models that draw random numbers
            (expectation over transformation, Athalye et al., ICML 2018).
        generator: of the random start; torch's own if None.
        task: the loss to raise.

    Returns:
        The adversarial inputs, on x's device and dtype, without gradient.

    Raises:
        TypeError: x is not floating-point, or y are not whole numbers.
        ValueError: x or epsilon hold NaN, infinite or negative values, x lies outside [0, 1], shapes do not fit, an
            unknown norm, or the model's gradient is not finite.

    Warns:
        UserWarning: the model is in train mode.

    Reference:
        Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018.
    """
    check_inputs(x, y)
    check_choice(norm, NORMS, "norm")
    check_whole(steps, "steps")
    check_whole(average, "average")
    check_positive(momentum, "momentum", zero=True)
    radius = per_sample(epsilon, x, "epsilon")
    step = 2.5 * radius / steps if step_size is None else per_sample(step_size, x, "step_size")
    into_ball, direction = (into_cube, torch.sign) if norm == "linf" else (into_sphere, unit)
    start = x.detach()
    moved = into_ball(start + random_offset(start, radius, norm, generator), start, radius) if random_start else start
    running = torch.zeros_like(start)
    with attacked(model):
        for _ in range(steps):
            gradient, _ = input_gradient(model, moved, y, task, average=average)
            if momentum:  # of gradients that are divided by their mean size
                size = flat(gradient).abs().mean(dim=1)
                running = momentum * running + gradient / like(size, x).clamp(min=torch.finfo(x.dtype).tiny)
                gradient = running
            move = step * direction(gradient)
            moved = into_ball(moved - move if targeted else moved + move, start, radius)
    return moved


def input_gradient(
    model: Model, x: Float[Tensor, "b *shape"], y: Targets, task: Task = CLASSIFICATION, *, average: int = 1
) -> tuple[Float[Tensor, "b *shape"], Any]:
    """The gradient of each sample's loss by its input, and the model's (last) output.

    Parameters get no gradient. Works within ``torch.no_grad`` and ``torch.inference_mode``, too.

    Raises:
        ValueError: the gradient is not finite.
    """
    with torch.inference_mode(False), torch.enable_grad():
        inputs = x.detach().clone().requires_grad_()
        total = inputs.new_zeros(())
        for _ in range(average):
            output = model(inputs)
            total = total + task.losses(output, y).sum()
        (gradient,) = torch.autograd.grad(total, inputs)
    if not torch.isfinite(gradient).all():
        raise ValueError("the model's gradient by its input holds NaN or infinite values, expected finite ones")
    return gradient / average, output.detach()


def attacked(model: Any) -> AbstractContextManager[None]:
    """Evaluation mode for an attack.

    Warns:
        UserWarning: the model is in train mode.
    """
    if isinstance(model, nn.Module) and any(module.training for module in model.modules()):
        warnings.warn(
            f"{type(model).__name__} is attacked in train mode, where batch statistics and dropout would change the "
            "attack. It is in eval mode during the attack; call model.eval() to avoid this warning",
            stacklevel=3,
        )
    return evaluating(model)


def check_inputs(x: Tensor, y: Targets) -> None:
    """Raise unless ``x`` is a finite batch in [0, 1] with one entry of ``y`` a sample."""
    check_tensor(x, "x", shape=(None,) * x.dim() if isinstance(x, Tensor) and x.dim() > 1 else (None, None))
    low, high = map(float, x.detach().aminmax()) if x.numel() else (0.0, 1.0)
    if low < 0 or high > 1:
        raise ValueError(f"x lies in [{low:g}, {high:g}], expected [0, 1]: normalisation belongs to the model")
    if len(y) != len(x):
        raise ValueError(f"y has {len(y)} entries, expected {len(x)}, one a sample")


def per_sample(value: float | Tensor, x: Tensor, name: str) -> Tensor:
    """One number, or one a sample, as a tensor that ``x`` can be multiplied by."""
    if not isinstance(value, Tensor):
        check_positive(value, name, zero=True)
        return x.new_full((1,) * x.dim(), value)
    if value.dim() == 0:
        value = value.expand(len(x))
    check_tensor(value, name, shape=(len(x),))
    if value.numel() and float(value.min()) < 0:
        raise ValueError(f"{name} holds values down to {float(value.min()):g}, expected values >= 0")
    return like(value.detach().to(x), x)


def flat(x: Tensor) -> Tensor:
    """One row a sample."""
    return x.reshape(len(x), -1)


def like(values: Tensor, x: Tensor) -> Tensor:
    """(B,) with as many dimensions as ``x``."""
    return values.reshape(-1, *(1,) * (x.dim() - 1))


def unit(gradient: Tensor) -> Tensor:
    """Each sample's gradient divided by its length; zero stays zero."""
    length = flat(gradient).norm(dim=1)
    return gradient / like(length, gradient).clamp(min=torch.finfo(gradient.dtype).tiny)


def into_cube(moved: Tensor, x: Tensor, radius: Tensor) -> Tensor:
    """The nearest point within ``radius`` of ``x`` in every pixel and within [0, 1]."""
    return torch.minimum(torch.maximum(moved, x - radius), x + radius).clamp(0, 1)


def into_sphere(moved: Tensor, x: Tensor, radius: Tensor) -> Tensor:
    """Shorten the way from ``x`` to ``radius`` in the L2 norm, then clamp to [0, 1], which shortens it further."""
    offset = moved - x
    length = like(flat(offset).norm(dim=1), x).clamp(min=torch.finfo(x.dtype).tiny)
    return (x + offset * (radius / length).clamp(max=1)).clamp(0, 1)


def random_offset(x: Tensor, radius: Tensor, norm: str, generator: torch.Generator | None) -> Tensor:
    """A random offset: uniform in the cube, or in the L2 ball with a uniform direction and a uniform length."""
    if norm == "linf":
        return torch.empty_like(x).uniform_(-1, 1, generator=generator) * radius
    length = torch.empty(len(x), dtype=x.dtype, device=x.device).uniform_(generator=generator)
    return unit(torch.empty_like(x).normal_(generator=generator)) * like(length, x) * radius
