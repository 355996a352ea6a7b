import pytest
import torch

from workbench.models import build_model
from workbench.models.hmode_mixture import combine, gate_weights, hierarchy

NARROW = {"width": 0.03, "norm": "group"}


def narrow(**options):
    torch.manual_seed(0)
    return build_model("hmode", **NARROW, **options).eval()


def test_hierarchies():
    assert hierarchy("hmode") == (((0, 1), (0, 2), (1, 2)), ((0, 1, 2),))
    assert len(hierarchy("hmode", experts=4, group_size=2)[0]) == 6
    assert len(hierarchy("hmode", experts=4, group_size=3)[0]) == 4
    assert [len(level) for level in hierarchy("hmode", depth=3)] == [3, 3, 1]
    assert hierarchy("ordinary", pair=(1, 3)) == (((0, 2), (1,)), ((0, 1),))
    assert hierarchy("ordinary", pair=(1, 2)) == (((0, 1), (2,)), ((0, 1),))
    assert hierarchy("ordinary", pair=(3, 2)) == (((0,), (1, 2)), ((0, 1),))
    assert hierarchy("moe") == hierarchy("average") == (((0, 1, 2),),)


def test_a_mixture_by_hand():
    """Eq. (1) on constant maps: groups 1.5, 3 and 2.5 of experts 1, 2 and 4, then the groups half, a quarter each."""
    first, last = hierarchy("hmode")
    members = torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1, 1).expand(-1, -1, -1, 2, 2)
    odds = torch.tensor([1.0, 1, 1, 2, 3, 1]).log().view(1, 6, 1, 1)
    groups = combine(members, first, gate_weights(odds, first, (2, 2), mode="bilinear"))
    assert torch.allclose(groups[0, :, 0, 0, 0], torch.tensor([1.5, 3.0, 2.5]))
    odds = torch.tensor([2.0, 1, 1]).log().view(1, 3, 1, 1)
    final = combine(groups, last, gate_weights(odds, last, (2, 2), mode="bilinear"))
    assert torch.allclose(final, torch.tensor(0.5 * 1.5 + 0.25 * 3 + 0.25 * 2.5))


