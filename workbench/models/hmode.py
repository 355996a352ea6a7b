"""HMoDE: density maps of several scales, combined by pixel-wise gates in a hierarchy of overlapping groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.checks import check_choice, check_whole
from workbench.models.base import ACTIVATIONS, CountingModel, ModelOutput, calibrate_layer, cover
from workbench.models.hmode_gates import AttentionNet, DensityHead, GatingNet
from workbench.models.hmode_mixture import WEIGHTINGS, combine, enlarge, gate_weights, hierarchy
from workbench.models.hmode_names import own_names
from workbench.models.layers import VGG16, convolutions, initialise, scale_width

DECODER = ((1024, 512), (512, 256), (256, 128), (128, 64))
GATE_2 = (1024, 2048, 1024, 512, 256)


class HMoDE(CountingModel):
    r"""The hierarchical mixture of density experts; stride 4 with three experts, 2 with four.

    .. math:: E_{out} = \sum_i \sum_j G^2_i \cdot G^1_{ij} \cdot E_{ij}

    VGG-16-BN's thirteen convolutions, K decoding blocks with skip connections, a density head at each, and gates that
    weigh the heads' maps (:func:`workbench.models.hmode_mixture.combine`). Expert E1 is the finest, the last block's.
    All maps are in people per cell of the final map, so a coarse map keeps its mass when it is enlarged. The defaults
    are the paper's but for the activation; ``fusion``, ``weighting``, ``attention`` and the rest are the variants of
    Tables IV to VIII.

    Where the paper is silent: the widths are the published code's; a fourth expert comes from a fourth block, with the
    skip from conv2_2; a third level is gated as the first; gates are enlarged before their softmax.

    Args:
        width: factor on the numbers of channels; 1 is the paper's, 0.125 trains on a laptop's CPU.
        norm: of decoder and gates: "none" (the paper's), "batch" or "group"; the encoder has batch normalisation, or
            group normalisation with "group".
        activation: what makes the maps non-negative; see :class:`~workbench.models.base.CountingModel`. The paper and
            its code end each head in a ReLU, "relu", which can be zero everywhere from the start.
        convention: "paper" enlarges bilinearly; "official" enlarges maps by nearest neighbour and features with aligned
            corners, and divides by the 100 that the published training multiplies the ground truth with.
        experts: K, 3 or 4.
        group_size: N.
        depth: levels D, 2 or more.
        fusion: "hmode", "ordinary" (groups do not overlap), "moe" (one level), "average" (the baseline), "concat".
        pair: the two experts that "ordinary" combines first, counted from 1.
        weighting: "pixel", "image", "hard" or "channel", see :func:`workbench.models.hmode_mixture.gate_weights`.
        gate: kind of the first gating net: "conv", "residual" or "multiscale" (Table V).
        gate_layers: number of its convolutions: 2, 4 or 6.
        gate_input: where it looks: "EB1" to "EB3" (conv3_3, conv4_3, conv5_3), "DB3" to "DB1" (Table VI).
        attention: kind of the attention net, or None for none (Tables IV, VII).
        attention_layers: number of its convolutions: 3, 6 or 9.
        branch: a second map from the last block, for local counts alone (DB of Table IX).

    Reference:
        Du, Shi, Deng and Zafeiriou, "Redesigning Multi-Scale Neural Network for Crowd Counting", IEEE TIP 2023.
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        norm: str = "none",
        activation: str | None = None,
        convention: str = "paper",
        experts: int = 3,
        group_size: int = 2,
        depth: int = 2,
        fusion: str = "hmode",
        pair: Sequence[int] = (2, 3),
        weighting: str = "pixel",
        gate: str = "conv",
        gate_layers: int = 2,
        gate_input: str = "EB3",
        attention: str | None = "conv",
        attention_layers: int = 3,
        branch: bool = False,
    ) -> None:
        check_choice(experts, (3, 4), "experts")
        check_choice(convention, ("paper", "official"), "convention")
        check_choice(weighting, WEIGHTINGS, "weighting")
        check_whole(gate_layers, "gate_layers", least=2)
        super().__init__(stride=16 // 2 ** (experts - 1), multiple=16, activation=activation)
        self.levels = hierarchy(fusion, experts=experts, group_size=group_size, depth=depth, pair=pair)
        self.fusion, self.weighting = fusion, weighting
        self.convention = convention
        self.follow({"convention": convention})
        options = {"width": width, "norm": norm}
        self.features, channels = convolutions(VGG16, 3, width=width, norm="group" if norm == "group" else "batch")
        stages = [scale_width(c, width) for c in (64, 128, 256, 512, 512)]
        self.decoder, ends = nn.ModuleList(), []
        for number, plan in enumerate(DECODER[:experts]):
            entry = channels + (stages[-1 - number] if number else 0)
            block, channels = convolutions(plan, entry, **options)  # type: ignore[arg-type]
            self.decoder.append(block)
            ends.append(channels)
        places = {f"EB{k}": stages[k + 1] for k in (1, 2, 3)}
        places |= {f"DB{experts - number}": size for number, size in enumerate(ends)}
        check_choice(gate_input, tuple(places), "gate_input")
        self.gate_input = gate_input
        if fusion == "concat":
            # A 1 x 1 convolution of concatenated features is the sum of one convolution for each part, and only one
            # of them needs a bias. It may be applied before the features are enlarged.
            plain = [nn.Conv2d(size, 1, 1, bias=number == 0) for number, size in enumerate(reversed(ends))]
            self.heads = nn.ModuleList(plain)
        else:
            self.heads = nn.ModuleList(DensityHead(size, width=width) for size in reversed(ends))
        channelwise = weighting == "channel" and fusion not in ("average", "concat")
        hidden = scale_width(64, width) if channelwise else 1
        self.projection = nn.Conv2d(hidden, 1, 1) if channelwise else None
        gated = self.levels if fusion != "average" else ()
        nets = []
        for number, level in enumerate(gated):
            last = number > 0 and number == len(gated) - 1
            nets.append(
                GatingNet(
                    stages[-1] if last else places[gate_input],
                    hidden * sum(len(group) for group in level),
                    GATE_2 if last else (256,) * (gate_layers - 1),
                    kind="conv" if last else gate,
                    **options,  # type: ignore[arg-type]
                )
            )
        self.gates = nn.ModuleList(nets)
        self.attention = (
            AttentionNet(stages[-1], layers=attention_layers, kind=attention, **options)  # type: ignore[arg-type]
            if attention is not None and len(gated) > 1
            else None
        )
        self.branch = DensityHead(ends[-1], width=width) if branch else None
        initialise(self)

    def outputs(self, images: Float[Tensor, "b 3 h w"]) -> ModelOutput:
        """Experts, groups, gates, attention and the final density map, see :class:`ModelOutput`."""
        stages, blocks = self.encode_decode(self.prepare(images))
        size = (blocks[-1].shape[-2], blocks[-1].shape[-1])
        fine = list(reversed(blocks))
        attention = None if self.attention is None else self.attention(stages[-1])
        pairs = zip(self.heads, fine, strict=True)
        if self.fusion == "concat":
            maps = [enlarge(head(x), size, self.map_mode) for head, x in pairs]
            result = ModelOutput(self.positive(torch.stack(maps).sum(dim=0)))
        else:
            maps = [enlarge(self.positive(head(x)), size, self.map_mode) for head, x in pairs]
            result = self.mix(torch.cat(maps, dim=1), fine, self.gate_features(stages, blocks, attention))
        second = None if self.branch is None else self.positive(self.branch(blocks[-1]))
        return ModelOutput(
            density=cover(result.density, images, self.stride),
            experts=None if result.experts is None else cover(result.experts, images, self.stride),
            groups=None if result.groups is None else cover(result.groups, images, self.stride),
            gates=tuple(tuple(cover(gate, images, self.stride) for gate in level) for level in result.gates),
            levels=self.levels,
            attention=None if attention is None else cover(attention, images, self.multiple),
            branch=None if second is None else cover(second, images, self.stride),
        )

    def encode_decode(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Features before each pooling of the encoder and at its end, and after each block of the decoder."""
        stages, x = [], images
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                stages.append(x)
            x = layer(x)
        stages.append(x)
        blocks: list[Tensor] = []
        for number, block in enumerate(self.decoder):
            if number:
                skip = stages[-1 - number]
                x = torch.cat([enlarge(x, (skip.shape[-2], skip.shape[-1]), self.feature_mode), skip], dim=1)
            x = block(x)
            blocks.append(x)
        return stages, blocks

    def gate_features(self, stages: list[Tensor], blocks: list[Tensor], attention: Tensor | None) -> list[Tensor]:
        """What each gating net looks at: the chosen feature, and the attended end of the encoder for the last."""
        count = len(self.gates)
        where, number = self.gate_input[:2], int(self.gate_input[2:])
        first = stages[number + 1] if where == "EB" else blocks[len(blocks) - number]
        last = stages[-1] if attention is None else stages[-1] * attention
        return [first] * (count - 1) + [last] if count > 1 else [first] * count

    def mix(self, experts: Tensor, fine: list[Tensor], looked_at: list[Tensor]) -> ModelOutput:
        """The experts combined level by level; for "channel" the features before the last convolution."""
        size = (experts.shape[-2], experts.shape[-1])
        if not self.gates:  # the average: weights that are the same for all
            share = experts.new_full((len(experts), experts.shape[1], 1, 1), 1 / experts.shape[1])
            return ModelOutput(experts.mean(dim=1, keepdim=True), experts, None, ((share.expand_as(experts),),))
        members = experts[:, :, None]
        if self.projection is not None:
            heads: list[Any] = list(self.heads)
            features = [head.features(x) for head, x in zip(heads, fine, strict=True)]
            members = torch.stack([enlarge(x, size, self.feature_mode) for x in features], dim=1)
        groups, gates = [], []
        for level, net, feature in zip(self.levels, self.gates, looked_at, strict=True):
            weights = gate_weights(net(feature), level, size, weighting=self.weighting, mode=self.map_mode)
            members = combine(members, level, weights)
            gates.append(tuple(weight.mean(dim=2).expand(-1, -1, *size) for weight in weights))
            maps = members[:, :, 0]
            if self.projection is not None:
                maps = self.positive(self.projection(members.flatten(0, 1))).unflatten(0, members.shape[:2])[:, :, 0]
            # An expert that is passed on alone is no group
            groups.append(maps[:, [k for k, group in enumerate(level) if len(group) > 1]])
        below = torch.cat(groups[:-1], dim=1) if len(groups) > 1 else None
        return ModelOutput(groups[-1], experts, below, tuple(gates))

    def positive(self, maps: Tensor) -> Tensor:
        """People per cell of the final map."""
        return ACTIVATIONS[self.activation](maps) * self.unit

    @property
    def rule(self) -> dict[str, Any]:
        """The activation and the convention."""
        return {**super().rule, "convention": self.convention}

    def follow(self, rule: Mapping[str, Any]) -> None:
        """See :meth:`CountingModel.follow`; ``convention`` is "paper" or "official"."""
        super().follow(rule)
        if "convention" in rule:
            check_choice(rule["convention"], ("paper", "official"), "convention")
            self.convention = rule["convention"]
            official = self.convention == "official"
            self.map_mode, self.feature_mode = ("nearest", "aligned") if official else ("bilinear", "bilinear")
            # The published network predicts 100 people a pixel as 1
            self.unit = self.stride**2 / 100 if official else 1.0

    def own_names(self, state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The published network's tensors by the names they have here, and the rule that goes with them."""
        return own_names(state, self.state_dict())

    def extra_repr(self) -> str:
        """The options that no layer shows."""
        shown = {
            "fusion": self.fusion,
            "levels": self.levels,
            "weighting": self.weighting,
            "gate_input": self.gate_input,
        }
        return ", ".join([super().extra_repr(), *(f"{name}={value!r}" for name, value in shown.items())])

    def calibrate(self, mean_density: float) -> None:
        """Give every head small weights and the bias of the mean, see :meth:`CountingModel.calibrate`."""
        last: list[Any] = [*self.heads, self.branch, self.projection]
        for head in last:
            if head is not None:
                layer = head.out if isinstance(head, DensityHead) else head
                calibrate_layer(layer, mean_density / self.unit, self.activation)
