import pytest
import torch
from torch import nn

from workbench.models.classifiers import CLASSIFIERS, build_classifier


def test_small_cnn_takes_any_size_and_normalises_inside():
    model = build_classifier("small_cnn", width=0.5).eval()
    for side in (8, 9, 20):
        assert model(torch.rand(2, 1, side, side)).shape == (2, 10)
    seen = []
    model.features[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    model(torch.full((1, 1, 8, 8), 0.305))
    assert float(seen[0].abs().max()) < 1e-6
    assert "mean" not in model.state_dict()


def test_small_cnn_learns_digits_in_a_second():
    from workbench.data import open_dataset

    data, test = open_dataset("digits"), open_dataset("digits", split="test")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_classifier("small_cnn", width=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data.images), data.labels).backward()
        optimizer.step()
    assert float((model.eval()(test.images).argmax(dim=1) == test.labels).float().mean()) > 0.9


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_resnet18_keeps_32_pixels_until_its_second_stage(norm):
    model = build_classifier("resnet18", norm=norm).eval()
    sizes = {}
    for name in ("conv1", "maxpool", "layer1", "layer2", "layer4"):
        layer = getattr(model.network, name)
        layer.register_forward_hook(lambda m, i, out, name=name: sizes.update({name: tuple(out.shape[1:])}))
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    assert sizes == {
        "conv1": (64, 32, 32),
        "maxpool": (64, 32, 32),
        "layer1": (64, 32, 32),
        "layer2": (128, 16, 16),
        "layer4": (512, 4, 4),
    }
    kinds = {type(layer) for layer in model.modules() if "Norm" in type(layer).__name__}
    assert kinds == {nn.BatchNorm2d if norm == "batch" else nn.GroupNorm}
    # the published count: 11.17 million for ten classes with this stem
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_173_962


def test_weights_come_from_a_file(tmp_path):
    model = build_classifier("small_cnn", width=0.5)
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pt")
    again = build_classifier("small_cnn", width=0.5, weights=tmp_path / "weights.pt")
    torch.testing.assert_close(again.state_dict(), model.state_dict())


@pytest.mark.bad_input
def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="unknown classifier 'vgg', expected one of resnet18, small_cnn"):
        build_classifier("vgg")
    assert set(CLASSIFIERS) == {"small_cnn", "resnet18"}
    for options, message in [
        ({"depth": 3}, "has no option 'depth'"),
        ({"classes": 1}, "classes is 1"),
        ({"channels": 0}, "expected one a channel"),
        ({"norm": "layer"}, "norm is 'layer'"),
    ]:
        with pytest.raises(ValueError, match=message):
            build_classifier("small_cnn", **options)
    with pytest.raises(ValueError, match="data is 'imagenet'"):
        build_classifier("resnet18", data="imagenet")
    with pytest.raises(ValueError, match="std above zero"):
        build_classifier("resnet18", data=None, std=(0.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"images has shape \(1, 3, 8, 8\)"):
        build_classifier("small_cnn")(torch.rand(1, 3, 8, 8))
    with pytest.raises(FileNotFoundError, match="no file"):
        build_classifier("small_cnn", weights=tmp_path / "none.pt")
