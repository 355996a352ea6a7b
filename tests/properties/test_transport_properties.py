import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.transport import column_plan, row_plan, sinkhorn

ENTROPY = st.sampled_from(["shannon", "relative"])
EPSILON = st.sampled_from([0.3, 0.05, 0.005])


@st.composite
def problems(draw):
    n, m, seed = draw(st.integers(1, 9)), draw(st.integers(1, 7)), draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    cost = 2 * torch.rand(n, m, generator=generator, dtype=torch.float64)
    a = torch.rand(n, generator=generator, dtype=torch.float64) + 0.01
    b = torch.rand(m, generator=generator, dtype=torch.float64) + 0.01
    return cost, a, b * draw(st.sampled_from([0.01, 1.0, 100.0]))


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from([0.3, 0.05]), ENTROPY)
def test_balanced_marginals(problem, epsilon, entropy):
    cost, a, b = problem
    b = b * a.sum() / b.sum()
    plan = sinkhorn(cost, a, b, epsilon=epsilon, entropy=entropy)
    assert plan.converged
    assert torch.allclose(plan.row_marginal, a, rtol=1e-6)
    assert torch.allclose(plan.column_marginal, b, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(problems(), EPSILON, ENTROPY, st.sampled_from([0.05, 0.5, 5.0]))
def test_turning_the_problem_over_turns_the_plan_over(problem, epsilon, entropy, tau):
    cost, a, b = problem
    plan = sinkhorn(cost, a, b, epsilon=epsilon, tau=tau, entropy=entropy, tolerance=1e-9)
    turned = sinkhorn(cost.T, b, a, epsilon=epsilon, tau=tau, entropy=entropy, tolerance=1e-9)
    assert torch.allclose(plan.matrix, turned.matrix.T, rtol=1e-6, atol=0)


@settings(max_examples=40, deadline=None)
@given(problems(), EPSILON, ENTROPY, st.sampled_from([0.25, 8.0]))
def test_one_unit_for_cost_epsilon_and_tau(problem, epsilon, entropy, unit):
    cost, a, b = problem
    plan = sinkhorn(cost, a, b, epsilon=epsilon, tau=0.5, entropy=entropy, tolerance=1e-9)
    scaled = sinkhorn(unit * cost, a, b, epsilon=unit * epsilon, tau=unit * 0.5, entropy=entropy, tolerance=1e-9)
    assert torch.allclose(plan.matrix, scaled.matrix, rtol=1e-6, atol=0)
    assert torch.allclose(unit * plan.column_potential, scaled.column_potential, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(problems(), EPSILON, st.sampled_from([0.05, 0.5]))
def test_the_two_entropies_are_one_problem_with_weights(problem, epsilon, tau):
    # KL(P | a b) = -H(P) - <log a b, P> + const: the relative problem is the Shannon one at cost C - epsilon log(a b)
    cost, a, b = problem
    relative = sinkhorn(cost, a, b, epsilon=epsilon, tau=tau, entropy="relative", tolerance=1e-9)
    shifted = cost - epsilon * (a.log()[:, None] + b.log())
    shannon = sinkhorn(shifted, a, b, epsilon=epsilon, tau=tau, entropy="shannon", tolerance=1e-9)
    assert torch.allclose(relative.matrix, shannon.matrix, rtol=1e-6, atol=0)


@settings(max_examples=40, deadline=None)
@given(problems(), EPSILON)
def test_both_marginals_hold_the_same_mass(problem, epsilon):
    cost, a, b = problem
    plan = sinkhorn(cost, a, b, epsilon=epsilon, tau=0.5, entropy="relative")
    # P 1 = a exp(-f / tau) and P' 1 = b exp(-g / tau)
    shrink = torch.exp(-plan.row_potential / 0.5)
    assert torch.allclose(plan.row_marginal, a * shrink, rtol=1e-6)
    assert torch.allclose(plan.row_marginal.sum(), plan.column_marginal.sum(), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(problems(), EPSILON)
def test_half_iterations_keep_one_marginal(problem, epsilon):
    cost, a, b = problem
    assert torch.allclose(row_plan(cost, a, epsilon=epsilon).sum(1), a)
    assert torch.allclose(column_plan(cost, b, epsilon=epsilon).sum(0), b)
