import pytest
import torch
from torch import nn

from workbench.losses import LOSSES, build_loss, relative_local_counting
from workbench.losses.hmode import attention_loss, hardest_error, importance_loss
from workbench.models import ModelOutput, build_model
from workbench.training.objective import Experts, Objective, Relative, build_objective


class Fixed(nn.Module):
    """Gives what it was given."""

    def __init__(self, **parts):
        super().__init__()
        self.result = ModelOutput(**parts)

    def outputs(self, images):
        return self.result

    def forward(self, images, named=False):
        return self.result if named else self.result.density


def batch():
    torch.manual_seed(0)
    return torch.rand(2, 3, 64, 64), [torch.rand(9, 2) * 64, torch.rand(0, 2)]


def mixture():
    torch.manual_seed(1)
    gates = tuple(torch.rand(2, 2, 16, 16).softmax(dim=1) for _ in range(3))
    return Fixed(
        density=torch.rand(2, 1, 16, 16),
        experts=torch.rand(2, 3, 16, 16),
        groups=torch.rand(2, 3, 16, 16),
        gates=(gates, (torch.rand(2, 3, 16, 16).softmax(dim=1),)),
        attention=torch.rand(2, 1, 4, 4) * 0.8 + 0.1,
    )


@pytest.mark.parametrize("name", ["l2", "bayesian"])
def test_a_plain_model_is_trained_on_its_loss_alone(name):
    images, points = batch()
    loss, density = build_loss(name, stride=4), torch.rand(2, 1, 16, 16)
    found, terms = Objective(loss).step(Fixed(density=density), images, points)
    wanted = loss.terms(density, points)
    assert torch.equal(found, density)
    assert terms.keys() == wanted.keys()
    assert all(torch.equal(terms[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_trains_the_head_that_it_reads(name):
    images, points = batch()
    loss = build_loss(name, stride=4)
    network = build_model("compact", readout=loss.readout)
    _, terms = Objective(loss).step(network, images, points)
    torch.stack(list(terms.values())).sum().backward()
    slope = network.head.weight.grad
    assert slope.isfinite().all()
    assert slope.flatten(1).any(dim=1).all()  # every channel


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["point_to_region", "point_to_point", "zero_inflated"])
def test_relative_counting_needs_a_density(name):
    with pytest.raises(ValueError, match=r"relative is 'hard', expected None: .*Loss trains a model's"):
        Objective(build_loss(name, stride=4), relative=Relative())


def test_a_network_that_names_nothing_will_do():
    images, points = batch()
    network = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 1, 1), nn.ReLU())
    _, terms = Objective(build_loss("l2", stride=4), relative=Relative()).step(network, images, points)
    assert list(terms) == ["pixel", "relative"]


def test_hmode_7():
    """The total of seven maps, from what it is made of."""
    images, points = batch()
    network = mixture()
    objective = Objective(build_loss("l2", stride=4, sigma=5.0), relative=Relative(weight=1.0))
    _, terms = objective.step(network, images, points)
    target = objective.targets(points, network.result.density)
    assert target.sum().item() == pytest.approx(9, rel=1e-5)
    assert terms.keys() == {"pixel", "relative", "attention", "importance"}
    maps = network.result.maps()
    mean = (maps - target).square().mean(dim=(0, 2, 3)).sum()
    assert terms["pixel"].item() == pytest.approx(256 * mean.item(), rel=1e-5)
    single = [relative_local_counting(one, target, region=2).item() for one in maps.split(1, dim=1)]
    assert terms["relative"].item() == pytest.approx(sum(single), rel=1e-5)
    attention = attention_loss(network.result.attention, target, threshold=1e-5 * 16)
    assert terms["attention"].item() == pytest.approx(attention.item(), rel=1e-5)
    assert terms["importance"].item() == pytest.approx(importance_loss(network.result.gates[0]).item(), rel=1e-5)


@pytest.mark.parametrize(("name", "kind"), [("l2", "hard"), ("bayesian", "absolute"), ("l2", "global")])
def test_weights_of_the_maps(name, kind):
    images, points = batch()
    network, loss = mixture(), build_loss(name, stride=4)
    relative = Relative(kind=kind, weight=1.0)
    one = Objective(loss, relative=relative, experts=Experts(attention=0, importance=0, intermediate=False))
    _, final = one.step(network, images, points)
    weighted = Experts(attention=0, importance=0, weights=[0, 0, 0, 0, 0, 0, 2])
    _, twice = Objective(loss, relative=relative, experts=weighted).step(network, images, points)
    assert twice.keys() == final.keys()
    for term, value in final.items():
        assert twice[term].item() == pytest.approx(2 * value.item(), rel=1e-5)


