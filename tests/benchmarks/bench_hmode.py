"""HMoDE at full width against its own convolutions alone; what REL and bf16 cost and gain.

python tests/benchmarks/bench_hmode.py [ROUNDS]

The peer runs the same convolutions on inputs of the same shapes, forward and backward, each by itself: no
normalisation, no ReLU, no skip connection, no gate, no loss.
"""

import sys

import torch
import torch.nn.functional as F
from timing import interleaved_medians, table
from torch import nn

from workbench.losses import build_loss
from workbench.losses.relative import relative_errors
from workbench.models import build_model
from workbench.training.objective import Objective, Relative

BATCH, SIDE, PEOPLE = 4, 128, 30


def convolutions_of(model, images):
    """Each convolution of a forward pass with the shape of its input, and their multiplications."""
    seen, macs = [], 0

    def note(layer, inputs, output):
        nonlocal macs
        macs += output.numel() * layer.weight[0].numel()
        seen.append((layer, inputs[0].shape))

    hooks = [layer.register_forward_hook(note) for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return seen, macs


def plain(seen, layout):
    """Forward and backward through every convolution by itself; the first needs no gradient of its input."""
    torch.manual_seed(0)
    layers = []
    for number, (layer, shape) in enumerate(seen):
        x = torch.rand(shape).contiguous(memory_format=layout).requires_grad_(number > 0)
        weight = layer.weight.detach().clone().contiguous(memory_format=layout).requires_grad_()
        bias = layer.bias.detach().clone().requires_grad_()
        layers.append((x, weight, bias, layer.padding))

    def step():
        for x, weight, bias, padding in layers:
            out = F.conv2d(x, weight, bias, padding=padding)
            out.backward(torch.ones_like(out))
            x.grad = weight.grad = bias.grad = None

    return step


def stepper(model, objective, images, points, *, bf16=False):
    """A training step without the optimizer's."""

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            named = model(images, named=True)
        parts = {name: getattr(named, name).float() for name in ("density", "experts", "groups", "attention")}
        terms = objective.terms(model, images, points, named._replace(**parts))
        torch.stack(list(terms.values())).sum().backward()
        model.zero_grad(set_to_none=True)

    return step


def measure(width, rounds, layout):
    torch.manual_seed(0)
    norm = "none" if width == 1 else "batch"
    model = build_model("hmode", width=width, norm=norm).to(memory_format=layout)
    model.calibrate(PEOPLE * 16 / SIDE**2)
    images = torch.rand(BATCH, 3, SIDE, SIDE).contiguous(memory_format=layout)
    points = [torch.rand(PEOPLE, 2) * SIDE for _ in range(BATCH)]
    loss = build_loss("l2", stride=4, sigma=6.4)
    seen, macs = convolutions_of(model, images)
    maps = torch.rand(7 * BATCH, 1, 32, 32, requires_grad=True)
    target = torch.rand(7 * BATCH, 1, 32, 32)
    objective = Objective(loss, relative=Relative())
    seconds = interleaved_medians(
        {
            "step": stepper(model, objective, images, points),
            "forward and backward": lambda: model(images).sum().backward(),
            "convolutions": plain(seen, layout),
            "bf16 step": stepper(model, objective, images, points, bf16=True),
            "REL": lambda: relative_errors(maps, target, region=4).sum().backward(),
        },
        rounds=rounds,
    )
    return macs, seconds


def main(rounds):
    rows = []
    for width, layout in ((1.0, torch.contiguous_format), (0.125, torch.channels_last)):
        macs, seconds = measure(width, rounds, layout)
        rows.append(
            [
                f"{width:g}",
                str(layout).removeprefix("torch."),
                f"{macs / 1e9:.1f}",
                *(f"{1e3 * seconds[name]:.1f}" for name in ("convolutions", "forward and backward", "step", "REL")),
                f"{seconds['forward and backward'] / seconds['convolutions']:.2f}",
                f"{100 * seconds['REL'] / seconds['step']:.2f} %",
                f"{seconds['step'] / seconds['bf16 step']:.2f}x",
            ]
        )
        header = ("width", "layout", "GMAC", "plain ms", "model ms", "step ms", "REL ms", "model/plain", "REL", "bf16")
        print(table(header, rows), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
