"""The backbones of the proximal mapping loss's Table 2 with the simple decoder."""

import pytest
import torch

from workbench.models import ModelOutput, build_model


@pytest.mark.parametrize(
    ("name", "options"), [("vgg16_bn", {"width": 0.05}), ("hrnet", {"variant": "hrnet_w18_small", "width": 0.1})]
)
@pytest.mark.parametrize("size", [(64, 96), (45, 33)])
def test_any_image_size_gives_a_map_that_covers_it(name, options, size):
    torch.manual_seed(0)
    model = build_model(name, **options).eval()
    with torch.no_grad():
        density = model(torch.rand(1, 3, *size))
    assert model.stride == 8
    assert density.shape == (1, 1, -(-size[0] // 8), -(-size[1] // 8))
    assert (density >= 0).all()


def test_published_size_of_vgg16_bn():
    with torch.device("meta"):
        model = build_model("vgg16_bn")
    # torchvision's thirteen convolutions with batch normalisation, and the decoder 512-256-128-1
    assert sum(p.numel() for p in model.features.parameters()) == 14_723_136
    decoder = (512 * 9 + 1) * 256 + (256 * 9 + 1) * 128 + 129
    assert sum(p.numel() for p in model.parameters()) == 14_723_136 + decoder


def test_normalisation_by_groups_throughout():
    layers = {type(layer).__name__ for layer in build_model("vgg16_bn", width=0.05, norm="group").modules()}
    assert "GroupNorm" in layers
    assert "BatchNorm2d" not in layers


def test_a_model_of_one_map_names_nothing_else():
    result = build_model("vgg16_bn", width=0.05).outputs(torch.rand(1, 3, 32, 32))
    assert isinstance(result, ModelOutput)
    assert torch.equal(result.maps(), result.density)
    assert (result.experts, result.groups, result.gates, result.attention) == (None, None, (), None)


@pytest.mark.bad_input
def test_unknown_variant():
    with pytest.raises(ValueError, match="variant is 'resnet50', expected one of 'hrnet_w18_small'"):
        build_model("hrnet", variant="resnet50")
    with pytest.raises(ValueError, match="no front end that ImageNet weights exist for"):
        build_model("hrnet", variant="hrnet_w18_small", weights="imagenet")
