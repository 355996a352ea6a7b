import math

import pytest
import torch

from workbench.transport import column_plan, row_plan, shannon_entropy, sinkhorn

COST = torch.tensor([[0.0, 1.0], [2.0, 0.5], [1.0, 1.0]], dtype=torch.float64)


def test_row_plan_is_the_posterior():
    plan = row_plan(COST, torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64), epsilon=0.5)
    weight = math.exp(-0.0 / 0.5) / (math.exp(-0.0 / 0.5) + math.exp(-1.0 / 0.5))
    assert float(plan[0, 0]) == pytest.approx(weight)
    assert plan.sum(1).tolist() == pytest.approx([1.0, 2.0, 4.0])
    assert plan[2].tolist() == pytest.approx([2.0, 2.0])


def test_column_plan_is_a_kernel_for_each_point():
    plan = column_plan(COST, torch.tensor([1.0, 3.0], dtype=torch.float64), epsilon=0.5)
    kernels = [math.exp(-c / 0.5) for c in (0.0, 2.0, 1.0)]
    assert plan[:, 0].tolist() == pytest.approx([k / sum(kernels) for k in kernels])
    assert plan.sum(0).tolist() == pytest.approx([1.0, 3.0])


def test_half_an_iteration_from_the_solution_is_the_solution():
    a = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    b = torch.tensor([0.6, 0.4], dtype=torch.float64)
    plan = sinkhorn(COST, a, b, epsilon=0.2, tolerance=1e-12)
    again = row_plan(COST, a, epsilon=0.2, column_potential=plan.column_potential)
    assert torch.allclose(again, plan.matrix, atol=1e-12)
    again = column_plan(COST, b, epsilon=0.2, row_potential=plan.row_potential)
    assert torch.allclose(again, plan.matrix, atol=1e-12)


def test_kernels_far_below_the_smallest_number_survive():
    cost = torch.tensor([[5.0, 9.0], [7.0, 5.5]])
    assert row_plan(cost, torch.ones(2), epsilon=1e-4).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert column_plan(cost, torch.ones(2), epsilon=1e-4).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_no_columns():
    assert row_plan(torch.zeros(3, 0), torch.ones(3), epsilon=1.0).shape == (3, 0)
    assert column_plan(torch.zeros(3, 0), torch.ones(0), epsilon=1.0).shape == (3, 0)


def test_gradients():
    cost = COST.clone().requires_grad_()
    a = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([1.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c, x: row_plan(c, x, epsilon=0.5), (cost, a))
    assert torch.autograd.gradcheck(lambda c, x: column_plan(c, x, epsilon=0.5), (cost, b))


def test_entropy():
    assert float(shannon_entropy(torch.tensor([[0.5, 0.0], [0.0, 0.5]]))) == pytest.approx(math.log(2))


@pytest.mark.bad_input
def test_bad_input():
    with pytest.raises(ValueError, match=r"a has shape \(2,\), expected \(3\)"):
        row_plan(COST, torch.ones(2), epsilon=1.0)
    with pytest.raises(ValueError, match="b holds values down to -1"):
        column_plan(COST, torch.tensor([-1.0, 1.0]), epsilon=1.0)
    with pytest.raises(ValueError, match="epsilon is 0"):
        column_plan(COST, torch.ones(2), epsilon=0)
