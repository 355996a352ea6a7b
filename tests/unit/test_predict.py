import pytest
import torch
from PIL import Image

from workbench.models import build_model
from workbench.training.experiment import build_config, open_model, save_weights
from workbench.training.predict import predict_density, predict_image, save_overlay

OPTIONS = {"width": 0.25, "norm": "batch"}


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = build_model("mcnn", **OPTIONS).eval()
    model.calibrate(0.1)
    return model


@pytest.mark.parametrize("size", [(150, 210), (64, 64), (3, 201)])
def test_tiles_join_without_a_seam(model, size):
    image = torch.rand(3, *size)
    with torch.no_grad():
        whole = model(image[None])[0, 0]
    # the widest column sees 4 + 2 * 3 + 4 * (3 + 3) = 34 px to each side
    assert torch.allclose(predict_density(model, image, tile=64, margin=36), whole, atol=1e-6)


def test_too_small_a_margin_shows(model):
    image = torch.rand(3, 150, 210)
    with torch.no_grad():
        whole = model(image[None])[0, 0]
    assert not torch.allclose(predict_density(model, image, tile=64, margin=0), whole, atol=1e-6)


def test_the_mode_is_left_as_it_was(model):
    model.train()
    predict_density(model, torch.rand(3, 32, 32))
    assert model.training


def test_a_picture_through_a_file_of_weights(model, tmp_path):
    config = build_config(model="mcnn", model_options=OPTIONS)
    save_weights(model, config, tmp_path / "weights.pt")
    Image.new("L", (75, 50), 128).save(tmp_path / "grey.png")
    prediction = predict_image(open_model(tmp_path / "weights.pt"), tmp_path / "grey.png")
    assert prediction.image.shape == (3, 50, 75)
    assert prediction.count == pytest.approx(float(predict_density(model, prediction.image).sum()))
    assert prediction.to_dict()["image"] == "grey.png"
    save_overlay(prediction, tmp_path / "overlay.png")
    with Image.open(tmp_path / "overlay.png") as drawn:
        assert drawn.width > 800


@pytest.mark.bad_input
def test_bad_files_are_named(model, tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(ValueError, match=r"text\.jpg"):
        predict_image(model, tmp_path / "text.jpg")
    torch.save(model.state_dict(), tmp_path / "bare.pt")
    with pytest.raises(ValueError, match=r"bare\.pt was not written by `workbench train`"):
        open_model(tmp_path / "bare.pt")
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.pt"):
        open_model(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="tile is 0"):
        predict_density(model, torch.rand(3, 8, 8), tile=0)
