import gc

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure

from workbench import explore
from workbench.explore.losses_state import Descents, loss_at, named_losses
from workbench.losses import build_loss
from workbench.study.descent import descend

DENSITY = torch.full((6, 6), 2 / 36, dtype=torch.float64)
POINTS = torch.tensor([[6.0, 6.0], [18.0, 14.0]], dtype=torch.float64)


@pytest.fixture
def explorer():
    return explore.losses(["l2", "bayesian"], DENSITY, POINTS, stride=4, steps=30)


def test_a_loss_at_a_density_is_its_value_and_gradient():
    loss = build_loss("l2", stride=4)
    found = loss_at(loss, DENSITY, POINTS)
    assert found.value == pytest.approx(float(loss(DENSITY[None, None], [POINTS])))
    target = loss.target(POINTS, (6, 6))
    assert torch.allclose(found.gradient, 2 * (DENSITY - target))


def test_descent_is_that_of_descend_and_goes_back_and_forth():
    losses = named_losses(["l2", "bayesian"], 4)
    descents = Descents(losses, POINTS, DENSITY, steps=10)
    late, early = descents.after(10), descents.after(4)
    for name, loss in losses.items():
        maps = descend(loss, POINTS, DENSITY, steps=10, keep=[4])
        assert torch.equal(late[name], maps[10])
        assert torch.equal(early[name], maps[4])
    assert descents.after(99)["l2"] is descents.after(10)["l2"]


def test_an_edit_takes_the_descent_back_to_its_start(explorer):
    assert float(explorer.descend(20)["l2"].max()) > float(DENSITY.max())
    before = explorer.found["l2"].value
    explorer.ground._edited(None, {"client": "me", "number": 1, "heads": [[6.0, 6.0]]})
    assert explorer.controls["step"].value == 0
    assert explorer.found["l2"].value != before
    flat = explorer.descents.after(0)["l2"]
    assert float(flat.sum()) == pytest.approx(1)  # as many as there are heads now


def test_the_start_is_a_choice(explorer):
    explorer.ground.set(3 * DENSITY, POINTS)
    assert float(explorer.descents.after(0)["l2"].sum()) == pytest.approx(2)
    explorer.controls["start"].value = "the density"
    assert float(explorer.descents.after(0)["l2"].sum()) == pytest.approx(6)


def test_losses_are_named_apart():
    both = named_losses([build_loss("l2", stride=4), build_loss("l2", stride=4, sigma=3.0), "generalized"], 4)
    assert list(both) == ["L2", "L2 2", "generalized"]
    assert both["generalized"].cost_offset == 1
    assert list(named_losses({"mine": build_loss("l2", stride=4)}, 4)) == ["mine"]


@pytest.mark.parametrize("moves", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_no_figure_is_left_after_many_moves(explorer, moves):
    explorer.picture.redraw()
    gc.collect()
    before = sum(type(thing) is Figure for thing in gc.get_objects())
    for move in range(moves):
        explorer.controls["step"].value = 1 + move % 30
        if move % 5 == 0:
            explorer.figure()
    gc.collect()
    assert plt.get_fignums() == []
    assert sum(type(thing) is Figure for thing in gc.get_objects()) <= before


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("losses", "error", "message"),
    [
        ([], ValueError, "losses is empty"),
        ("l2", TypeError, "losses is the text 'l2'"),
        (["nothing"], ValueError, "nothing"),
        ([3], TypeError, "holds a int"),
        ([build_loss("l2", stride=8)], ValueError, "has stride 8"),
    ],
)
def test_bad_losses_are_named(losses, error, message):
    with pytest.raises(error, match=message):
        explore.losses(losses)
