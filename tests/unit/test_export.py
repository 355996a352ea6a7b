"""Models outside Python: traced, exported, compiled, and in ONNX; fed sizes that they were not exported with."""

import io
import warnings

import pytest
import torch

from workbench.models import MODELS, build_model

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
def test_a_traced_model_counts_at_other_sizes(name):
    model = narrow(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agree(model, torch.jit.trace(model, torch.rand(1, 3, *SIZES[0])), 1e-6)


@pytest.mark.parametrize("name", EACH)
def test_an_exported_model_counts_at_other_sizes(name):
    model = narrow(name)
    agree(model, exported(model).module(), 1e-6)


@pytest.mark.parametrize("name", EACH)
def test_onnx_counts_as_torch_does(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = narrow(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(exported(model), dynamo=True, verbose=False)
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    agree(model, lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]), 1e-5)


def test_a_compiled_model_is_one_graph():
    model = narrow("vgg19")
    agree(model, torch.compile(model, backend="aot_eager", fullgraph=True), 1e-6)


@pytest.mark.bad_input
def test_values_are_checked_where_nothing_is_traced():
    with pytest.raises(ValueError, match="NaN or infinite"):
        narrow("compact")(torch.full((1, 3, 32, 32), float("inf")))
