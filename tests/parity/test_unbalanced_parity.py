import pytest
import torch
from point_losses_golden import arguments, difference, gradient
from related_golden import RELATED, cases

from workbench.losses import build_loss


@pytest.mark.parametrize("convention", ["paper", "official"])
@pytest.mark.parametrize("case", cases("uotcc"))
def test_value_gradient_and_potential_are_the_converged_ones(case, convention):
    loss, (density, points) = build_loss("unbalanced", convention=convention), arguments(case, weights=False)
    value, slope = gradient(loss, density, points)
    assert value == pytest.approx(float(RELATED[f"uotcc_{case}_conv_loss"]), rel=1e-12)
    assert difference(slope, RELATED[f"uotcc_{case}_conv_grad"]) <= 1e-11  # asked for: 1e-8
    _, beta = loss.potentials(density[:, 0], points[0][None], torch.ones(1, len(points[0])))
    assert difference(beta[0].numpy(), RELATED[f"uotcc_{case}_conv_beta"]) <= 1e-10
