"""The same plans from two well-known libraries."""

import ot
import pytest
import torch
from geomloss._legacy.sinkhorn_divergence import sinkhorn_loop
from geomloss._legacy.sinkhorn_samples import softmin_tensorized

from workbench.transport import sinkhorn


def problem(seed):
    generator = torch.Generator().manual_seed(seed)
    cost = torch.rand(9, 6, generator=generator, dtype=torch.float64)
    a = torch.rand(9, generator=generator, dtype=torch.float64) + 0.1
    b = torch.rand(6, generator=generator, dtype=torch.float64) + 0.1
    return cost, a / a.sum(), b / b.sum()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore:If reg_type = entropy")
@pytest.mark.parametrize(("entropy", "name"), [("shannon", "entropy"), ("relative", "kl")])
def test_unbalanced_pot(seed, entropy, name):
    cost, a, b = problem(seed)
    a = 3 * a
    ours = sinkhorn(cost, a, b, epsilon=0.05, tau=0.5, entropy=entropy, tolerance=1e-10)
    theirs = ot.unbalanced.sinkhorn_unbalanced(
        a.numpy(), b.numpy(), cost.numpy(), 0.05, 0.5, reg_type=name, numItermax=20_000, stopThr=1e-14
    )
    assert torch.allclose(ours.matrix, torch.from_numpy(theirs), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("entropy", ["shannon", "relative"])
def test_balanced_pot(seed, entropy):
    cost, a, b = problem(seed)
    ours = sinkhorn(cost, a, b, epsilon=0.05, entropy=entropy, tolerance=1e-10)
    theirs = ot.sinkhorn(
        a.numpy(), b.numpy(), cost.numpy(), 0.05, method="sinkhorn_log", numItermax=20_000, stopThr=1e-14
    )
    assert torch.allclose(ours.matrix, torch.from_numpy(theirs), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("tau", [None, 0.5])
def test_geomloss(tau):
    # its public solvers anneal and stop; the loop inside, held at one epsilon, converges
    cost, a, b = problem(4)
    if tau is not None:
        a = 3 * a
    ours = sinkhorn(cost, a, b, epsilon=0.05, tau=tau, entropy="relative", tolerance=1e-10)
    _, _, g, f = sinkhorn_loop(
        softmin_tensorized, a.log()[None], b.log()[None], None, None, cost[None], cost.T[None], [0.05] * 3000, tau,
        debias=False,
    )  # fmt: skip
    assert torch.allclose(ours.row_potential[:, None] + ours.column_potential, f[0][:, None] + g[0], atol=1e-6)
    if tau is not None:
        assert torch.allclose(ours.column_potential, g[0], atol=1e-6)
    plan = ((f[0][:, None] + g[0] - cost) / 0.05).exp() * a[:, None] * b
    assert torch.allclose(ours.matrix, plan, rtol=1e-6, atol=1e-9)
