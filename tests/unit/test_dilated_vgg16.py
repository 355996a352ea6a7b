import pytest
import torch

from workbench.models import build_model


@pytest.mark.parametrize("size", [(64, 96), (65, 51), (9, 40)])
def test_any_image_size_gives_a_map_that_covers_it(size):
    torch.manual_seed(0)
    density = build_model("dilated_vgg16", width=0.05).eval()(torch.rand(2, 3, *size))
    assert density.shape == (2, 1, -(-size[0] // 8), -(-size[1] // 8))
    assert (density >= 0).all()


def test_the_layers_of_the_paper():
    model = build_model("dilated_vgg16")
    # VGG-16's thirteen convolutions, and 64 regressors of 8 channels each
    assert sum(p.numel() for p in model.parameters()) == 14_714_688 + 512 + 64
    convolutions = [layer for layer in model.features if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.dilation[0] for layer in convolutions] == [1] * 10 + [2] * 3
    assert (model.head.groups, model.head.out_channels) == (64, 64)


def test_pooling_of_stride_one_is_the_maximum_of_four_neighbours():
    pool = build_model("dilated_vgg16", width=0.05).features[23]
    features = torch.rand(1, 2, 3, 4)
    pooled = pool(features)
    assert pooled.shape == features.shape
    assert torch.equal(pooled[..., 1, 2], features[..., 1:3, 2:4].amax((-1, -2)))
    assert torch.equal(pooled[..., 2, 3], features[..., 2, 3])


def test_the_answer_is_the_mean_of_the_groups_maps():
    torch.manual_seed(0)
    model = build_model("dilated_vgg16", width=0.125, groups=4).double().eval()
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        model.head.bias.zero_()
        features = model.features((images - model.mean) / model.std)
        weight = model.head.weight.squeeze()  # (groups, channels of a group)
        maps = [(part * row[:, None, None]).sum(1) for part, row in zip(features.chunk(4, 1), weight, strict=True)]
        assert torch.allclose(model(images)[:, 0], torch.nn.functional.softplus(torch.stack(maps).mean(0)), atol=1e-12)


def test_a_narrow_head_takes_the_most_groups_that_divide_its_channels():
    assert build_model("dilated_vgg16", width=0.05).head.groups == 26
    assert build_model("dilated_vgg16", width=0.125, groups=10).head.groups == 8


def test_torchvision_weights_go_into_the_features(tmp_path):
    torchvision_models = pytest.importorskip("torchvision.models")
    theirs = torchvision_models.vgg16().features
    state = {f"features.{name}": value for name, value in theirs.state_dict().items()}
    torch.save(state | {"classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg16.pth")
    model = build_model("dilated_vgg16", weights=tmp_path / "vgg16.pth").eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model.features[:23](images), theirs[:23](images), atol=1e-5)
    for layer in (24, 26, 28):
        assert torch.equal(model.features[layer].weight, theirs[layer].weight)


def test_calibration_starts_at_the_mean_and_gradients_reach_every_weight():
    torch.manual_seed(0)
    model = build_model("dilated_vgg16", width=0.1, norm="group").double()
    model.calibrate(0.07)
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    model(images).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    with torch.no_grad():
        model.head.weight.zero_()
        assert torch.allclose(model(images), torch.tensor(0.07, dtype=torch.float64))


@pytest.mark.bad_input
def test_bad_input_is_named():
    with pytest.raises(ValueError, match="groups is 0"):
        build_model("dilated_vgg16", groups=0)
    with pytest.raises(ValueError, match="norm is 'layer'"):
        build_model("dilated_vgg16", norm="layer")
