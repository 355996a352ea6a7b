"""Files of weights: whose they are, how their tensors are named, and whether they are whole."""

import random
import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from workbench.models import build_model, load_weights
from workbench.models.state_files import read_state, state_digest, write_state
from workbench.training.experiment import build_config, open_model, save_weights


def plain(plan, channels, *, dilation=1):
    layers = []
    for item in plan:
        if item == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, item, 3, padding=dilation, dilation=dilation), nn.ReLU()]
            channels = item
    return nn.Sequential(*layers)


FRONT = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512)
VGG19 = (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4)


class TheirCSRNet(nn.Module):
    """By the paper's table 3 and the published names."""

    def __init__(self):
        super().__init__()
        self.frontend, self.backend = plain(FRONT, 3), plain((512, 512, 512, 256, 128, 64), 512, dilation=2)
        self.output_layer = nn.Conv2d(64, 1, 1)

    def forward(self, x):
        return self.output_layer(self.backend(self.frontend(x)))


class TheirVGG(nn.Module):
    """The Bayesian loss's network, or DM-Count's, by their published names."""

    def __init__(self, whose):
        super().__init__()
        self.whose = whose
        self.features = plain(VGG19, 3)
        decoder = [nn.Conv2d(512, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 128, 3, padding=1), nn.ReLU()]
        last = nn.Conv2d(128, 1, 1)
        self.reg_layer = nn.Sequential(*decoder, *([last] if whose == "bayesian" else []))
        if whose == "dm_count":
            self.density_layer = nn.Sequential(last, nn.ReLU())

    def forward(self, x):
        x = self.reg_layer(F.interpolate(self.features(x), scale_factor=2, mode="bilinear", align_corners=True))
        return x.abs() if self.whose == "bayesian" else self.density_layer(x)


WRAPPERS = {
    "bare": lambda state: state,
    "module.": lambda state: {f"module.{name}": value for name, value in state.items()},
    "state_dict": lambda state: {"epoch": 7, "state_dict": state, "best_prec1": torch.tensor(1.0)},
    "model_state_dict": lambda state: {"model_state_dict": {f"module.{name}": v for name, v in state.items()}},
}


@pytest.mark.parametrize(
    ("name", "theirs", "wrapper"),
    [
        *(("csrnet", TheirCSRNet, wrapper) for wrapper in WRAPPERS),
        ("vgg19", lambda: TheirVGG("bayesian"), "bare"),
        ("vgg19", lambda: TheirVGG("dm_count"), "model_state_dict"),
    ],
)
def test_published_weights_give_the_published_map(name, theirs, wrapper, tmp_path):
    torch.manual_seed(0)
    published = theirs().eval()
    torch.save(WRAPPERS[wrapper](published.state_dict()), tmp_path / "published.pth")
    model = build_model(name, weights=tmp_path / "published.pth").eval()
    images = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        expected = published((images - model.mean) / model.std)
        assert torch.allclose(model(images), expected, atol=1e-6)
    assert expected.std() > 0
    if name == "csrnet" and wrapper == "bare":  # what is written again computes the same
        config = build_config(model=name)
        save_weights(model, config, tmp_path / "weights.pt")
        with torch.no_grad():
            assert torch.equal(open_model(tmp_path / "weights.pt")(images), model(images))


def test_an_activation_that_was_asked_for_is_kept(tmp_path):
    torch.save(TheirCSRNet().state_dict(), tmp_path / "published.pth")
    model = build_model("csrnet", weights=tmp_path / "published.pth", activation="relu")
    assert model.activation == "relu"


def test_published_hmode_brings_its_convention():
    model = build_model("hmode", width=0.03)
    model.follow({"activation": "relu", "convention": "official"})
    assert (model.map_mode, model.feature_mode, model.activation) == ("nearest", "aligned", "relu")
    assert model.unit == pytest.approx(0.16)


def front_end(width=0.125):
    torch.manual_seed(1)
    return plain([item if item == "M" else round(item * width) for item in FRONT], 3)


FRONTS = {
    "torchvision without its classifier": ("features.", {}),
    "torchvision": ("features.", {"classifier.0.weight": torch.zeros(2, 2)}),
    "timm": ("features.", {"pre_logits.fc1.weight": torch.zeros(2, 2, 1, 1), "head.fc.bias": torch.zeros(2)}),
    "the features alone": ("", {}),
    "deeper": ("features.", {"features.24.weight": torch.zeros(64, 64, 3, 3)}),
    "another name": ("frontend.", {}),
    "distributed": ("module.features.", {}),
}


