"""The layers that the models share."""

import pytest
import torch
from torch import nn

from workbench.models.layers import normalisation


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(3, 1), (8, 1), (15, 1), (16, 2), (24, 3), (30, 3), (64, 8), (512, 8)],
)
def test_groups_hold_at_least_eight_channels(channels, groups):
    (layer,) = normalisation("group", channels)
    assert isinstance(layer, nn.GroupNorm)
    assert layer.num_groups == groups


def test_a_narrow_layer_still_tells_how_much_there_is():
    (layer,) = normalisation("group", 4)
    quiet, loud = torch.rand(2, 1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    loud[:, 0] *= 5  # one of four channels answers more strongly, everywhere
    assert layer(loud)[:, 0].mean() > layer(quiet)[:, 0].mean() + 0.5
