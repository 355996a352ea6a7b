"""What a training step minimises: a loss of the density map, and what relative counting and experts add to it.

Losses know no model, and models know no loss. They meet here. A model with one map and no extra term is trained on its
loss alone.
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
from workbench.losses.hmode import CONVENTIONS, attention_loss, hardest_error, importance_loss
from workbench.losses.l2 import L2Loss
from workbench.losses.relative import PAIRS, region_side, relative_errors
from workbench.losses.relative_rivals import absolute_local_counting, global_ranking, nested_ranking, nested_windows
from workbench.models import ModelOutput
from workbench.registry import check_options

RELATIVE_KINDS = ("hard", "random", "absolute", "global", "nested")
PUBLISHED_WEIGHTS = (1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 4.0)  # of three experts, three groups and the final map


@dataclass(frozen=True)
class Relative:
    """How local counts are trained beside the density, for every map of the model.

    Attributes:
        kind: "hard" (REL), "random" (RR), "absolute" (ALC), "global" (GRL) or "nested" (MD), Table IX.
        weight: factor on the term. None: stride^2 / 100. The published code's densities are people per pixel times
            100; this factor gives the same proportion to a squared error that is summed over cells.
        region: w as a share of the map's shorter side.
        hardest: S, the number of regions compared.
        sublists: number of sub-lists.
        pairs: "adjacent" or "all". None: "adjacent" with the convention "paper", "all" with "official".
        sigma: width in pixels of the target's Gaussians, for a loss without a target map.
        temperature: of the global ranking, in people.
    """

    kind: str = "hard"
    weight: float | None = None
    region: float = 0.125
    hardest: int = 9
    sublists: int = 3
    pairs: str | None = None
    sigma: float = 8.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_choice(self.kind, RELATIVE_KINDS, "relative.kind")
        if self.pairs is not None:
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
    """Factors on the parts of HMoDE's loss, see :class:`Objective`.

    Attributes:
        importance: factor on :func:`~workbench.losses.hmode.importance_loss`; 0 leaves it out.
        attention: factor on :func:`~workbench.losses.hmode.attention_loss`; 0 leaves it out.
        threshold: people per pixel above which the attention's target is foreground.
        intermediate: True: the experts' and groups' maps are trained like the final one. False: the final map alone.
        weights: factor on each map, the final one last. None: ones; with the convention "official" 1, 1, 1, 2, 2, 2, 4
            for a model of seven maps.
    """

    importance: float = 1.0
    attention: float = 1.0
    threshold: float = 1e-5
    intermediate: bool = True
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        for name in ("importance", "attention", "threshold"):
            check_positive(getattr(self, name), f"experts.{name}", zero=True)
        for weight in self.weights or ():
            check_positive(weight, "experts.weights", zero=True)


class Objective:
    r"""The terms of a training step: [HMoDE 7] over all K + M + 1 maps, with [HMoDE 4] for each of them.

    .. math:: L = \sum_k L_{E_k} + L_{Att} + L_{Eim}, \quad L_E = L_{Des} + L_{Rel}

    Any loss may take the place of L_Des. ``L2Loss`` is L_Des but for a factor: it sums over the cells where
    L_Des takes the mean.

    Args:
        loss: of a density map against points; its stride is the model's.
        relative: relative local counting, or None.
        experts: of a model with experts.
        convention: "paper" or "official"; None takes the loss's. "official" weighs seven maps, compares all pairs of
            regions, adds the squared error of the hardest regions as a number without gradient, sums the attention's
            entropy over the cells and the gates over the batch, and divides by the batch.

    Reference:
        Du, Shi, Deng and Zafeiriou, "Redesigning Multi-Scale Neural Network for Crowd Counting", IEEE TIP 2023,
        sec. III-D.
    """

    def __init__(
        self,
        loss: CrowdLoss,
        *,
        relative: Relative | None = None,
        experts: Experts | None = None,
        convention: str | None = None,
    ) -> None:
        if relative is not None and loss.readout != "density":
            raise ValueError(
                f"relative is {relative.kind!r}, expected None: {type(loss).__name__} trains a model's "
                f"{loss.readout!r}, and relative local counting a density"
            )
        self.loss = loss
        self.relative = relative
        self.experts = experts or Experts()
        self.convention = loss.convention if convention is None else convention
        check_choice(self.convention, CONVENTIONS, "convention")
        plain = L2Loss(stride=loss.stride, sigma=relative.sigma if relative else 8.0)
        self.painter = loss if isinstance(loss, L2Loss) else plain

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
            return self.loss.terms(result, points)
        official = self.convention == "official"
        targets = self.targets(points, result.density)
        weights = self.map_weights(maps)
        terms = self.density_terms(maps, points, targets, weights)
        if self.relative is not None:
            weight = self.loss.stride**2 / 100 if self.relative.weight is None else self.relative.weight
            terms["relative"] = weight * self.relative_term(network, images, result, maps, targets, weights)
        if result.attention is not None and self.experts.attention:
            threshold = self.experts.threshold * self.loss.stride**2
            attention = attention_loss(result.attention, targets, threshold=threshold, convention=self.convention)
            terms["attention"] = self.experts.attention * attention
        balanced = [gate for level in result.gates[:-1] for gate in level if gate.shape[1] > 1]
        if balanced and self.experts.importance:
            importance = importance_loss(balanced, per_image=not official, correction=int(official))
            terms["importance"] = self.experts.importance * importance / (len(maps) if official else 1)
        return terms

    def map_weights(self, maps: Float[Tensor, "b n h w"]) -> Float[Tensor, "n"]:
        """The factor on each map.

        Raises:
            ValueError: ``experts.weights`` does not have one number a map.
        """
        count, weights = maps.shape[1], self.experts.weights
        if weights is None:
            official = self.convention == "official" and count == len(PUBLISHED_WEIGHTS)
            weights = PUBLISHED_WEIGHTS if official else (1.0,) * count
        if len(weights) != count:
            raise ValueError(f"experts.weights holds {len(weights)} numbers, expected {count}, one a map")
        return maps.new_tensor(list(weights))

    def targets(self, points: Sequence[Tensor], density: Tensor) -> Float[Tensor, "b 1 h w"]:
        """The density maps of the annotations."""
        size = (density.shape[-2], density.shape[-1])
        return torch.stack([self.painter.target(people.to(density), size) for people in points])[:, None]

    def density_terms(
        self, maps: Tensor, points: Sequence[Tensor], targets: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        r"""The loss of every map, summed over the maps; with ``L2Loss`` it is Z times [HMoDE 3].

        .. math:: L_{Des} = \frac{1}{Z} \sum_z (e_z - e^g_z)^2
        """
        if isinstance(self.loss, L2Loss):  # one target for all of them
            squared = (maps - targets).square().sum(dim=(2, 3))
            return {"pixel": (squared * weights).sum(dim=1).mean()}
        parts = [self.loss.terms(one, points) for one in maps.split(1, dim=1)]
        return {name: weights @ torch.stack([part[name] for part in parts]) for name in parts[0]}

    def relative_term(
        self, network: nn.Module, images: Tensor, result: ModelOutput, maps: Tensor, targets: Tensor, weights: Tensor
    ) -> Tensor:
        """The term of the local counts, summed over the maps; of the branch alone where the model has one."""
        relative = self.relative
        assert relative is not None
        if relative.kind == "nested":
            return nested_term(network, images)
        if relative.kind == "global":
            parts = maps.split(1, dim=1)
            return weights @ torch.stack([global_ranking(m, targets, temperature=relative.temperature) for m in parts])
        region = region_side((maps.shape[-2], maps.shape[-1]), relative.region)
        if result.branch is not None:
            maps, weights = result.density, weights[-1:].new_ones(1)
        if relative.kind == "absolute":
            parts = maps.split(1, dim=1) if result.branch is None else (result.branch,)
            return weights @ torch.stack([absolute_local_counting(m, targets, region=region) for m in parts])
        official = self.convention == "official"
        every = maps.flatten(0, 1)[:, None]  # one batch of all maps: one sort instead of one a map
        repeated = targets.repeat_interleave(maps.shape[1], dim=0)
        errors = relative_errors(
            every,
            repeated,
            region=region,
            hardest=relative.hardest,
            sublists=relative.sublists,
            pairs=relative.pairs or ("all" if official else "adjacent"),
            choose=relative.kind,
            counts=result.branch,
        )
        if official and relative.kind == "hard":
            errors = errors + hardest_error(every, repeated, region=region, hardest=relative.hardest)
        return (errors.unflatten(0, (len(maps), -1)) * weights).sum(dim=1).mean()


def named_result(network: nn.Module, images: Tensor) -> ModelOutput:
    """The network's named result in the images' precision or single; a plain map from a network that names nothing."""
    # through the call itself, not a method: so that Fabric's precision and processes are kept
    result = network(images, named=True) if hasattr(network, "outputs") else ModelOutput(network(images))
    fields: dict[str, Any] = {
        name: value.float() for name, value in result._asdict().items() if isinstance(value, Tensor)
    }
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
