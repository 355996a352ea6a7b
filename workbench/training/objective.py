"""What a training step minimises: a loss of the density map, and what relative counting and experts add to it.

Losses know no model and models no loss; this is where a model's named result meets them. A model of one map with no
extra term is trained on its loss alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.checks import check_choice, check_positive, check_whole
from workbench.losses.base import CrowdLoss
from workbench.losses.hmode import attention_loss, importance_loss
from workbench.losses.l2 import L2Loss
from workbench.losses.relative import PAIRS, region_side, relative_errors
from workbench.losses.relative_rivals import absolute_local_counting, global_ranking, nested_ranking, nested_windows
from workbench.models import ModelOutput
from workbench.registry import check_options

KINDS = ("hard", "random", "absolute", "global", "nested")


@dataclass(frozen=True)
class Relative:
    """How local counts are trained besides the density, for every map of the model.

    Attributes:
        kind: "hard" (REL), "random" (RR), "absolute" (ALC), "global" (GRL) or "nested" (MD), Table IX.
        weight: factor on the term. None is stride^2 / 100, the published code's proportion to a squared error summed
            over cells: its densities are by the pixel and times 100.
        region: w as a share of the map's shorter side.
        hardest: S.
        sublists: number of sub-lists.
        pairs: "adjacent" or "all".
        sigma: width in pixels of the target's Gaussians where the loss has no target of its own.
        temperature: of the global ranking, in people.
    """

    kind: str = "hard"
    weight: float | None = None
    region: float = 0.125
    hardest: int = 9
    sublists: int = 3
    pairs: str = "adjacent"
    sigma: float = 8.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_choice(self.kind, KINDS, "relative.kind")
        check_choice(self.pairs, PAIRS, "relative.pairs")
        check_whole(self.hardest, "relative.hardest")
        check_whole(self.sublists, "relative.sublists")
        for name in ("weight", "region", "sigma", "temperature"):
            if name == "weight" and self.weight is None:
                continue
            check_positive(getattr(self, name), f"relative.{name}")
        if self.region > 1:
            raise ValueError(f"relative.region is {self.region!r}, expected a share of the map's side, at most 1")


@dataclass(frozen=True)
class Experts:
    """Factors on what HMoDE adds to the losses of its maps, eq. (7).

    Attributes:
        importance: on the importance loss, eq. (6); 0 leaves it out.
        attention: on the attention loss, eq. (5); 0 leaves it out.
        threshold: people per pixel above which the attention's target is foreground.
        intermediate: whether experts and groups are trained as the final map is, or the final map alone.
    """

    importance: float = 1.0
    attention: float = 1.0
    threshold: float = 1e-5
    intermediate: bool = True

    def __post_init__(self) -> None:
        for name in ("importance", "attention", "threshold"):
            check_positive(getattr(self, name), f"experts.{name}", zero=True)


class Objective:
    r"""The terms of a training step, eq. (7) with any loss in the place of eq. (3).

    .. math:: L = \sum_k (L_{Des} + L_{Rel})_k + L_{Att} + L_{Eim}

    Args:
        loss: of a density map against points; its stride is the model's.
        relative: relative local counting, or None.
        experts: of a model with experts.
    """

    def __init__(self, loss: CrowdLoss, *, relative: Relative | None = None, experts: Experts | None = None) -> None:
        self.loss = loss
        self.relative = relative
        self.experts = experts or Experts()
        self.painter = loss if isinstance(loss, L2Loss) else None
        if self.painter is None:
            self.painter = L2Loss(stride=loss.stride, sigma=relative.sigma if relative else 8.0)

    def step(
        self, network: nn.Module, images: Tensor, points: Sequence[Tensor]
    ) -> tuple[Float[Tensor, "b 1 h w"], dict[str, Float[Tensor, ""]]]:
        """The density map, and the terms of a step: means over the batch that add up to what is minimised."""
        result = named_result(network, images)
        return result.density, self.terms(network, images, points, result)

    def terms(
        self, network: nn.Module, images: Tensor, points: Sequence[Tensor], result: ModelOutput
    ) -> dict[str, Float[Tensor, ""]]:
        """The named terms of a step from what the network gave."""
        maps = result.maps() if self.experts.intermediate else result.density
        if self.relative is None and maps.shape[1] == 1 and result.attention is None and not result.gates:
            return self.loss.terms(result.density, points)
        targets = self.targets(points, result.density)
        terms = self.density_terms(maps, points, targets)
        if self.relative is not None:
            weight = self.loss.stride**2 / 100 if self.relative.weight is None else self.relative.weight
            terms["relative"] = weight * self.relative_term(network, images, result, maps, targets)
        if result.attention is not None and self.experts.attention:
            threshold = self.experts.threshold * self.loss.stride**2
            terms["attention"] = self.experts.attention * attention_loss(result.attention, targets, threshold=threshold)
        balanced = [gate for level in result.gates[:-1] for gate in level if gate.shape[1] > 1]
        if balanced and self.experts.importance:
            terms["importance"] = self.experts.importance * importance_loss(balanced)
        return terms

    def targets(self, points: Sequence[Tensor], density: Tensor) -> Float[Tensor, "b 1 h w"]:
        """The density maps of the annotations."""
        assert self.painter is not None
        size = (density.shape[-2], density.shape[-1])
        return torch.stack([self.painter.target(people.to(density), size) for people in points])[:, None]

    def density_terms(self, maps: Tensor, points: Sequence[Tensor], targets: Tensor) -> dict[str, Tensor]:
        """The loss of every map, summed over the maps."""
        if isinstance(self.loss, L2Loss):  # one target for all of them
            return {"pixel": (maps - targets).square().sum(dim=(1, 2, 3)).mean()}
        count = maps.shape[1]
        repeated = [people for people in points for _ in range(count)]
        return {name: count * value for name, value in self.loss.terms(maps.flatten(0, 1)[:, None], repeated).items()}

    def relative_term(
        self, network: nn.Module, images: Tensor, result: ModelOutput, maps: Tensor, targets: Tensor
    ) -> Tensor:
        """The term of the local counts, summed over the maps; of the branch alone where the model has one."""
        relative = self.relative
        assert relative is not None
        if relative.kind == "nested":
            return nested_term(network, images)
        if relative.kind == "global":
            parts = maps.split(1, dim=1)
            ranked = [global_ranking(one, targets, temperature=relative.temperature) for one in parts]
            return torch.stack(ranked).sum()
        region = region_side((maps.shape[-2], maps.shape[-1]), relative.region)
        count = 1 if result.branch is not None else maps.shape[1]
        every = result.density if result.branch is not None else maps.flatten(0, 1)[:, None]
        repeated = targets.repeat_interleave(count, dim=0)
        if relative.kind == "absolute":
            counted = every if result.branch is None else result.branch
            return count * absolute_local_counting(counted, repeated, region=region)
        errors = relative_errors(
            every,
            repeated,
            region=region,
            hardest=relative.hardest,
            sublists=relative.sublists,
            pairs=relative.pairs,
            choose=relative.kind,
            counts=result.branch,
        )
        return count * errors.mean()


def named_result(network: nn.Module, images: Tensor) -> ModelOutput:
    """The network's named result in the images' precision or single; a plain map from a network that names nothing."""
    # through the call itself, not a method: so that Fabric's precision and processes are kept
    result = network(images, named=True) if hasattr(network, "outputs") else ModelOutput(network(images))
    fields = {name: getattr(result, name) for name in ("density", "experts", "groups", "attention", "branch")}
    fields = {name: None if value is None else value.float() for name, value in fields.items()}
    return result._replace(**fields, gates=tuple(tuple(gate.float() for gate in level) for level in result.gates))


def nested_term(network: nn.Module, images: Tensor) -> Tensor:
    """MD: the network counts nested windows, each enlarged to the images' size, as Liu et al. (CVPR 2018) feed them."""
    size = (images.shape[-2], images.shape[-1])
    windows = [images[..., y : y + side, x : x + side] for x, y, side in nested_windows(size)]
    enlarged = [F.interpolate(window, size=size, mode="bilinear", align_corners=False) for window in windows]
    counts = network(torch.cat(enlarged)).float().sum(dim=(1, 2, 3))
    return nested_ranking(counts.unflatten(0, (len(windows), -1)).T)


def build_objective(loss: CrowdLoss, relative: Mapping[str, Any], experts: Mapping[str, Any]) -> Objective:
    """An objective from a configuration's options; without options of ``relative`` there is no such term.

    Raises:
        ValueError: an option is not known or out of range.
    """
    table = {"relative": f"{__name__}:Relative", "experts": f"{__name__}:Experts"}
    term = check_options(table, "relative", "options", relative)
    added = check_options(table, "experts", "options", experts)
    return Objective(loss, relative=term(**relative) if relative else None, experts=added(**experts))
