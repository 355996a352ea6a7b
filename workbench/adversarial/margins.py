"""Margins: how far along the sign of the gradient an input can go before the answer changes."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.adversarial.attacks import Model, attacked, check_inputs, input_gradient, like
from workbench.adversarial.tasks import CLASSIFICATION, Targets, Task, take
from workbench.checks import check_choice, check_positive

Changed = Callable[[Tensor, Tensor], Tensor]


def margins(
    model: Model,
    x: Float[Tensor, "b *shape"],
    y: Targets,
    *,
    resolution: float = 2**-20,
    cap: float = 1.0,
    bracket: float = 1 / 32,
    clip: bool = False,
    no_crossing: str = "cap",
    method: str = "bisection",
    task: Task = CLASSIFICATION,
) -> Float[Tensor, "b"]:
    r"""CALCULATE_MARGIN, as in lines 9 to 15 of the LA paper's Algorithm 2.

    .. math:: \epsilon_i = \min\{\epsilon = k\rho : C(x_i + \epsilon \hat g_i) \neq y_i\}, \quad
        \hat g_i = \mathrm{sign}(\nabla_x \ell(F(x_i), y_i))

    There is one gradient a sample. The paper raises epsilon step by step. Here steps of ``bracket`` find an interval
    with each sample's first crossing, and bisection narrows it down to the resolution. The answer is the same unless
    the prediction changes and changes back between two steps; a smaller bracket overlooks less.

    Args:
        model: maps x to logits (B, K), or to whatever else the task reads; a module is evaluated in eval mode.
        x: (B, ...), in [0, 1].
        y: labels (B,), or points for a counter.
        resolution: rho; margins are multiples of it.
        cap: where the search ends. Many inputs have no crossing at all along their direction.
        bracket: the coarse step.
        clip: keep x + epsilon g within [0, 1], as attacks do. The paper does not.
        no_crossing: the margin of a sample without a crossing: "cap", a lower bound, or "inf", infinity.
        method: "bisection", or "step" for the paper's search at every multiple of the resolution.
        task: what counts as the right answer.

    Returns:
        (B,), in units of x; 0 where the answer is wrong already.

    Raises:
        TypeError: x is not floating-point, or y are not whole numbers.
        ValueError: x is not finite or not in [0, 1], an option is out of range, or the gradient is not finite.

    Warns:
        UserWarning: the model is in train mode.
    """
    check_inputs(x, y)
    check_choice(no_crossing, ("cap", "inf"), "no_crossing")
    check_choice(method, ("bisection", "step"), "method")
    with attacked(model):
        gradient, output = input_gradient(model, x, y, task)
        direction = gradient.sign()

        def changed(epsilon: Tensor, index: Tensor) -> Tensor:
            moved = x[index] + like(epsilon.to(x), x) * direction[index]
            with torch.no_grad():
                return ~task.correct(model(moved.clamp(0, 1) if clip else moved), take(y, index))

        crossing = first_crossing(
            changed,
            ~task.correct(output, y),
            resolution=resolution,
            cap=cap,
            bracket=resolution if method == "step" else bracket,
        )
    found = torch.isfinite(crossing)
    last = torch.full_like(crossing, math.inf if no_crossing == "inf" else cap)
    return torch.where(found, crossing, last).to(x)


def first_crossing(
    changed: Changed,
    at_zero: Bool[Tensor, "b"],
    *,
    resolution: float,
    cap: float,
    bracket: float,
) -> Float[Tensor, "b"]:
    """The first multiple of ``resolution`` where ``changed`` holds, by brackets and bisection, all samples at once.

    Args:
        changed: takes epsilons (k,) and the samples' numbers (k,); tells whether each answer has changed there.
        at_zero: (B,), whether the answer is changed at zero already.
        resolution: step of the answer.
        cap: the largest epsilon that is tried.
        bracket: step of the coarse search; rounded to a multiple of the resolution.

    Returns:
        (B,), float64: 0 where ``at_zero``, infinite where no answer at the end of a bracket has changed.
    """
    for name, value in (("resolution", resolution), ("cap", cap), ("bracket", bracket)):
        check_positive(value, name)
    # A hair above the quotient, so that 0.3 / 0.1 is three steps
    last, gap = math.floor(cap / resolution * (1 + 1e-12)), max(1, round(bracket / resolution))
    if last < 1:
        raise ValueError(f"cap is {cap!r}, expected at least the resolution {resolution!r}")
    # In steps of the resolution: no change is known at ``low``, a change at ``high``; beyond ``last`` none was found
    low = torch.zeros(len(at_zero), dtype=torch.long, device=at_zero.device)
    high = torch.where(at_zero, 0, last + 1)
    active = (~at_zero).nonzero()[:, 0]  # the samples that are still searched
    for step in (*range(gap, last, gap), last):
        if not len(active):
            break
        hit = changed(torch.full_like(active, step).double() * resolution, active)
        high[active[hit]] = step
        active = active[~hit]
        low[active] = step
    active = ((high - low > 1) & (high <= last)).nonzero()[:, 0]
    while len(active):  # bisection
        middle = (low[active] + high[active]) // 2
        hit = changed(middle.double() * resolution, active)
        high[active] = torch.where(hit, middle, high[active])
        low[active] = torch.where(hit, low[active], middle)
        active = active[high[active] - low[active] > 1]
    return torch.where(high <= last, high.double() * resolution, math.inf)
