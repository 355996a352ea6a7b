import pytest
from point_losses_golden import EVERY, GOLDEN, arguments, difference, gradient

from workbench.losses import build_loss


@pytest.mark.parametrize("case", EVERY)
def test_value_and_gradient_are_the_published_ones(case):
    value, slope = gradient(build_loss("proximal", convention="official"), *arguments(case, weights=False))
    assert value == pytest.approx(float(GOLDEN[f"{case}_pml_loss"]), rel=1e-10)
    assert difference(slope, GOLDEN[f"{case}_pml_grad"]) <= 1e-8
