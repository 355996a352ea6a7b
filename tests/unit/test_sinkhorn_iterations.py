import pytest
import torch

from workbench.transport import column_plan, row_plan, sinkhorn, sinkhorn_iterations

torch.manual_seed(0)
COST = torch.rand(12, 4, dtype=torch.float64)
A = torch.rand(12, dtype=torch.float64) + 0.1
B = torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64)
A = A * B.sum() / A.sum()


def test_one_balanced_iteration_is_the_two_half_iterations():
    first = row_plan(COST, A, epsilon=0.2)
    factor = (first.sum(0) / B)[None]
    assert torch.allclose(sinkhorn_iterations(COST, A, B, epsilon=0.2, iterations=1).matrix, first / factor)


def test_the_column_equation_holds_after_every_iteration():
    for count in (1, 2, 7):
        assert torch.allclose(sinkhorn_iterations(COST, A, B, epsilon=0.1, iterations=count).column_marginal, B)
        plan = sinkhorn_iterations(COST, A, B, epsilon=0.1, tau=0.5, iterations=count)
        assert torch.allclose(plan.column_marginal, B * torch.exp(-plan.column_potential / 0.5))


@pytest.mark.parametrize("tau", [None, 0.3])
def test_many_iterations_reach_the_converged_plan(tau):
    plan = sinkhorn_iterations(COST, A, B, epsilon=0.1, tau=tau, iterations=400)
    expected = sinkhorn(COST, A, B, epsilon=0.1, tau=tau, tolerance=1e-10)
    assert torch.allclose(plan.matrix, expected.matrix, atol=1e-8)
    assert plan.converged
    assert plan.iterations == 400


def test_the_residual_is_the_violation_of_the_rows_and_falls():
    few, more = (sinkhorn_iterations(COST, A, B, epsilon=0.05, iterations=count) for count in (2, 20))
    assert few.residual == pytest.approx(float((few.row_marginal / A - 1).abs().max()))
    assert more.residual < few.residual
    assert not few.converged


def test_without_density_the_columns_spread_from_nothing():
    assert sinkhorn_iterations(COST, torch.zeros_like(A), B, epsilon=0.1, tau=0.5).matrix.sum() == 0
    assert sinkhorn_iterations(COST[:, :0], A, B[:0], epsilon=0.1, tau=0.5).matrix.shape == (12, 0)
    uniform = column_plan(COST, B, epsilon=1e9)
    assert torch.allclose(
        sinkhorn_iterations(COST, torch.full_like(A, B.sum() / 12), B, epsilon=1e9).matrix, uniform, rtol=1e-6
    )


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations is 0"),
        ({"epsilon": -1.0}, "epsilon is -1"),
        ({"tau": 0.0}, "tau is 0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        sinkhorn_iterations(COST, A, B, **({"epsilon": 0.1} | options))


@pytest.mark.bad_input
def test_masses_that_disagree_have_no_balanced_plan():
    with pytest.raises(ValueError, match="expected the same mass"):
        sinkhorn_iterations(COST, 2 * A, B, epsilon=0.1)
