from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from workbench.plots.locality import (
    mean_log_distances,
    show_bins,
    show_collisions,
    show_curves,
    show_distributions,
    show_zoom,
)


@pytest.fixture
def ax():
    return Figure().subplots()


def test_mean_log_distances():
    images = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    found = mean_log_distances(images, [[0, 1], [0, 1, 2], [2], [0, 3]])
    apart = [5.0, 1.0, np.hypot(3, 3)]
    assert found[:2] == pytest.approx([np.log(5), np.log(apart).mean()])
    assert np.isnan(found[2:]).all()


def test_collisions_draw_both_lemmas_and_what_was_measured(ax):
    assert show_collisions(ax, [0.1, 1], [0.9, 0.4], [1, 0.7], measured={0.5: (0.6, 0.01)}) is ax
    assert [line.get_ydata().tolist() for line in ax.lines[:2]] == [[1, 0.7], [0.9, 0.4]]
    low, high = ax.collections[0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(0.06)  # three standard errors either way
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_bins_stand_side_by_side(ax):
    right = show_bins(ax, {"LSH": [5, 1], "random": [3, 3]}, {"LSH": [1.0, 2.0], "random": [3.0, 3.5]})
    assert [bar.get_height() for bar in ax.patches] == [5, 1, 3, 3]
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches)
    assert all(one[1] <= other[0] + 1e-9 for one, other in pairwise(spans))
    assert [line.get_ydata().tolist() for line in right.lines] == [[1.0, 2.0], [3.0, 3.5]]


def test_curves_are_means_with_their_range(ax):
    show_curves(ax, {"LADP": [[4, 2], [6, 4]], "random": [[5, 5]]})
    assert [line.get_ydata().tolist() for line in ax.lines] == [[5, 3], [5, 5]]
    assert len(ax.collections) == 1
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (2, 6)


def test_zooms_and_distributions(ax):
    show_zoom(ax, [-1, 0, 1], {"a": [1.3, 1, 0.7]})
    assert ax.lines[0].get_ydata().tolist() == [1.3, 1, 0.7]
    ax = Figure().subplots()
    show_distributions(ax, {"random": [0, 1, 7], "LADA": [0, 12]}, width=5)
    assert len(ax.patches) == 2
    assert ax.get_yscale() == "log"
