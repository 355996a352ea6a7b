"""Models outside Python: traced, exported, compiled, and in ONNX; fed sizes that they were not exported with."""

import json
import warnings

import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from workbench.commands.cli import app
from workbench.models import MODELS, build_model
from workbench.training import export
from workbench.training.export import export_model

pytestmark = pytest.mark.pipeline  # traced and exported graphs have no shapes to check at a call

QUICK = ("compact", "vgg19")  # the others take seconds each
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted(MODELS)]
NARROW = {"hrnet": {"variant": "hrnet_w18_small", "width": 0.1}, "compact": {}}
SIZES = ((100, 140), (80, 96), (101, 143))


def narrow(name):
    torch.manual_seed(0)
    model = build_model(name, **NARROW.get(name, {"width": 0.05})).eval()
    model.calibrate(0.01)
    return model


def agree(model, other, tolerance):
    for size in SIZES:
        images = torch.rand(1, 3, *size)
        with torch.no_grad():
            expected = model(images)
            found = other(images)
        assert found.shape == expected.shape
        assert torch.allclose(found, expected, atol=tolerance, rtol=1e-4)


def exported(model):
    sides = {2: torch.export.Dim("height", min=64, max=4096), 3: torch.export.Dim("width", min=64, max=4096)}
    return torch.export.export(model, (torch.rand(1, 3, *SIZES[0]),), dynamic_shapes={"images": sides})


@pytest.mark.parametrize("name", EACH)
def test_torchscript_counts_as_torch_does(tmp_path, name):
    model = narrow(name)
    export_model(model, tmp_path / "model.pt", "torchscript")
    about = {"about.json": ""}
    with warnings.catch_warnings(action="ignore"):
        agree(model, torch.jit.load(tmp_path / "model.pt", _extra_files=about), 1e-6)
    assert json.loads(about["about.json"])["stride"] == model.stride


@pytest.mark.parametrize("name", EACH)
def test_an_exported_model_counts_at_other_sizes(name):
    model = narrow(name)
    agree(model, exported(model).module(), 1e-6)


@pytest.mark.parametrize("name", EACH)
def test_onnx_counts_as_torch_does(tmp_path, name):
    model = narrow(name)
    export_model(model, tmp_path / "model.onnx", "onnx", resize="longest:512")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    agree(model, lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]), 1e-5)
    about = json.loads(session.get_modelmeta().custom_metadata_map["about.json"])
    assert about["stride"] == model.stride
    assert about["resize"] == "longest:512"


def test_a_compiled_model_is_one_graph():
    model = narrow("vgg19")
    agree(model, torch.compile(model, backend="aot_eager", fullgraph=True), 1e-6)


def test_a_model_that_does_not_come_out_the_same_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_torchscript", lambda model, about: (b"", lambda images: model(images) * 1.001))
    with pytest.raises(RuntimeError, match=r"differs from the model by 0\.001, expected at most 0\.0001"):
        export_model(narrow("compact"), tmp_path / "model.pt", "torchscript")
    monkeypatch.setattr(export, "_torchscript", lambda model, about: 1 / 0)
    with pytest.raises(RuntimeError, match="cannot be written as torchscript: ZeroDivisionError: division by zero"):
        export_model(narrow("compact"), tmp_path / "model.pt", "torchscript")
    with pytest.raises(ValueError, match="format"):
        export_model(narrow("compact"), tmp_path / "model.pt", "caffe")
    assert not list(tmp_path.iterdir())


def test_a_training_and_its_weights_are_exported(tmp_path):
    options = {"model": "compact", "epochs": 1, "crop": 32, "dataset_options.length": 8, "accelerator": "cpu"}
    given = [text for name, value in options.items() for text in ("-p", f"{name}={value}")]
    run = tmp_path / "run"
    preset = ["-p", "dataset_options.preset=small", "--export", "torchscript"]
    assert CliRunner().invoke(app, ["train", "--out", str(run), *given, *preset]).exit_code == 0
    assert (run / "model.pt").is_file()
    done = CliRunner().invoke(app, ["export", str(run / "weights.pt"), "--out", str(tmp_path / "a.onnx"), "--json"])
    assert json.loads(done.stdout)["difference"] < 1e-5
    assert (tmp_path / "a.onnx").is_file()


@pytest.mark.bad_input
def test_values_are_checked_where_nothing_is_traced():
    with pytest.raises(ValueError, match="NaN or infinite"):
        narrow("compact")(torch.full((1, 3, 32, 32), float("inf")))
