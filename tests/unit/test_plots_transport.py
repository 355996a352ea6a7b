import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.quiver import Quiver

from workbench.plots.transport import (
    COLUMN_COLORS,
    column_color,
    show_annotations,
    show_masses,
    show_plan_arrows,
    show_plan_column,
    show_plan_columns,
    show_plan_links,
    show_plan_matrix,
)

CELLS = torch.tensor([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5], [1.5, 1.5]])
POINTS = torch.tensor([[0.5, 3.5], [4.5, 0.5]])
PLAN = torch.tensor([[0.4, 0.0], [0.0, 0.2], [0.1, 0.1], [0.0, 0.0]])


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_colors_come_round():
    assert column_color(0) == column_color(len(COLUMN_COLORS)) != column_color(1)


def test_masses_are_filled_with_what_is_moved(ax):
    show_masses(ax, torch.tensor([0.0, 1.0, 3.0]), torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.5, 2.5, 0.0]))
    filled, outlined = ax.containers
    assert [bar.get_height() for bar in filled] == [0.5, 2.5, 0.0]
    assert [bar.get_height() for bar in outlined] == [1.0, 2.0, 0.5]
    assert outlined[0].get_width() == pytest.approx(0.8)


def test_a_single_mass_needs_no_distance(ax):
    show_masses(ax, torch.tensor([0.3]), torch.tensor([1.0]))
    assert ax.containers[0][0].get_height() == 1


def test_matrix_stands_beside_its_marginals(ax):
    drawn = show_plan_matrix(ax, PLAN, torch.ones(4), 2 * torch.ones(2))
    assert np.allclose(drawn.get_array(), PLAN.T)
    top, right = ax.child_axes
    assert [bar.get_height() for bar in top.containers[0]] == pytest.approx(PLAN.sum(1).tolist())
    assert [bar.get_height() for bar in top.containers[1]] == [1, 1, 1, 1]
    assert [bar.get_width() for bar in right.containers[0]] == pytest.approx(PLAN.sum(0).tolist())
    assert [bar.get_width() for bar in right.containers[1]] == [2, 2]


def test_matrix_of_nothing_is_drawn(ax):
    show_plan_matrix(ax, torch.zeros(3, 2), torch.zeros(3), torch.zeros(2))
    ax.figure.canvas.draw()


def test_links_are_as_wide_as_the_mass(ax):
    show_plan_links(ax, PLAN, torch.arange(4.0), torch.tensor([1.0, 2.0]), width=10)
    first, second = ax.collections
    assert first.get_linewidths() == pytest.approx([4, 0, 1, 0])
    assert second.get_linewidths() == pytest.approx([0, 2, 1, 0])
    assert second.get_segments()[1].tolist() == [[1, 1], [2, 0]]


def test_arrows_are_as_long_as_the_mass_and_point_to_the_annotation(ax):
    show_plan_arrows(ax, PLAN, CELLS, POINTS, length=2.0)
    first, second = (artist for artist in ax.collections if isinstance(artist, Quiver))
    # the largest mass, 0.4, has length 2; both cells of the first column lie above their annotation (y runs down)
    assert np.allclose(np.stack([first.U, first.V]), [[0, 0], [2, 0.5]])
    assert np.allclose(first.XY, CELLS[[0, 2]])
    assert np.allclose(np.hypot(second.U, second.V), [1, 0.5])
    assert np.allclose(np.arctan2(second.V, second.U), [0, np.arctan2(-1, 4)])


def test_a_cell_on_its_annotation_is_a_disc(ax):
    show_plan_arrows(ax, torch.tensor([[1.0], [0.5]]), CELLS[:2], CELLS[:1])
    (arrows,) = (artist for artist in ax.collections if isinstance(artist, Quiver))
    assert len(arrows.U) == 1
    (discs,) = (artist for artist in ax.collections if not isinstance(artist, Quiver))
    assert discs.get_offsets().tolist() == [[0.5, 0.5]]


def test_arrows_of_an_empty_plan(ax):
    show_plan_arrows(ax, torch.zeros(4, 2), CELLS, POINTS)
    show_plan_arrows(ax, torch.zeros(4, 0), CELLS, torch.zeros(0, 2))
    ax.figure.canvas.draw()


def test_columns_are_curves(ax):
    show_plan_columns(ax, PLAN, names=("left", "right"))
    assert np.allclose(ax.lines[0].get_ydata(), PLAN[:, 0])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["left", "right"]


def test_a_column_is_a_map_with_its_annotation(ax):
    drawn = show_plan_column(ax, PLAN, 1, (2, 2), POINTS, stride=4)
    assert np.allclose(drawn.get_array(), PLAN[:, 1].reshape(2, 2))
    assert drawn.get_extent() == [0, 8, 8, 0]
    (cross,) = ax.collections
    assert cross.get_offsets().tolist() == [[4.5, 0.5]]


def test_annotations_have_their_columns_colours(ax):
    show_annotations(ax, POINTS, first=1)
    colors = [plt.matplotlib.colors.to_hex(cross.get_facecolor()[0]).upper() for cross in ax.collections]
    assert colors == [column_color(1).upper(), column_color(2).upper()]


@pytest.mark.bad_input
def test_bad_input_is_named(ax):
    with pytest.raises(ValueError, match="a has shape"):
        show_plan_matrix(ax, PLAN, torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match="matrix has shape"):
        show_plan_arrows(ax, PLAN, CELLS, POINTS[:1])
    with pytest.raises(ValueError, match="matrix holds values down to -1"):
        show_plan_arrows(ax, -torch.ones(4, 2), CELLS, POINTS)
    with pytest.raises(ValueError, match="moved has shape"):
        show_masses(ax, torch.arange(2.0), torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="matrix has shape"):
        show_plan_column(ax, PLAN, 0, (3, 2), POINTS)
    with pytest.raises(ValueError, match="points has shape"):
        show_plan_links(ax, PLAN, torch.arange(4.0), torch.ones(3))
