"""What HMoDE's loss has beside the losses of its maps: attention and expert importance.

:class:`workbench.training.objective.Objective` adds them up.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive
from workbench.losses.base import in_single
from workbench.losses.relative import local_error
from workbench.tensor_checks import check_tensor

CONVENTIONS = ("paper", "official")


@in_single
def attention_loss(
    attention: Float[Tensor, "b 1 h w"],
    target_density: Float[Tensor, "b 1 hh ww"],
    *,
    threshold: float = 1e-5,
    convention: str = "paper",
) -> Float[Tensor, ""]:
    r"""[HMoDE 5]: cross entropy between the attention map and the foreground, the cells with any density.

    .. math:: L_{Att} = -\frac{1}{Z} \sum_z a^g_z \log a_z + (1 - a^g_z) \log(1 - a_z)

    The paper prints no sign before the first logarithm and a minus before the second. One value of the attention map
    stands for all cells of the target that its cell of the encoder covers.

    Args:
        attention: (B, 1, h, w) in [0, 1].
        target_density: (B, 1, H, W); its cells are the foreground where it is above ``threshold``.
        threshold: in the target's unit; the paper's 1e-5 is people per pixel.
        convention: "paper": the mean over cells and batch. "official": the sum over cells, the mean over the batch,
            and 1e-10 added inside the logarithms.

    Raises:
        ValueError: attention outside [0, 1], or shapes that do not fit.
    """
    check_choice(convention, CONVENTIONS, "convention")
    check_positive(threshold, "threshold", zero=True)
    check_tensor(target_density, "target_density", shape=(None, 1, None, None))
    check_tensor(attention, "attention", shape=(len(target_density), 1, None, None))
    if attention.numel() and not 0 <= float(attention.detach().min()) <= float(attention.detach().max()) <= 1:
        raise ValueError(f"attention reaches from {float(attention.min()):g} to {float(attention.max()):g}, not [0, 1]")
    enlarged = enlarge_attention(attention, (target_density.shape[-2], target_density.shape[-1]))
    foreground = (target_density > threshold).to(attention)
    if convention == "official":
        tiny = 1e-10
        entropy = foreground * torch.log(enlarged + tiny) + (1 - foreground) * torch.log(1 - enlarged + tiny)
        return -entropy.sum() / len(attention)
    return F.binary_cross_entropy(enlarged, foreground)


def enlarge_attention(attention: Float[Tensor, "b 1 h w"], size: tuple[int, int]) -> Float[Tensor, "b 1 hh ww"]:
    """Each value over the 1 x 1, 2 x 2, 4 x 4, ... cells that it stands for; what lies beyond ``size`` is cut off."""
    rows, columns = size
    for times in (2**power for power in range(max(size).bit_length() + 1)):
        if attention.shape[-2:] == (-(-rows // times), -(-columns // times)):
            return attention.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)[..., :rows, :columns]
    raise ValueError(
        f"attention has {attention.shape[-2]} x {attention.shape[-1]} cells, which do not cover the target's "
        f"{rows} x {columns} at 1, 2, 4, ... of its cells each"
    )


@in_single
def importance_loss(
    gates: Sequence[Float[Tensor, "b _ h w"]], *, per_image: bool = True, correction: int = 0
) -> Float[Tensor, ""]:
    r"""[HMoDE 6]: zero where all experts of a group have the same weight over an image.

    .. math:: L_{Eim} = \sum_{i=1}^M \left(\frac{\sigma(W_i)}{\bar W_i}\right)^2, \quad W_{ij} = \sum_z G^1_{ij}(z)

    Args:
        gates: a group each, (B, N, H, W): its members' weights. A group of one has no spread.
        per_image: True: the loss of each image, then the mean over the batch, as the paper says. False: the weights are
            summed over the batch first, as in the published code.
        correction: subtracted from the number of experts in the variance's divisor: 0, or 1 (Bessel's correction) as
            in the published code.

    Returns:
        A scalar without unit; zero where there is no gate.
    """
    check_choice(correction, (0, 1), "correction")
    total = torch.zeros((), dtype=gates[0].dtype, device=gates[0].device) if gates else torch.zeros(())
    for index, group in enumerate(gates):
        check_tensor(group, f"gates[{index}]", shape=(None, None, None, None))
        if group.shape[1] < 2:
            continue
        scores = group.sum(dim=(2, 3))
        if not per_image:
            scores = scores.sum(dim=0, keepdim=True)
        squared = scores.mean(dim=1).square() + 1e-10
        total = total + (scores.var(dim=1, correction=correction) / squared).mean()
    return total


@torch.no_grad()
def hardest_error(
    density: Float[Tensor, "b 1 h w"], target_density: Float[Tensor, "b 1 h w"], *, region: int, hardest: int = 9
) -> Float[Tensor, "b"]:
    """The summed squared error of each image's hardest regions: a number without gradient."""
    error = local_error(density, target_density, region)
    return error.topk(min(hardest, error.shape[1]), dim=1).values.sum(dim=1)
