"""What holds for every loss of the registry: precision, autocast, checks, compilers, ``repr``."""

import copy
import pickle

import pytest
import torch

from workbench.losses import LOSSES, build_loss, relative_local_counting
from workbench.losses.base import most_people
from workbench.losses.hmode import attention_loss, importance_loss
from workbench.losses.relative_rivals import absolute_local_counting, global_ranking, nested_ranking
from workbench.study.launches import Launches

CASES = [(name, {"convention": convention}) for name in sorted(LOSSES) for convention in ("paper", "official")]
CASES += [("proximal", {"form": form}) for form in ("l2", "simplex", "kl", "p2p", "gaussian")]
CASES += [("characteristic", {"form": form}) for form in ("dense", "l2", "robust")]
CASES += [("generalized", {"gradient": "implicit"}), ("generalized", {"plan": "rows"}), ("l2", {"kernel": "adaptive"})]
AT_ONCE = ("bayesian", "dm_count", "generalized", "l2", "proximal", "unbalanced")
CASES += [(name, {"solver": "batched", "convention": form}) for name in AT_ONCE for form in ("paper", "official")]
HALF = [torch.float16, torch.bfloat16]


def scene(dtype=torch.float32, level=0.1):
    generator = torch.Generator().manual_seed(0)
    density = torch.rand(2, 1, 8, 12, generator=generator) * level
    points = [torch.rand(count, 2, generator=generator) * torch.tensor([96.0, 64.0]) for count in (6, 2)]
    return density.to(dtype), points


def slope(loss, density, points):
    leaf = density.clone().requires_grad_(True)
    value = loss(leaf, points)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_half_precision_is_computed_in_single(name, options, dtype):
    density, points = scene(dtype)
    loss = build_loss(name, **options)
    wanted, wanted_slope = slope(loss, density.float(), points)
    for given in (points, [p.to(dtype).clamp(max=64) for p in points]):
        for autocast in (False, True):
            with torch.autocast("cpu", dtype=dtype, enabled=autocast):
                value, found = slope(loss, density, given)
            assert value.dtype == torch.float32
            assert found.dtype == dtype
            assert found.isfinite().all()
            if given is points:
                assert value == wanted
                close = 4 * torch.finfo(dtype).eps * wanted_slope.abs().max()
                torch.testing.assert_close(found.float(), wanted_slope, rtol=0, atol=float(close))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_single_precision_stays_single_inside_autocast(name, options, dtype):
    density, points = scene()
    loss = build_loss(name, **options)
    leaf = density.clone().requires_grad_(True)
    with torch.autocast("cpu", dtype=dtype):
        value = loss(leaf, points)
    wanted, wanted_slope = slope(loss, density, points)
    assert value == wanted
    assert torch.equal(torch.autograd.grad(value, leaf)[0], wanted_slope)


def pair_losses():
    yield lambda a, b: relative_local_counting(a, b, region=2)
    yield lambda a, b: absolute_local_counting(a, b, region=2)
    yield global_ranking
    yield lambda a, b: nested_ranking((a - b)[:, 0, 0])
    yield lambda a, b: attention_loss(a, b, threshold=0.05)
    yield lambda a, b: importance_loss([torch.cat([a, b], dim=1)])


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("number", range(6))
def test_losses_of_two_maps_are_computed_in_single(number, dtype):
    loss = list(pair_losses())[number]
    density = scene(dtype)[0]
    wanted, wanted_slope = slope(loss, density.float(), density.flip(0).float())
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            value, found = slope(loss, density, density.flip(0))
        assert found.dtype == dtype
        torch.testing.assert_close(value.float(), wanted, rtol=4 * torch.finfo(dtype).eps, atol=0)
        torch.testing.assert_close(
            found.float(), wanted_slope, rtol=4 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).tiny
        )


