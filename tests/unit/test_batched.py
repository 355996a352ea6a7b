"""The batched solver against the one for a single problem, and what it costs a device."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.study.launches import Launches
from workbench.transport import batched, batched_sinkhorn, sinkhorn


def crowds(counts, side=16, seed=0, dtype=torch.float64, balanced=False):
    """Costs of an exponential kind between a map and crowds of some numbers of people, padded to the largest one."""
    draw = torch.Generator().manual_seed(seed)
    axis = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    cells = torch.stack([axis.repeat(side), axis.repeat_interleave(side)], dim=1)
    most = max([*counts, 1])
    cost, a, b = (
        torch.zeros(len(counts), side**2, most),
        torch.zeros(len(counts), side**2),
        torch.zeros(len(counts), most),
    )
    cost, a, b = cost.double(), a.double(), b.double()
    for image, count in enumerate(counts):
        points = torch.rand(count, 2, generator=draw, dtype=torch.float64)
        points[: count // 2] = points[: count // 2] / 8 + 0.3  # half of them stand close together
        cost[image, :, :count] = torch.exp(torch.cdist(cells, points) / 0.6)
        a[image] = torch.rand(side**2, generator=draw, dtype=torch.float64) * 2 * (count + 0.5) / side**2
        b[image, :count] = 1
        if balanced and count:
            a[image] *= count / a[image].sum()
    return cost.to(dtype), a.to(dtype), b.to(dtype)


@pytest.mark.parametrize("entropy", ["shannon", "relative"])
@pytest.mark.parametrize(("epsilon", "tau"), [(0.005, 0.5), (0.05, 0.1), (0.02, None), (1.0, 50.0)])
def test_each_image_has_the_plan_of_the_single_solver(epsilon, tau, entropy):
    counts = (7, 20, 1)
    cost, a, b = crowds(counts, balanced=tau is None)
    together = batched_sinkhorn(
        cost, a, b, epsilon=epsilon, tau=tau, entropy=entropy, tolerance=1e-9, max_iterations=20000
    )
    assert together.converged.all()
    for image, count in enumerate(counts):
        alone = sinkhorn(
            cost[image, :, :count],
            a[image],
            b[image, :count],
            epsilon=epsilon,
            tau=tau,
            entropy=entropy,
            tolerance=1e-9,
        )
        torch.testing.assert_close(together.matrix[image, :, :count], alone.matrix, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(together.row_potential[image], alone.row_potential, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(
            together.column_potential[image, :count], alone.column_potential, rtol=1e-6, atol=1e-7
        )
        torch.testing.assert_close(together.row_marginal[image], alone.row_marginal, rtol=1e-6, atol=1e-9)
        assert (together.matrix[image, :, count:] == 0).all()
        assert (together.column_potential[image, count:] == 0).all()


@settings(deadline=None, max_examples=25)
@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    epsilon=st.sampled_from([0.003, 0.01, 0.1]),
    tau=st.sampled_from([0.05, 0.5, 3.0]),
    seed=st.integers(0, 1000),
)
def test_padding_and_order_change_nothing(counts, epsilon, tau, seed):
    cost, a, b = crowds(counts, side=8, seed=seed)
    options = {"epsilon": epsilon, "tau": tau, "tolerance": 1e-9, "max_iterations": 5000}
    first = batched_sinkhorn(cost, a, b, **options)
    order = torch.randperm(len(counts))
    wide = torch.cat([torch.rand_like(cost[..., :1].expand(-1, -1, 3)), cost], dim=2)[order]
    second = batched_sinkhorn(
        wide, a[order], torch.cat([torch.zeros_like(b[:, :1])] * 3 + [b], dim=1)[order], **options
    )
    torch.testing.assert_close(second.matrix[:, :, 3:], first.matrix[order], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(second.row_potential, first.row_potential[order], rtol=1e-6, atol=1e-6)


def test_rows_and_images_of_no_mass_receive_nothing():
    cost, a, b = crowds((5, 0))
    a[0, :40] = 0
    plan = batched_sinkhorn(cost, a, b, epsilon=0.01, tau=0.5)
    assert (plan.matrix[0, :40] == 0).all()
    assert (plan.matrix[1] == 0).all()
    assert torch.isfinite(plan.column_potential).all()
    # nobody is there: all density is wasted, at the full price tau
    assert (0.5 * -torch.expm1(-plan.row_potential[1] / 0.5) == 0.5).all()
    none = batched_sinkhorn(cost[..., :0], a, b[:, :0], epsilon=0.01, tau=0.5)
    assert none.matrix.shape == (2, 256, 0)
    assert none.converged.all()


def test_single_precision_has_the_gradient_of_double():
    """Of the loss by the density: tau (1 - exp(-f / tau))."""
    cost, a, b = crowds((60, 200), side=32)
    exact = [
        sinkhorn(cost[image, :, : int(b[image].sum())], a[image], b[image][b[image] > 0], epsilon=0.005, tau=0.5)
        for image in range(2)
    ]
    plan = batched_sinkhorn(cost.float(), a.float(), b.float(), epsilon=0.005, tau=0.5, tolerance=1e-3)
    for image in range(2):
        gradients = [
            0.5 * -torch.expm1(-f.double() / 0.5) for f in (plan.row_potential[image], exact[image].row_potential)
        ]
        assert float((gradients[0] - gradients[1]).abs().max()) < 1e-4


def test_launches_do_not_grow_with_the_batch_or_the_crowd():
    found = []
    for counts in ((50,), (50,) * 8, (500,) * 2, (50, 400, 3)):
        cost, a, b = crowds(counts, side=32, dtype=torch.float32)
        with Launches() as count:
            plan = batched_sinkhorn(cost, a, b, epsilon=0.005, tau=0.5, tolerance=3e-4, validate=False)
        assert plan.converged.all()
        found.append((count.launches, count.waits))
    assert {waits for _, waits in found} == {1}
    assert max(launches for launches, _ in found) <= 520
    assert max(launches for launches, _ in found) <= 1.1 * min(launches for launches, _ in found)


def test_chunks_change_nothing(monkeypatch):
    cost, a, b = crowds((7, 20, 1, 0, 5))
    whole = batched_sinkhorn(cost, a, b, epsilon=0.01, tau=0.5, tolerance=1e-8)
    monkeypatch.setattr(batched, "CHUNK_BYTES", 2 * batched.COPIES * 8 * cost[0].numel())
    parts = batched_sinkhorn(cost, a, b, epsilon=0.01, tau=0.5, tolerance=1e-8)
    torch.testing.assert_close(parts.matrix, whole.matrix, rtol=1e-6, atol=1e-10)
    assert parts.residual.shape == (5,)


@pytest.mark.bad_input
def test_bad_input_is_named():
    cost, a, b = crowds((3, 2))
    options = {"epsilon": 0.01, "tau": 0.5}
    with pytest.raises(ValueError, match="cost"):
        batched_sinkhorn(cost[0], a, b, **options)
    with pytest.raises(ValueError, match="b has shape"):
        batched_sinkhorn(cost, a, b[:1], **options)
    with pytest.raises(ValueError, match="a holds values down to"):
        batched_sinkhorn(cost, -a, b, **options)
    with pytest.raises(ValueError, match="entropy is 'gibbs'"):
        batched_sinkhorn(cost, a, b, entropy="gibbs", **options)
    with pytest.raises(ValueError, match=r"a\[0\] holds a mass of .* and b\[0\] of 3, expected the same mass"):
        batched_sinkhorn(cost, a * 2, b, epsilon=0.01)
    with pytest.raises(TypeError, match="cost"):
        batched_sinkhorn(cost.long(), a, b, **options)