def test_the_official_convention():
    """Terms from what they are made of; the parity tests hold the same convention to the published numbers."""
    images, points = batch()
    network = mixture()
    loss = build_loss("l2", stride=4, convention="official")
    objective = Objective(loss, relative=Relative(weight=1.0))
    assert objective.convention == "official"  # the loss's, unless another is asked for
    assert Objective(loss, convention="paper").convention == "paper"
    _, terms = objective.step(network, images, points)
    target, weights = objective.targets(points, network.result.density), (1, 1, 1, 2, 2, 2, 4)
    maps = network.result.maps().split(1, dim=1)
    pixel = sum(weight * (one - target).square().sum() / 2 for weight, one in zip(weights, maps, strict=True))
    assert terms["pixel"].item() == pytest.approx(pixel.item(), rel=1e-5)
    relative = sum(
        weight
        * (relative_local_counting(one, target, region=2, pairs="all") + hardest_error(one, target, region=2).mean())
        for weight, one in zip(weights, maps, strict=True)
    )
    assert terms["relative"].item() == pytest.approx(relative.item(), rel=1e-5)
    attention = attention_loss(network.result.attention, target, threshold=16e-5, convention="official")
    assert terms["attention"].item() == pytest.approx(attention.item(), rel=1e-5)
    importance = importance_loss(network.result.gates[0], per_image=False, correction=1) / 2
    assert terms["importance"].item() == pytest.approx(importance.item(), rel=1e-5)


@pytest.mark.bad_input
def test_weights_are_one_a_map():
    images, points = batch()
    with pytest.raises(ValueError, match=r"experts.weights holds 2 numbers, expected 7"):
        Objective(build_loss("l2", stride=4), experts=Experts(weights=[1, 1])).step(mixture(), images, points)


def test_any_loss_of_every_map():
    images, points = batch()
    network, loss = mixture(), build_loss("bayesian", stride=4)
    _, terms = Objective(loss).step(network, images, points)
    maps = network.result.maps().split(1, dim=1)
    wanted = sum(loss(one, points) for one in maps)
    assert sum(value for name, value in terms.items() if name not in ("attention", "importance")).item() == (
        pytest.approx(wanted.item(), rel=1e-5)
    )
    final, _ = Objective(loss, experts=Experts(intermediate=False)).step(network, images, points)
    assert torch.equal(final, maps[-1])


def test_weights_of_the_terms():
    images, points = batch()
    network, loss = mixture(), build_loss("l2", stride=4)
    _, full = Objective(loss, relative=Relative(weight=1.0)).step(network, images, points)
    _, published = Objective(loss, relative=Relative()).step(network, images, points)
    assert published["relative"].item() == pytest.approx(0.16 * full["relative"].item(), rel=1e-5)
    _, without = Objective(loss, experts=Experts(importance=0, attention=0)).step(network, images, points)
    assert list(without) == ["pixel"]
    _, half = Objective(loss, experts=Experts(importance=0.5, attention=2)).step(network, images, points)
    assert half["importance"].item() == pytest.approx(0.5 * importance_loss(network.result.gates[0]).item())
    target = Objective(loss).targets(points, network.result.density)
    attention = attention_loss(network.result.attention, target, threshold=16e-5)
    assert half["attention"].item() == pytest.approx(2 * attention.item())


@pytest.mark.parametrize("kind", ["hard", "random", "absolute", "global", "nested"])
def test_every_kind_reaches_the_network(kind):
    torch.manual_seed(0)
    images, points = batch()
    points[1] = torch.rand(3, 2) * 64
    model = build_model("csrnet", width=0.05, norm="group", activation="softplus")
    objective = build_objective(build_loss("l2", stride=8), {"kind": kind, "weight": 1.0}, {})
    _, terms = objective.step(model, images, points)
    assert torch.isfinite(terms["relative"])
    assert terms["relative"].item() >= 0
    if terms["relative"].item() > 0:
        terms["relative"].backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_branch_takes_the_relative_term():
    images, points = batch()
    torch.manual_seed(3)
    network = Fixed(density=torch.rand(2, 1, 16, 16), branch=torch.rand(2, 1, 16, 16))
    objective = Objective(build_loss("l2", stride=4), relative=Relative(weight=1.0))
    _, terms = objective.step(network, images, points)
    density, branch = network.result.density, network.result.branch
    target = objective.targets(points, density)
    wanted = relative_local_counting(density, target, region=2, counts=branch)
    assert terms["relative"].item() == pytest.approx(wanted.item())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("relative", "experts", "message"),
    [
        ({"kind": "soft"}, {}, "relative.kind is 'soft'"),
        ({"region": 2.0}, {}, "relative.region is 2.0"),
        ({"weight": -1.0}, {}, "relative.weight is -1.0"),
        ({"hardest": 0}, {}, "relative.hardest is 0"),
        ({"widht": 1}, {}, "has no option 'widht', expected one of kind, weight"),
        ({}, {"attention": -1.0}, "experts.attention is -1.0"),
        ({}, {"weights": [1, -1.0]}, "experts.weights is -1.0"),
        ({}, {"importanc": 1.0}, "has no option 'importanc'"),
    ],
)
def test_bad_options(relative, experts, message):
    with pytest.raises(ValueError, match=message):
        build_objective(build_loss("l2"), relative, experts)