@pytest.mark.bad_input
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_no_check_of_values_without_validate(name):
    density, points = scene()
    checked, unchecked = build_loss(name), build_loss(name, validate=False)
    assert checked(density, points) == unchecked(density, points)
    counts = []
    for loss in (checked, unchecked):
        with Launches() as reads:
            loss(density, points)
        counts.append(reads.waits)
    assert counts[1] == counts[0] - 1  # all checks are one read
    if name == "l2":
        assert counts[1] == 0
    with pytest.raises(ValueError, match="density has shape"):
        unchecked(density[0], points)
    with pytest.raises(ValueError, match="density holds"):
        checked(-density, points)
    if name == "l2":
        assert unchecked(density * float("nan"), points).isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_too_much_density_is_refused_and_the_rest_is_finite(name, options, dtype):
    loss = build_loss(name, **options)
    single = torch.float32 if dtype is torch.bfloat16 else dtype
    limit = most_people(single)
    _, points = scene()
    for people in (1e6, 0.9 * limit):
        for shape in ((4, 5), (1, 20)):
            density = torch.full((2, 1, 8, 12), people / 96, dtype=dtype)
            if shape[0] == 1:  # all of it in one cell
                density = torch.zeros_like(density)
                density[..., 3, 4] = people
            value, found = slope(loss, density, points)
            assert value.isfinite()
            assert found.isfinite().all()
    if dtype is torch.float64:  # 1e38 is an ordinary number there
        return
    for level in (limit, 1e3 * limit, 1e30, 1e38):
        density = torch.full((2, 1, 8, 12), level, dtype=dtype)
        message = r"density sums to .* people in an image, expected at most 1\.8e\+15"
        with pytest.raises(ValueError, match=message):
            loss(density, points)
    with pytest.raises(ValueError, match=r"weights\[1\] sums to 3e\+38 people"):
        loss(torch.ones(2, 1, 8, 12, dtype=dtype), points, [torch.ones(6), torch.tensor([1.0, 3e38])])


def test_relative_counting_refuses_what_overflows():
    density = torch.full((1, 1, 8, 8), 1e30)
    with pytest.raises(ValueError, match=r"density holds values up to 1e\+30, expected at most 1\.8e\+15"):
        relative_local_counting(density, density / 1e30, region=2)
    assert relative_local_counting(density / 1e16, density / 1e30, region=2).isfinite()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_compiled_loss_is_the_loss(name):
    density, points = scene()
    loss = build_loss(name)
    compiled = torch.compile(lambda d: loss(2 * d, points) + 1, backend="eager")
    value, found = slope(lambda d, _: compiled(d), density, points)
    wanted, wanted_slope = slope(lambda d, p: loss(2 * d, p) + 1, density, points)
    assert value == wanted
    assert torch.equal(found, wanted_slope)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_transforms_of_functions_are_refused_by_name(name):
    density, points = scene()
    loss = build_loss(name)
    message = f"{type(loss).__name__} runs inside a torch.func transform"
    with pytest.raises(RuntimeError, match=message):
        torch.func.vmap(lambda one: loss(one[None], points[:1]))(density)
    with pytest.raises(RuntimeError, match=message):
        torch.func.grad(lambda d: loss(d, points))(density)


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        (
            "l2",
            {"sigma": 4.0},
            "L2Loss(stride=8, convention='paper', kernel='fixed', sigma=4.0, neighbours=3, beta=0.3, solver='auto')",
        ),
        ("generalized", {"epsilon": 0.01}, "epsilon=0.01"),
        ("generalized", {"transport": False}, "transport=False"),
        ("proximal", {}, "tau=2.0"),
        ("bayesian", {"validate": False}, "validate=False)"),
        ("dm_count", {"stride": 4, "reg": 3.0}, "reg=3.0"),
    ],
)
def test_a_loss_prints_its_options(name, options, wanted):
    loss = build_loss(name, **options)
    assert wanted in repr(loss)
    assert repr(copy.deepcopy(loss)) == repr(pickle.loads(pickle.dumps(loss))) == repr(loss)
