import gc

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from workbench import explore
from workbench.explore.examples import EXAMPLES
from workbench.explore.ground import Ground
from workbench.explore.plan_state import PlanSetting, solve, strongest

STRIDE = 4.0


@pytest.fixture
def explorer():
    density = torch.zeros(8, 8, dtype=torch.float64)
    density[1, 1], density[6, 6] = 1.0, 0.5
    points = torch.tensor([[6.0, 6.0], [26.0, 26.0]], dtype=torch.float64)
    return explore.transport(density, points, stride=STRIDE)


def sent(explorer, name):
    return np.frombuffer(explorer.ground.canvas.frame[name], dtype=np.float32)


def edit(explorer, number=1, **changes):
    explorer.ground._edited(None, {"client": "me", "number": number, **changes}, [])


def test_the_frame_holds_the_plan(explorer):
    solved = explorer.solved
    assert sent(explorer, "leaving") == pytest.approx(solved.plan.row_marginal.numpy(), rel=1e-6)
    assert sent(explorer, "arriving") == pytest.approx(solved.plan.column_marginal.numpy(), rel=1e-6)
    links = sent(explorer, "links").reshape(-1, 3)
    matrix = solved.plan.matrix.numpy()
    for cell, head, mass in links:
        assert mass == pytest.approx(matrix[int(cell), int(head)], rel=1e-6)
    assert links[:, 2].sum() >= 0.98 * matrix.sum() * (1 - 1e-6)
    assert (np.diff(links[:, 2]) <= 0).all()


def test_each_slider_changes_the_plan_as_it_says(explorer):
    control = explorer.controls
    control["marginals"].value = "balanced"
    assert explorer.solved.plan.column_marginal == pytest.approx([1, 1], abs=1e-4)
    assert float(explorer.solved.a.sum()) == pytest.approx(2)
    assert control["tau"].disabled
    control["marginals"].value = "unbalanced"
    control["tau"].value = 10.0  # what is bound tightly agrees on the geometric mean of the two masses
    assert float(explorer.solved.plan.matrix.sum()) == pytest.approx((1.5 * 2) ** 0.5, rel=0.02)
    assert not control["tau"].disabled
    across = float(explorer.solved.plan.matrix[9, 1])  # from the cell at one head to the other head
    control["epsilon"].value = 1.0
    assert float(explorer.solved.plan.matrix[9, 1]) > 2 * across
    control["cost"].value = "squared"
    assert explorer.solved.cost.max() <= 2
    assert control["eta"].disabled
    control["plan"].value = "iterations"
    control["iterations"].value = 3
    assert explorer.solved.plan.iterations == 3
    assert "after 3 iterations" in explorer.ground.canvas.frame["status"]


def test_a_plan_that_begins_at_the_last_one_is_that_from_scratch(explorer):
    for epsilon in (0.02, 0.03, 0.2):
        explorer.controls["epsilon"].value = epsilon
        ground = explorer.ground
        fresh = solve(ground.density, ground.points, explorer.setting, stride=STRIDE)
        assert torch.allclose(explorer.solved.plan.matrix, fresh.plan.matrix, atol=1e-5)


def test_edits_of_the_browser_arrive_and_are_answered(explorer):
    edit(explorer, 7, heads=[[6.0, 6.0], [26.0, 26.0], [16.0, 2.0]])
    assert explorer.ground.points.tolist()[2] == [16.0, 2.0]
    assert len(sent(explorer, "arriving")) == 3
    assert (explorer.ground.canvas.frame["client"], explorer.ground.canvas.frame["answers"]) == ("me", 7)
    before = float(explorer.ground.density.sum())
    explorer.controls["stroke"].value = 0.2
    edit(explorer, 8, at=[[16.0, 16.0], [18.0, 16.0]])
    assert float(explorer.ground.density.sum()) == pytest.approx(before + 0.4)
    edit(explorer, 9, at=[[16.0, 16.0]], erase=True)
    assert float(explorer.ground.density.sum()) < before + 0.4
    assert float(explorer.ground.density.min()) >= 0
    edit(explorer, 10, heads=[])
    assert explorer.ground.canvas.frame["status"] == "No heads: nothing to move to."


def test_cleared_density_moves_nothing(explorer):
    explorer.controls["clear"].click()
    assert "nothing to move" in explorer.ground.canvas.frame["status"]
    assert len(sent(explorer, "links")) == 0
    explorer.figure()


def test_every_example_loads_and_has_a_figure():
    explorer = explore.transport()
    for name in EXAMPLES:
        explorer.controls["example"].value = name
        assert explorer.solved.plan.converged
        assert 3 <= len(explorer.ground.points) <= 24
        assert bool(explorer.ground.canvas.picture) == name.startswith("scene")


def test_the_picture_stands_beside_the_widgets(explorer):
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["image/png"].startswith("iVBORw0KGgo")  # the signature of PNG


def test_no_figure_is_left_after_200_moves(explorer):
    gc.collect()
    before = sum(type(thing) is Figure for thing in gc.get_objects())
    for move in range(200):
        explorer.controls["epsilon"].value = 10 ** (-2 + move / 200)
    for _ in range(5):
        explorer.figure()
    gc.collect()
    assert plt.get_fignums() == []
    assert sum(type(thing) is Figure for thing in gc.get_objects()) <= before


def test_the_strongest_links_are_few_and_hold_nearly_all():
    matrix = torch.tensor([[0.5, 0.0], [0.3, 0.19], [0.01, 0.0]])
    rows, columns, mass = strongest(matrix, share=0.95)
    assert (rows.tolist(), columns.tolist()) == ([0, 1, 1], [0, 0, 1])
    assert float(mass.sum()) == pytest.approx(0.99)
    assert len(strongest(matrix, share=0.95, most=2)[0]) == 2
    assert len(strongest(torch.zeros(3, 0))[0]) == 0


@pytest.mark.bad_input
def test_bad_input_is_named():
    with pytest.raises(ValueError, match="one without the other"):
        explore.transport(torch.ones(4, 4))
    with pytest.raises(ValueError, match=r"stride is 8, expected 4 for the examples, or density and points"):
        explore.transport(stride=8)
    with pytest.raises(AttributeError, match="no attribute 'epochs', expected experts, locality"):
        explore.epochs  # noqa: B018
    with pytest.raises(ValueError, match="outside the image"):
        explore.transport(torch.ones(4, 4), torch.tensor([[99.0, 1.0]]), stride=4.0)
    with pytest.raises(ValueError, match="epsilon is 0"):
        PlanSetting(epsilon=0)
    with pytest.raises(ValueError, match="example is 'nowhere'"):
        explore.transport().begin("nowhere")
    ground = Ground(torch.ones(4, 4), torch.zeros(0, 2), stride=4.0, on_change=lambda: None)
    with pytest.raises(ValueError, match="heads has 1 of 1 points outside"):
        ground._edited(None, {"client": "me", "number": 1, "heads": [[50.0, 0.0]]})
