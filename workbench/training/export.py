"""Trained models outside this package: ONNX and TorchScript, each held against the model itself."""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench.checks import check_choice
from workbench.io.extras import need
from workbench.io.files import write_bytes
from workbench.models import CountingModel

if TYPE_CHECKING:
    from torch.export import ExportedProgram

EXPORT_SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt"}
EXPORT_SIZES = ((96, 128), (101, 143), (160, 80))
"""(H, W) at which an exported model must say what the model says; the first is the one it is exported with."""
EXPORT_TOLERANCE = 1e-4
"""Largest difference, as a share of the largest density."""
ABOUT_ENTRY = "about.json"  # the entry of a file that says what the model is


def export_model(model: CountingModel, path: str | Path, format: str, *, resize: str = "none") -> float:
    """Write a model that takes ``images`` (B, 3, H, W) in [0, 1] of any size and gives ``density``, people per cell.

    The file also says the stride, and how images are resized first.

    Args:
        model: the model.
        path: the file; "onnx" needs the extra ``export``.
        format: "onnx" or "torchscript".
        resize: the rule that the model was trained with.

    Returns:
        The largest difference to ``model`` at :data:`EXPORT_SIZES`, as a share of the largest density.

    Raises:
        ValueError: an unknown format.
        RuntimeError: the model cannot be written so, or what was exported gives something else; nothing is written.
        ModuleNotFoundError: without the extra ``export``, for "onnx".
    """
    check_choice(format, tuple(EXPORT_SUFFIXES), "format")
    model = model.cpu().float().eval()
    about = json.dumps({"stride": model.stride, "resize": resize, "images": "(B, 3, H, W) in [0, 1]"})
    if format == "onnx":
        need("export")
    try:
        content, run = (_onnx if format == "onnx" else _torchscript)(model, about)
        apart = difference(model, run)
    except Exception as error:  # of many kinds, each with pages of a graph
        reason = str(error).strip().partition("\n")[0]
        raise RuntimeError(f"this model cannot be written as {format}: {type(error).__name__}: {reason}") from error
    if not apart <= EXPORT_TOLERANCE:
        raise RuntimeError(
            f"the {format} model differs from the model by {apart:.2g}, expected at most {EXPORT_TOLERANCE}"
        )
    write_bytes(path, content)
    return apart


def difference(model: CountingModel, other: Callable[[Tensor], Tensor]) -> float:
    """The largest difference of two models' densities at :data:`EXPORT_SIZES`, as a share of the largest density."""
    most = 0.0
    draw = torch.Generator().manual_seed(0)
    for batch, size in enumerate(EXPORT_SIZES, start=1):
        images = torch.rand(batch, 3, *size, generator=draw)
        with torch.no_grad():
            expected, found = model(images), other(images)
        if found.shape != expected.shape:
            return float("inf")
        most = max(most, float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12)))
    return most


def _torchscript(model: CountingModel, about: str) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        traced = torch.jit.trace(model, torch.rand(1, 3, *EXPORT_SIZES[0]), check_trace=False)
        torch.jit.save(traced, file, _extra_files={ABOUT_ENTRY: about})
        file.seek(0)
        return file.getvalue(), torch.jit.load(file)


def _onnx(model: CountingModel, about: str) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    import onnxruntime

    with warnings.catch_warnings(action="ignore"):
        program: Any = torch.onnx.export(
            _program(model), dynamo=True, verbose=False, input_names=["images"], output_names=["density"]
        )
    program.model.metadata_props[ABOUT_ENTRY] = about
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    return file.getvalue(), lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _program(model: CountingModel) -> "ExportedProgram":
    sides = {place: torch.export.Dim(name, min=64, max=8192) for place, name in ((2, "height"), (3, "width"))}
    sides[0] = torch.export.Dim("batch", min=1, max=1024)
    return torch.export.export(model, (torch.rand(2, 3, *EXPORT_SIZES[0]),), dynamic_shapes={"images": sides})
