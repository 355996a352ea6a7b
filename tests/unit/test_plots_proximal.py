import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from workbench.plots.proximal import show_borders, show_gradient, show_projection


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_borders_run_between_the_cells_of_two_annotations(ax):
    owner = torch.tensor([[0, 0, 1], [0, 1, 1]])
    (lines,) = show_borders(ax, owner, stride=8).collections
    drawn = {tuple(map(tuple, segment)) for segment in np.array(lines.get_segments())}
    assert drawn == {((16, 0), (16, 8)), ((8, 8), (8, 16)), ((8, 8), (16, 8))}


def test_one_patch_has_no_borders(ax):
    (lines,) = show_borders(ax, torch.zeros(3, 4, dtype=torch.long)).collections
    assert len(lines.get_segments()) == 0


def test_arrows_lead_from_the_density_to_the_target(ax):
    density, target = torch.tensor([0.5, 0.25, 0.0]), torch.tensor([0.5, 0.5, -0.25])
    show_projection(ax, density, target, torch.tensor([0.0, 0.5, 1.0]), title="one", legend=True)
    assert [bar.get_height() for bar in ax.patches[:3]] == density.tolist()
    assert [(arrow.xyann, arrow.xy) for arrow in ax.texts] == [((2, 0.25), (2, 0.5)), ((3, 0.0), (3, -0.25))]
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_gradients_share_a_scale_around_zero(ax):
    drawn = show_gradient(ax, torch.tensor([[1.0, -2.0]]), limit=3.0, stride=4)
    assert drawn.get_clim() == (-3, 3)
    assert drawn.get_extent() == [0, 8, 4, 0]
