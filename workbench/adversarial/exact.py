"""Exact margins: how near the nearest input with another answer is, in closed form or by integer programming.

Attacks and :func:`workbench.adversarial.margins` give upper bounds only. Here the distance itself is found, for linear
models and for small networks of affine layers and ReLUs. All distances are in the L-infinity norm unless said.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.adversarial.attacks import attacked, check_inputs
from workbench.adversarial.tasks import check_classes
from workbench.checks import check_choice, check_positive

AFFINE = (nn.Linear, nn.Conv2d, nn.Flatten, nn.AvgPool2d, nn.BatchNorm2d, nn.Dropout, nn.Identity)
"""Layers that are affine in eval mode."""


class Affine(NamedTuple):
    """The map x -> weight x + bias of flat vectors."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]


def linear_margins(
    weight: Float[Tensor, "k d"],
    bias: Float[Tensor, " k"],
    x: Float[Tensor, "b *shape"],
    y: Tensor,
    *,
    norm: str = "linf",
) -> Float[Tensor, "b"]:
    r"""The exact margins of a linear model, without a range of pixels.

    .. math:: \min_{j \neq y} \frac{z_y - z_j}{\lVert w_y - w_j \rVert_*}

    The dual norm is L1 for "linf" and L2 for "l2".

    Returns:
        (B,), in units of x; 0 where the answer is wrong, infinity where no class can overtake.
    """
    check_choice(norm, ("linf", "l2"), "norm")
    logits = x.flatten(1) @ weight.T + bias
    y = check_classes(logits, y)
    lead = logits.gather(1, y[:, None]) - logits
    slope = (weight[y][:, None] - weight[None]).norm(1 if norm == "linf" else 2, dim=2)
    distance = torch.where(slope > 0, lead / slope.clamp(min=torch.finfo(x.dtype).tiny), torch.inf)
    nearest = distance.scatter(1, y[:, None], torch.inf).amin(dim=1)
    return torch.where((lead < 0).any(dim=1), torch.zeros_like(nearest), nearest)


def affine_layers(model: nn.Module, shape: tuple[int, ...]) -> list[Affine]:
    """The affine maps between the ReLUs of a network.

    Args:
        model: an ``nn.Sequential``, nested or not, of the layers in ``AFFINE`` and ReLUs; in eval mode.
        shape: of one input.

    Raises:
        TypeError: another layer, which is named.
    """
    parts: list[list[nn.Module]] = [[]]
    for layer in _layers(model):
        if isinstance(layer, nn.ReLU):
            parts.append([])
        elif isinstance(layer, AFFINE):
            parts[-1].append(layer)
        else:
            known = ", ".join(kind.__name__ for kind in (*AFFINE, nn.ReLU))
            raise TypeError(f"model has a layer {type(layer).__name__}, expected layers of {known}")
    first = next(model.parameters(), torch.zeros(()))
    found = []
    with torch.no_grad():
        for part in parts:
            inputs = torch.cat([torch.zeros(1, *shape), torch.eye(int(np.prod(shape))).reshape(-1, *shape)]).to(first)
            outputs = nn.Sequential(*part)(inputs)
            shape = tuple(outputs.shape[1:])
            flat = outputs.flatten(1).double().cpu().numpy()
            found.append(Affine((flat[1:] - flat[0]).T, flat[0]))
    return found


def _layers(model: nn.Module) -> list[nn.Module]:
    if isinstance(model, nn.Sequential):
        return [layer for child in model for layer in _layers(child)]
    return [model]


def exact_margins(
    model: nn.Module,
    x: Float[Tensor, "b *shape"],
    y: Integer[Tensor, " b"],
    upper: Float[Tensor, " b"] | float = 1.0,
    *,
    clip: bool = False,
    seconds: float = 60.0,
) -> Float[Tensor, "b"]:
    r"""The distance to the nearest input with another answer, by mixed-integer linear programming.

    .. math:: \min_{x', \epsilon} \epsilon \quad\text{s.t.}\quad
        \lvert x' - x \rvert \le \epsilon, \quad z_j(x') \ge z_y(x') \text{ for some } j \neq y

    Each ReLU that can be on or off within the ball of radius ``upper`` is a binary variable. There is one program a
    class; a class is tried within the nearest distance found so far.

    Args:
        model: see :func:`affine_layers`.
        x: (B, ...), in [0, 1].
        y: labels (B,).
        upper: no search beyond this distance, one number or one a sample. Margins of attacks are upper bounds and make
            the programs small.
        clip: only inputs within [0, 1].
        seconds: the longest time for one program.

    Returns:
        (B,), double precision; 0 where the answer is wrong already, infinity where no input within ``upper`` has
        another answer. Ties count as another answer.

    Raises:
        TypeError: a layer that is neither affine nor a ReLU.
        RuntimeError: a program was not solved within its time.

    Reference:
        Tjeng, Xiao and Tedrake, "Evaluating Robustness of Neural Networks with Mixed Integer Programming", ICLR 2019.
    """
    check_inputs(x, y)
    check_positive(seconds, "seconds")
    limits = torch.as_tensor(upper).double().expand(len(x)).tolist()
    for limit in limits:
        check_positive(limit, "upper", zero=True)
    with attacked(model):
        layers = affine_layers(model, tuple(x.shape[1:]))
        with torch.no_grad():
            labels = check_classes(model(x), y).tolist()
    found = []
    for image, label, limit in zip(x.flatten(1).double().cpu().numpy(), labels, limits, strict=True):
        logits = evaluate_layers(layers, image)
        others = [j for j in np.argsort(-logits) if j != label]
        if logits[others[0]] > logits[label]:
            found.append(0.0)
            continue
        best, slack = np.inf, limit * (1 + 1e-6) + 1e-9  # a bound that is met exactly stays feasible
        for other in others:
            distance = _nearest(layers, image, label, int(other), min(best, slack), clip=clip, seconds=seconds)
            best = min(best, distance)
        found.append(best)
    return torch.tensor(found, dtype=torch.double, device=x.device)


