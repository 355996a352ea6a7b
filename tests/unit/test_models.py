import pytest
import torch

from workbench.models import MODELS, CountingModel, build_model, load_weights

SMALL = {"mcnn": {"width": 0.25}, "csrnet": {"width": 0.05}, "vgg19": {"width": 0.05}, "compact": {"width": 0.25}}


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("size", [(64, 96), (65, 51), (9, 40)])
def test_any_image_size_gives_a_map_that_covers_it(name, size):
    torch.manual_seed(0)
    model = build_model(name, **SMALL[name]).eval()
    density = model(torch.rand(2, 3, *size))
    assert density.shape == (2, 1, -(-size[0] // model.stride), -(-size[1] // model.stride))
    assert (density >= 0).all()


def test_published_sizes():
    counts = {name: sum(p.numel() for p in build_model(name).parameters()) for name in MODELS if name in SMALL}
    # MCNN by hand from its figure 3; CSRNet's 16.26 M and VGG-19's 20.02 M + 1.47 M are the published networks'
    assert counts == {"mcnn": 133_705, "csrnet": 16_263_489, "vgg19": 21_499_457, "compact": 61_881}


def test_float64_and_a_gradient_that_reaches_every_weight():
    torch.manual_seed(0)
    model = build_model("csrnet", width=0.05, norm="group").double()
    model(torch.rand(1, 3, 32, 32, dtype=torch.float64)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("activation", ["relu", "abs", "softplus"])
def test_calibration_starts_at_the_mean(activation):
    torch.manual_seed(0)
    model = build_model("csrnet", width=0.1, norm="batch", activation=activation)
    model.calibrate(0.07)
    with torch.no_grad():
        model.head.weight.zero_()
        assert torch.allclose(model(torch.rand(1, 3, 32, 32)), torch.tensor(0.07), atol=1e-6)


@pytest.mark.parametrize("activation", ["softplus", "abs", "relu"])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("name", ["csrnet", "mcnn", "vgg19", "dilated_vgg16", "compact"])
def test_a_calibrated_map_is_near_the_mean_everywhere(name, norm, activation):
    """Also where the mean is small: on ShanghaiTech B it is a hundredth of a person a cell."""
    torch.manual_seed(0)
    model = build_model(name, width=0.125, norm=norm, activation=activation)
    model.calibrate(0.3)
    model.calibrate(0.01)  # the last call counts
    with torch.no_grad():
        density = model(torch.rand(2, 3, 64, 64))
    assert 0.005 < density.mean() < 0.02
    assert density.std() < 0.005


def test_a_model_starts_calibrated_when_it_is_built():
    torch.manual_seed(0)
    density = build_model("csrnet", width=0.05)(torch.rand(1, 3, 64, 64))
    assert density.mean().item() == pytest.approx(5e-4 * 64, rel=0.3)


def test_a_model_without_a_head_is_left_as_it_is():
    CountingModel(stride=8).calibrate(0.1)


def test_a_head_cannot_die():
    """A step far too large leaves a gradient under the default activation; under a ReLU it leaves none."""
    slopes = {}
    for activation in (None, "relu"):
        torch.manual_seed(0)
        model = build_model("csrnet", width=0.05, activation=activation)
        model.calibrate(0.01)
        with torch.no_grad():
            model.head.bias.sub_(5)
        model(torch.rand(1, 3, 32, 32)).sum().backward()
        slopes[activation] = float(model.head.bias.grad)
    assert slopes[None] > 0
    assert slopes["relu"] == 0


def test_the_default_activation_is_softplus_and_a_printed_model_names_its_options():
    for name in MODELS:
        with torch.device("meta"):
            text = repr(build_model(name))
        assert "activation='softplus'" in text
        assert "stride=" in text
    assert "convention='official'" in repr(build_model("hmode", width=0.03, convention="official"))
    assert "align_corners=False" in repr(build_model("vgg19", width=0.03))


def test_a_constant_shift_of_the_input_range_matters_since_normalisation_is_inside():
    model = build_model("mcnn", width=0.25)
    assert torch.allclose(model.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    assert "mean" not in model.state_dict()


def test_weights_from_a_file_of_the_same_model(tmp_path):
    torch.manual_seed(0)
    first, second = build_model("mcnn", width=0.25), build_model("mcnn", width=0.25)
    torch.save(first.state_dict(), tmp_path / "w.pt")
    load_weights(second, tmp_path / "w.pt")
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(first(images), second(images))


def test_torchvision_weights_go_into_the_front_end(tmp_path):
    torchvision_models = pytest.importorskip("torchvision.models")
    theirs = torchvision_models.vgg16()
    torch.save(theirs.state_dict(), tmp_path / "vgg16.pth")
    model = build_model("csrnet", weights=tmp_path / "vgg16.pth").eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model.features(images), theirs.features[:23](images), atol=1e-5)


@pytest.mark.bad_input
def test_wrong_weights_are_named(tmp_path):
    model = build_model("mcnn", width=0.25)
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.pt"):
        load_weights(model, tmp_path / "none.pt")
    (tmp_path / "junk.pt").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"junk\.pt cannot be read"):
        load_weights(model, tmp_path / "junk.pt")
    torch.save(build_model("csrnet", width=0.05).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt does not fit MCNN: .* missing"):
        load_weights(model, tmp_path / "other.pt")
    torch.save(build_model("mcnn", width=0.5).state_dict(), tmp_path / "wide.pt")
    with pytest.raises(ValueError, match="have another shape"):
        load_weights(model, tmp_path / "wide.pt")


@pytest.mark.bad_input
def test_weights_never_run_code(tmp_path):
    import os

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        load_weights(build_model("mcnn", width=0.25), tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.bad_input
def test_imagenet_without_a_network_says_what_to_do(monkeypatch):
    import urllib.error

    def offline(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setattr("torch.hub.get_dir", lambda: "/nonexistent-hub")
    monkeypatch.setattr("os.makedirs", lambda *args, **kwargs: None)
    with pytest.raises(RuntimeError, match="weights=PATH"):
        build_model("csrnet", weights="imagenet")
    with pytest.raises(ValueError, match="no front end"):
        build_model("mcnn", weights="imagenet")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build_model("resnet"), "unknown model 'resnet', expected one of compact, csrnet"),
        (lambda: build_model("csrnet", depth=3), "model 'csrnet' has no option 'depth', expected one of width"),
        (lambda: build_model("csrnet", width=-1.0), "width is -1.0"),
        (lambda: build_model("csrnet", norm="layer"), "norm is 'layer'"),
        (lambda: build_model("mcnn", width=0.25)(torch.rand(3, 8, 8)), "images has shape"),
        (lambda: build_model("mcnn", width=0.25)(torch.full((1, 3, 8, 8), float("nan"))), "NaN"),
        (lambda: build_model("mcnn", width=0.25).calibrate(0.0), "mean_density is 0.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
