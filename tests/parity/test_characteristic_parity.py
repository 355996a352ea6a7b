import pytest
from point_losses_golden import arguments, difference, gradient
from related_golden import RELATED, cases

from workbench.losses import build_loss


@pytest.mark.parametrize(("form", "key"), [("l1", "l1"), ("l2", "l2"), (None, "dense"), ("robust", "gcfl_gauss20")])
@pytest.mark.parametrize("case", cases("chfl"))
def test_value_and_gradient_are_the_published_ones(case, form, key):
    loss = build_loss("characteristic", convention="official", form=form)
    value, slope = gradient(loss, *arguments(case, weights=False))
    assert value == pytest.approx(float(RELATED[f"chfl_{case}_{key}_f64_loss"]), rel=1e-12)
    assert difference(slope, RELATED[f"chfl_{case}_{key}_f64_grad"]) <= 1e-11  # asked for: 1e-9
