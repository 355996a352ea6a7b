"""The explorers of the notebooks on locality-aware batches, margins and density experts."""

import numpy as np
import pytest
import torch
from torch import nn

from workbench import explore
from workbench.adversarial import margins
from workbench.data import open_dataset
from workbench.data.patches import ImagePatches
from workbench.explore.margins_explorer import train_stages
from workbench.models import build_model
from workbench.sampling.partition import partition_samples
from workbench.sampling.zoom import zoom_rates


class Threshold(nn.Module):
    """Right about class 1 where the mean is above ``limit``: its margin is known."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def forward(self, x):
        mean = x.mean(dim=(1, 2, 3))
        return torch.stack([self.limit - mean, mean - self.limit], dim=1)


@pytest.fixture(scope="module")
def locality():
    patches = ImagePatches(open_dataset("scenes", preset="small", length=4, seed=0), (48, 48), per_image=3)
    return explore.locality(patches)


def test_the_partition_follows_the_sliders(locality):
    for name, value in (("groups", 3), ("bins", 4), ("spacing", "count")):
        locality.controls[name].value = value
    assert (locality.partition.groups, locality.partition.bins) == (3, 4)
    assert locality.controls["group"].max == 3
    codes = locality.partition.bin
    locality.controls["projection"].value = 1
    assert not np.array_equal(codes, locality.partition.bin)
    sizes = [
        len(np.flatnonzero((locality.partition.group == 0) & (locality.partition.bin == place))) for place in range(4)
    ]
    assert max(sizes) - min(sizes) <= 1  # bins of one count
    assert partition_samples(locality.counts, np.arange(12.0), groups=3, bins=4).group.tolist() == (
        locality.partition.group.tolist()
    )


def test_the_zoom_is_that_of_the_paper_and_the_patch_is_one_of_the_bin(locality):
    control = locality.controls
    place = int(np.flatnonzero(np.array(locality.counts) > 0)[0])
    control["group"].value = int(locality.partition.group[place]) + 1
    control["bin"].value = int(locality.partition.bin[place]) + 1
    assert locality.chosen in locality.members
    control["error"].value = 0.4
    expected = zoom_rates([0.4], strength=control["strength"].value, steepness=control["steepness"].value)
    if locality.counts[locality.chosen]:
        assert locality.zoom == pytest.approx(float(expected[0]))
    control["error"].value = 0.0
    assert locality.zoom == 1
    assert len(locality.figure().subfigs) == 2


def test_the_search_that_is_drawn_finds_the_margin():
    images = torch.full((3, 1, 4, 4), 0.5)
    labels = torch.ones(3, dtype=torch.long)
    stages = {"one": [Threshold(0.2).eval(), Threshold(0.4).eval()]}
    explorer = explore.margins(stages, images, labels)
    assert explorer.controls["epoch"].value == 1
    right = [radius for radius, correct in explorer.asked if correct]
    wrong = [radius for radius, correct in explorer.asked if not correct]
    assert max(right) == pytest.approx(0.1, abs=2**-11)
    assert min(wrong) == pytest.approx(0.1, abs=2**-11)
    assert len(explorer.asked) < 20  # by bisection, not step by step
    explorer.controls["epoch"].value = 0
    assert max(radius for radius, correct in explorer.asked if correct) == pytest.approx(0.3, abs=2**-11)
    assert explorer.all_margins("one", 0) == pytest.approx([0.3] * 3, abs=1 / 256)
    expected = margins(stages["one"][1], images, labels, cap=0.5, resolution=1 / 512, bracket=1 / 16)
    assert torch.equal(explorer.all_margins("one", 9), expected)
    assert explorer.figure().axes


def test_a_training_keeps_the_network_of_every_epoch():
    stages = train_stages(None, seed=0, epochs=2)
    again = train_stages(None, seed=0, epochs=2)
    assert len(stages) == 3
    first, last = (torch.cat([p.flatten() for p in stages[place].parameters()]) for place in (0, 2))
    assert not torch.equal(first, last)
    assert all(torch.equal(a, b) for a, b in zip(stages[2].parameters(), again[2].parameters(), strict=True))


def test_experts_are_the_gates_of_the_model():
    torch.manual_seed(0)
    model = build_model("hmode", width=0.0625, norm="group").eval()
    images = [torch.rand(3, 32, 48), torch.rand(3, 32, 48)]
    explorer = explore.experts(model, images)
    by_title = {panel.title: panel for panel in explorer.panels}
    result = model.outputs(images[0][None])
    assert torch.allclose(by_title["group 2: E3"].values, result.gates[0][1][0, 1], atol=1e-6)
    for gate in ("group 1", "group 2", "group 3", "last gate"):
        weights = torch.stack([panel.values for panel in explorer.panels if panel.gate == gate])
        assert torch.allclose(weights.sum(0), torch.ones_like(weights[0]), atol=1e-5)
    sent = explorer.canvas.maps["panels"][1]
    assert np.frombuffer(sent["values"], np.float32).reshape(sent["size"]) == pytest.approx(
        result.experts[0, 0].detach().numpy(), abs=1e-6
    )
    before = explorer.canvas.maps["picture"]
    explorer.controls["picture"].value = 2
    assert explorer.canvas.maps["picture"] != before
    assert len(explorer.figure().axes) >= len(explorer.panels)


@pytest.mark.bad_input
def test_bad_input_is_named():
    with pytest.raises(ValueError, match="without gates"):
        explore.experts(build_model("mcnn"), [torch.rand(3, 32, 32)])
    with pytest.raises(ValueError, match="images is empty"):
        explore.experts(build_model("mcnn"), [])
    with pytest.raises(ValueError, match="images and labels"):
        explore.margins({"one": [Threshold(0.5)]}, torch.rand(1, 1, 4, 4))
