"""The losses of HMoDE: attention, expert importance, and the total over all its density maps (eq. (3) to (7))."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_positive, check_whole
from workbench.losses.base import in_single
from workbench.losses.relative import local_error, relative_errors
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
    r"""Cross entropy between the attention map and where there is any density, eq. (5).

    .. math:: L_{Att} = -\frac{1}{Z} \sum_z a^g_z \log a_z + (1 - a^g_z) \log(1 - a_z)

    The paper prints the first sign as plus and the second as minus. The attention map has a value for each cell of the
    encoder, which stands for all the target's cells in it.

    Args:
        attention: (B, 1, h, w) in [0, 1].
        target_density: (B, 1, H, W); its cells are the foreground where it is above ``threshold``.
        threshold: in the target's unit; the paper's 1e-5 is people per pixel.
        convention: "paper", the mean over cells and batch; "official", the sum over cells, 1e-10 inside the logarithms,
            the mean over the batch.

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
    r"""The experts of a group shall weigh the same over an image, eq. (6).

    .. math:: L_{Eim} = \sum_{i=1}^M \left(\frac{\sigma(W_i)}{\bar W_i}\right)^2, \quad W_{ij} = \sum_z G^1_{ij}(z)

    Args:
        gates: a group each, (B, N, H, W): its members' weights. A group of one has no spread.
        per_image: the loss of each image, then the mean over the batch, as the paper says; else the weights are summed
            over the batch first, as the published code does.
        correction: of the variance's divisor; 0 is that of all experts, 1 Bessel's, as in the published code.

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


def total_loss(
    maps: Float[Tensor, "b n h w"],
    target_density: Float[Tensor, "b 1 h w"],
    *,
    gates: Sequence[Float[Tensor, "b _ _h _w"]] = (),
    attention: Float[Tensor, "b 1 _h _w"] | None = None,
    region: int | None = None,
    hardest: int = 9,
    sublists: int = 3,
    threshold: float = 1e-5,
    weights: Sequence[float] | None = None,
    convention: str = "paper",
) -> dict[str, Float[Tensor, ""]]:
    r"""The total loss over all K + M + 1 density maps, as named terms that add up to it: eq. (7) with (3) and (4).

    .. math:: L = \sum_k (L_{Des} + L_{Rel})_k + L_{Att} + L_{Eim}, \quad L_{Des} = \frac{1}{Z} \sum_z (e_z - e^g_z)^2

    Args:
        maps: (B, n, H, W), the density maps, the final one last.
        target_density: (B, 1, H, W), in the same unit.
        gates: of the groups below the last level.
        attention: (B, 1, h, w) in [0, 1], or None.
        region: w in cells, or None for no relative local counting.
        hardest: S.
        sublists: of relative local counting.
        threshold: of the attention's target.
        weights: of each map; ones if None, and with "official" the published 1, 1, 1, 2, 2, 2, 4 if there are seven.
        convention: "official" sums over the cells instead of L_Des's mean, compares all pairs, adds the hard regions'
            error as a number without gradient, sums the gates over the batch, and divides everything by the batch.

    Reference:
        Du, Shi, Deng and Zafeiriou, IEEE TIP 2023, sec. III-D.
    """
    check_choice(convention, CONVENTIONS, "convention")
    check_tensor(target_density, "target_density", shape=(None, 1, None, None))
    batch, _, rows, columns = target_density.shape
    check_tensor(maps, "maps", shape=(batch, None, rows, columns))
    check_whole(maps.shape[1], "number of maps")
    official = convention == "official"
    if weights is None:
        weights = (1, 1, 1, 2, 2, 2, 4) if official and maps.shape[1] == 7 else (1,) * maps.shape[1]
    if len(weights) != maps.shape[1]:
        raise ValueError(f"weights holds {len(weights)} numbers, expected {maps.shape[1]}, one a map")
    weight = maps.new_tensor(list(weights))
    squared = (maps - target_density).square()
    density = squared.sum(dim=(2, 3)) if official else squared.mean(dim=(2, 3))
    terms = {"density": (density * weight).sum(dim=1).mean()}
    if region is not None:
        every = maps.flatten(0, 1)[:, None]  # one batch of all maps: one sort instead of n
        targets = target_density.repeat_interleave(maps.shape[1], dim=0)
        pairs = "all" if official else "adjacent"
        errors = relative_errors(every, targets, region=region, hardest=hardest, sublists=sublists, pairs=pairs)
        if official:
            errors = errors + hardest_error(every, targets, region=region, hardest=hardest)
        terms["relative"] = (errors.unflatten(0, (batch, -1)) * weight).sum(dim=1).mean()
    if attention is not None:
        terms["attention"] = attention_loss(attention, target_density, threshold=threshold, convention=convention)
    if gates and official:
        terms["importance"] = importance_loss(gates, per_image=False, correction=1) / batch
    elif gates:
        terms["importance"] = importance_loss(gates)
    return terms


@torch.no_grad()
def hardest_error(
    density: Float[Tensor, "b 1 h w"], target_density: Float[Tensor, "b 1 h w"], *, region: int, hardest: int = 9
) -> Float[Tensor, "b"]:
    """The summed squared error of each image's hardest regions: a number without gradient."""
    error = local_error(density, target_density, region)
    return error.topk(min(hardest, error.shape[1]), dim=1).values.sum(dim=1)