@pytest.mark.parametrize("whose", FRONTS)
def test_a_front_end_is_known_by_its_shapes(whose, tmp_path):
    prefix, rest = FRONTS[whose]
    theirs = front_end()
    torch.save({f"{prefix}{name}": value for name, value in theirs.state_dict().items()} | rest, tmp_path / "front.pth")
    model = build_model("csrnet", width=0.125)
    head = model.head.weight.clone()
    load_weights(model, tmp_path / "front.pth")
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(model.features(images), theirs(images))
    assert torch.equal(model.head.weight, head)
    assert not model.calibrated


def test_timms_features_go_into_hrnet(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(2)
    theirs = timm.create_model("hrnet_w18_small", pretrained=False)
    torch.save(theirs.state_dict(), tmp_path / "hrnet.pth")
    model = build_model("hrnet", variant="hrnet_w18_small", width=0.1, weights=tmp_path / "hrnet.pth")
    assert torch.equal(model.encoder.conv1.weight, theirs.conv1.weight)
    assert torch.equal(
        model.encoder.state_dict()["stage4.0.fuse_layers.0.1.0.weight"],
        theirs.state_dict()["stage4.0.fuse_layers.0.1.0.weight"],
    )


def test_safetensors_are_read(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    model = build_model("compact")
    safetensors.save_file(model.state_dict(), tmp_path / "w.safetensors")
    other = build_model("compact")
    load_weights(other, tmp_path / "w.safetensors")
    assert torch.equal(other.head.weight, model.head.weight)


@pytest.mark.bad_input
def test_another_counters_weights_are_no_front_end(tmp_path):
    torch.save(build_model("vgg16_bn", width=0.05).state_dict(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match="does not fit HMoDE"):
        build_model("hmode", width=0.05, weights=tmp_path / "w.pt")
    torch.save({f"features.{name}": value for name, value in front_end(0.25).state_dict().items()}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="does not fit CSRNet"):
        build_model("csrnet", width=0.125, weights=tmp_path / "w.pt")


def test_trained_weights_keep_their_head(tmp_path):
    model = build_model("compact")
    save_weights(model, build_config(model="compact"), tmp_path / "weights.pt")
    assert build_model("compact", weights=tmp_path / "weights.pt").calibrated


def test_a_file_from_before_the_rule_keeps_its_relu(tmp_path):
    model = build_model("mcnn", width=0.25, activation="relu")
    config = build_config(model="mcnn", model_options={"width": 0.25})
    torch.save({"model": model.state_dict(), "config": config.model_dump(mode="json")}, tmp_path / "old.pt")
    with pytest.warns(UserWarning, match="has no digest"):
        assert open_model(tmp_path / "old.pt").activation == "relu"


def test_a_digest_knows_values_names_types_and_shapes():
    state = {"w": torch.arange(6.0), "step": 3, "rows": [{"a": 1.0}]}
    others = [
        state | {"w": torch.arange(6.0).view(2, 3)},
        state | {"w": torch.arange(6.0).view(torch.int32)},
        state | {"w": torch.arange(6.0).add(1e-6)},
        state | {"step": 4},
        state | {"rows": [{"a": 2.0}]},
        {"v" if name == "w" else name: value for name, value in state.items()},
    ]
    digests = {state_digest(one) for one in [state, *others]}
    assert len(digests) == 1 + len(others)
    assert state_digest({"step": 3} | {"w": torch.arange(6.0)}) != state_digest({"step": 3})


@pytest.mark.parametrize("kind", ["weights.pt", "a state of torch.save"])
@pytest.mark.bad_input
def test_a_damaged_file_never_gives_other_weights(kind, tmp_path):
    torch.manual_seed(0)
    model = build_model("mcnn", width=0.25)
    path, damaged = tmp_path / "weights.pt", tmp_path / "damaged.pt"
    if kind == "weights.pt":
        save_weights(model, build_config(model="mcnn", model_options={"width": 0.25}), path)
    else:
        torch.save(model.state_dict(), path)
    whole = {name: value.clone() for name, value in model.state_dict().items()}
    content, draw, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(150):
        place = draw.randrange(len(content))
        damaged.write_bytes(content[:place] + bytes([content[place] ^ draw.randrange(1, 256)]) + content[place + 1 :])
        other = build_model("mcnn", width=0.25)
        try:
            load_weights(other, damaged)
        except ValueError:
            refused += 1
            continue
        assert all(torch.equal(value, whole[name]) for name, value in other.state_dict().items())
    assert refused > 75


@pytest.mark.bad_input
def test_an_exchanged_tensor_is_noticed(tmp_path):
    write_state(tmp_path / "w.pt", {"w": torch.zeros(3)})
    state = torch.load(tmp_path / "w.pt", weights_only=True)
    torch.save(state | {"w": torch.ones(3)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt is damaged: .* digest"):
        read_state(tmp_path / "w.pt")
    shutil.copy(tmp_path / "w.pt", tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="cannot be read"):
        read_state(tmp_path / "w.safetensors")
