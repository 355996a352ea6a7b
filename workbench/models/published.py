"""Published networks: what they call their tensors, and how they compute where this workbench would do otherwise."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class NameMap(NamedTuple):
    """One published implementation.

    Attributes:
        title: whose it is.
        mark: a name that no other state has.
        prefixes: the beginnings of its names -> ours.
        rule: what :meth:`workbench.models.base.CountingModel.follow` is told.
    """

    title: str
    mark: str
    prefixes: Mapping[str, str]
    rule: Mapping[str, Any]


VGG_DECODER = {"reg_layer.0.": "decoder.0.", "reg_layer.2.": "decoder.2."}
NAME_MAPS = (
    NameMap(
        "CSRNet",
        "output_layer.weight",
        {"frontend.": "features.", "output_layer.": "head."},
        {"activation": "none"},
    ),
    NameMap(
        "DM-Count",
        "density_layer.0.weight",
        {**VGG_DECODER, "density_layer.0.": "head."},
        {"activation": "relu", "align_corners": True},
    ),
    NameMap(
        "Bayesian loss",
        "reg_layer.4.weight",
        {**VGG_DECODER, "reg_layer.4.": "head."},
        {"activation": "abs", "align_corners": True},
    ),
)
"""CSRNet ends in a plain convolution, DM-Count in a ReLU, the Bayesian loss's network in an absolute value. The last
two enlarge their features with ``upsample_bilinear``, which aligns the corners."""


def published_names(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of ``state`` by our names, and the rule that goes with them; others keep their names."""
    for known in NAME_MAPS:
        if known.mark in state:
            return {rename(name, known.prefixes): value for name, value in state.items()}, dict(known.rule)
    return dict(state), {}


def rename(name: str, prefixes: Mapping[str, str]) -> str:
    """``name`` with the first fitting prefix exchanged."""
    for theirs, ours in prefixes.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
