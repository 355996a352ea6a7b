"""An adversarial patch: a square of the image in which every pixel may take any value."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.adversarial.attacks import Model, attacked, check_inputs, flat, input_gradient, like
from workbench.adversarial.tasks import CLASSIFICATION, Targets, Task
from workbench.checks import check_positive, check_whole


def patch_attack(
    model: Model,
    x: Float[Tensor, "b c h w"],
    y: Targets,
    side: int,
    *,
    steps: int = 20,
    step_size: float = 0.1,
    momentum: float = 0.9,
    places: int = 1,
    seed: int = 0,
    task: Task = CLASSIFICATION,
) -> Float[Tensor, "b c h w"]:
    """Raise the loss by the pixels of one square an image, by signed gradient steps with momentum.

    Each image keeps the best of all steps and places, the clean image among them. The patch that APAM prints and
    photographs is one for all images; ours is one an image, which is the stronger attack.

    Args:
        model: from images to logits or densities; attacked in eval mode.
        x: (B, C, H, W), in [0, 1].
        y: labels, or points.
        side: of the square in pixels.
        steps: gradient steps for each place.
        step_size: of each pixel.
        momentum: decay of the running sum of gradients.
        places: random places that are tried.
        seed: of the places and of the first values.
        task: the loss to raise.

    Raises:
        ValueError: x is not in [0, 1], the side is larger than the image, or an option is out of range.

    Reference:
        Wu et al., "Towards Adversarial Patch Analysis and Certified Defense against Crowd Counting", ACM MM 2021.
    """
    check_inputs(x, y)
    for name, value in (("side", side), ("steps", steps), ("places", places)):
        check_whole(value, name)
    check_positive(step_size, "step_size")
    check_positive(momentum, "momentum", zero=True)
    count, _, height, width = x.shape
    if side > min(height, width):
        raise ValueError(f"side is {side}, expected at most {min(height, width)}, the image's shorter side")
    draw = torch.Generator(device=x.device).manual_seed(seed)
    rows, columns = (torch.arange(size, device=x.device) for size in (height, width))

    with attacked(model):

        def loss_of(images: Tensor) -> Tensor:
            with torch.no_grad():
                return task.losses(model(images), y)

        best, most = x.detach().clone(), loss_of(x)
        for _ in range(places):
            top = torch.randint(height - side + 1, (count,), generator=draw, device=x.device)
            left = torch.randint(width - side + 1, (count,), generator=draw, device=x.device)
            down, across = rows - top[:, None], columns - left[:, None]
            inside = ((down >= 0) & (down < side))[:, None, :, None] & ((across >= 0) & (across < side))[:, None, None]
            noise = torch.rand(x.shape, generator=draw, dtype=x.dtype, device=x.device)
            moved, running = torch.where(inside, noise, x), torch.zeros_like(x)
            for _ in range(steps):
                gradient, _ = input_gradient(model, moved, y, task)
                gradient = torch.where(inside, gradient, 0)
                size = flat(gradient).abs().sum(dim=1).clamp(min=torch.finfo(x.dtype).tiny)
                running = momentum * running + gradient / like(size, x)
                moved = (moved + step_size * running.sign()).clamp(0, 1)
                reached = loss_of(moved)
                better = reached > most
                best = torch.where(like(better, x), moved, best)
                most = torch.where(better, reached, most)
    return best