def evaluate_layers(layers: list[Affine], image: NDArray[np.float64]) -> NDArray[np.float64]:
    """The network's logits for one flat image."""
    for layer in layers[:-1]:
        image = np.maximum(layer.weight @ image + layer.bias, 0)
    return layers[-1].weight @ image + layers[-1].bias


def _nearest(
    layers: list[Affine],
    image: NDArray[np.float64],
    label: int,
    other: int,
    radius: float,
    *,
    clip: bool,
    seconds: float,
) -> float:
    """The distance within ``radius`` at which ``other`` overtakes ``label``; infinity where there is none.

    Variables: the input, each hidden layer's outputs, a binary for each of its units, and epsilon.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, lil_array

    low = np.clip(image - radius, 0, 1) if clip else image - radius
    high = np.clip(image + radius, 0, 1) if clip else image + radius
    sizes = [len(image), *(len(layer.bias) for layer in layers[:-1])]
    starts = np.cumsum([0, *sizes])  # of the input and of each hidden layer
    binaries = starts[-1]
    last = binaries + sum(sizes[1:])  # epsilon
    lower, upper = np.zeros(last + 1), np.ones(last + 1)
    lower[: sizes[0]], upper[: sizes[0]], upper[last] = low, high, radius
    blocks: list[tuple[Any, Any, Any]] = []

    def rows(count: int) -> Any:
        return lil_array((count, last + 1))

    within = rows(2 * sizes[0])  # -epsilon <= x' - x <= epsilon
    index = np.arange(sizes[0])
    within[index, index], within[index, last] = 1, -1
    within[sizes[0] + index, index], within[sizes[0] + index, last] = -1, -1
    blocks.append((within, -np.inf, np.concatenate([image, -image])))
    for number, (layer, (start, stop)) in enumerate(zip(layers[:-1], pairwise(starts[1:]), strict=True)):
        before, units = slice(starts[number], start), np.arange(stop - start)
        centre, spread = layer.weight @ (low + high) / 2 + layer.bias, np.abs(layer.weight) @ (high - low) / 2
        least, most = centre - spread, centre + spread  # of each unit before its ReLU
        on, off = np.minimum(least, 0), np.maximum(most, 0)
        lower[start:stop], upper[start:stop] = np.maximum(least, 0), off
        switch = binaries + start - starts[1]
        lower[switch : switch + len(units)], upper[switch : switch + len(units)] = least >= 0, most > 0
        above, below, closed = rows(len(units)), rows(len(units)), rows(len(units))
        for block in (above, below):  # h - a
            block[:, before] = -layer.weight
            block[units, start + units] = 1
        below[units, switch + units] = -on  # h <= a - least (1 - d)
        closed[units, start + units], closed[units, switch + units] = 1, -off  # h <= most d
        blocks += [(above, layer.bias, np.inf), (below, -np.inf, layer.bias - on), (closed, -np.inf, 0)]
        low, high = lower[start:stop], upper[start:stop]
    overtakes = rows(1)
    overtakes[:, slice(starts[-2], starts[-1])] = (layers[-1].weight[other] - layers[-1].weight[label])[None]
    blocks.append((overtakes, layers[-1].bias[label] - layers[-1].bias[other], np.inf))
    cost, whole = np.zeros(last + 1), np.zeros(last + 1)
    cost[last], whole[binaries:last] = 1, 1
    solved = milp(
        cost,
        integrality=whole,
        bounds=Bounds(lower, upper),
        constraints=[LinearConstraint(csr_array(block), a, b) for block, a, b in blocks],
        options={"mip_rel_gap": 0.0, "time_limit": seconds},
    )
    if solved.status == 2:  # infeasible
        return np.inf
    if solved.status != 0:
        raise RuntimeError(f"an exact margin was not found within {seconds:g} seconds: {solved.message}")
    return float(solved.fun)