@pytest.mark.parametrize("size", [(64, 96), (37, 50), (16, 1)])
@pytest.mark.parametrize(
    ("options", "stride", "groups"),
    [
        ({}, 4, 3),
        ({"experts": 4, "group_size": 2}, 2, 6),
        ({"experts": 4, "group_size": 3}, 2, 4),
        ({"depth": 3}, 4, 6),
        ({"convention": "official"}, 4, 3),
    ],
)
def test_shapes_of_the_named_result(size, options, stride, groups):
    model = narrow(**options)
    images = torch.rand(2, 3, *size)
    result = model.outputs(images)
    cells = (2, -(-size[0] // stride), -(-size[1] // stride))
    experts = options.get("experts", 3)
    assert model.stride == stride
    assert result.density.shape == (cells[0], 1, *cells[1:])
    assert result.experts.shape == (cells[0], experts, *cells[1:])
    assert result.groups.shape == (cells[0], groups, *cells[1:])
    assert result.maps().shape[1] == experts + groups + 1
    assert result.attention.shape == (2, 1, -(-size[0] // 16), -(-size[1] // 16))
    assert len(result.levels) == len(result.gates) == options.get("depth", 2)
    for level, gates in zip(result.levels, result.gates, strict=True):
        for group, gate in zip(level, gates, strict=True):
            assert gate.shape == (2, len(group), *cells[1:])
            assert torch.allclose(gate.sum(dim=1), torch.ones(cells), atol=1e-6)
    assert torch.equal(model(images), result.density)
    assert torch.equal(model(images, named=True).experts, result.experts)


def test_the_result_is_eq_1():
    """The final map is the sum over groups and members of G2 G1 E, from what the result names."""
    result = narrow().outputs(torch.rand(2, 3, 48, 64))
    first, (last,) = result.gates
    total = sum(
        last[:, i] * gate[:, j] * result.experts[:, member]
        for i, (group, gate) in enumerate(zip(result.levels[0], first, strict=True))
        for j, member in enumerate(group)
    )
    assert torch.allclose(total, result.density[:, 0], atol=1e-6)


VARIANTS = {
    "average": {"fusion": "average"},
    "concat": {"fusion": "concat"},
    "moe": {"fusion": "moe"},
    "ordinary": {"fusion": "ordinary", "pair": [1, 3]},
    "image": {"weighting": "image"},
    "hard": {"weighting": "hard"},
    "channel": {"weighting": "channel"},
    "no attention": {"attention": None},
    "residual": {"gate": "residual", "attention": "residual"},
    "multiscale": {"gate": "multiscale", "attention": "multiscale"},
    "deep nets": {"gate_layers": 6, "attention_layers": 9},
    **{place: {"gate_input": place} for place in ("EB1", "EB2", "DB3", "DB2", "DB1")},
    "branch": {"branch": True},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_reaches_every_weight(name):
    model = narrow(activation="softplus", **VARIANTS[name]).double()
    model.calibrate(0.05)
    for layer in model.modules():  # a ReLU that is dead by chance would tell nothing
        if isinstance(layer, torch.nn.Conv2d) and layer.bias is not None:
            torch.nn.init.constant_(layer.bias, 0.1)
    result = model.outputs(torch.rand(2, 3, 32, 48, dtype=torch.float64))
    extra = [part.sum() for part in (result.branch, result.attention) if part is not None]
    (result.maps().square().sum() + sum(extra)).backward()
    missed = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert missed == []
    assert (result.density >= 0).all()


def test_what_variants_are():
    images = torch.rand(1, 3, 32, 32)
    average = narrow(fusion="average").outputs(images)
    assert torch.allclose(average.density, average.experts.mean(dim=1, keepdim=True))
    hard = narrow(weighting="hard").outputs(images)
    assert all(((gate < 1e-6) | (gate > 1 - 1e-6)).all() for gate in hard.gates[0])
    image = narrow(weighting="image").outputs(images)
    assert all((gate.amax(dim=(2, 3)) == gate.amin(dim=(2, 3))).all() for gate in image.gates[0])
    ordinary = narrow(fusion="ordinary", pair=(1, 2)).outputs(images)
    assert ordinary.groups.shape[1] == 1  # the expert that passes is no group
    assert narrow(attention=None).outputs(images).attention is None
    assert narrow(fusion="concat").outputs(images).experts is None
    assert narrow(fusion="moe").outputs(images).groups is None


@pytest.mark.parametrize("convention", ["paper", "official"])
@pytest.mark.parametrize("fusion", ["hmode", "concat"])
def test_calibration_starts_every_map_at_the_mean(convention, fusion):
    model = narrow(convention=convention, fusion=fusion)
    model.calibrate(0.07)
    for head in model.heads:
        torch.nn.init.zeros_(getattr(head, "out", head).weight)
    assert torch.allclose(model.outputs(torch.rand(1, 3, 32, 32)).maps(), torch.tensor(0.07), atol=1e-6)


def test_the_encoder_has_torchvisions_names_and_takes_its_weights(tmp_path):
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        theirs = models.vgg16_bn().state_dict()
        ours = build_model("hmode").state_dict()
    shapes = {name: value.shape for name, value in theirs.items() if name.startswith("features.")}
    assert {name: value.shape for name, value in ours.items() if name.startswith("features.")} == shapes
    state = {name: torch.tensor(number).float().expand(shape) for number, (name, shape) in enumerate(shapes.items())}
    torch.save(state | {"classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg.pt")
    model = build_model("hmode", weights=tmp_path / "vgg.pt")
    assert all(torch.equal(model.state_dict()[name].float(), value) for name, value in state.items())
    assert (model.heads[0].out.weight != 0).any()  # the rest is as it was drawn


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": 5}, "experts is 5, expected one of 3, 4"),
        ({"group_size": 3}, "group_size is 3, expected fewer than the 3 members"),
        ({"depth": 1}, "depth is 1"),
        ({"fusion": "sum"}, "fusion is 'sum'"),
        ({"fusion": "ordinary", "pair": [1, 1]}, r"pair is \(1, 1\)"),
        ({"weighting": "soft"}, "weighting is 'soft'"),
        ({"gate_input": "DB4"}, "gate_input is 'DB4'"),
        ({"gate": "linear"}, "kind of a gating or attention net is 'linear'"),
        ({"widht": 1}, "has no option 'widht'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build_model("hmode", **{"width": 0.03} | options)
