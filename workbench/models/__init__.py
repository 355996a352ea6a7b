"""Counting models; one architecture a file."""

from pathlib import Path
from typing import Any

from workbench.models.base import CountingModel, ModelOutput
from workbench.models.weights import load_weights
from workbench.registry import Builder, build, register

MODELS: dict[str, str | Builder] = {
    "compact": "workbench.models.compact:Compact",
    "frozen": "workbench.models.frozen:Frozen",
    "mcnn": "workbench.models.mcnn:MCNN",
    "csrnet": "workbench.models.csrnet:CSRNet",
    "hmode": "workbench.models.hmode:HMoDE",
    "hrnet": "workbench.models.hrnet:HRNetCounter",
    "vgg16_bn": "workbench.models.vgg16_bn:VGG16BNCounter",
    "vgg19": "workbench.models.vgg19:VGG19Counter",
    "dilated_vgg16": "workbench.models.dilated_vgg16:DilatedVGG16",
}
BACKBONES = {"csrnet": "vgg16", "dilated_vgg16": "vgg16", "hmode": "vgg16_bn", "vgg16_bn": "vgg16_bn", "vgg19": "vgg19"}

DENSITY = 5e-4
"""People per pixel that a new model starts with: between ShanghaiTech's parts, 1e-3 (A) and 1.6e-4 (B)."""

__all__ = ["MODELS", "CountingModel", "ModelOutput", "build_model", "load_weights", "register_model"]


def build_model(
    name: str, *, weights: str | Path | None = None, readout: str = "density", **options: Any
) -> CountingModel:
    """Build a model by its name.

    A head that ``weights`` does not bring starts near ``DENSITY``; a training sets it to its own data's mean with
    :meth:`~workbench.models.base.CountingModel.calibrate`.

    Args:
        name: one of ``MODELS``.
        weights: a local file of weights, "imagenet" for the front end's ImageNet weights, or None for random ones;
            see :func:`workbench.models.weights.load_weights`.
        readout: what the last layer gives, "density" or the several maps that some losses need; see
            :meth:`workbench.models.base.CountingModel.read_as`.
        options: the model's own options, see its class.

    Raises:
        ValueError: the name, an option or its value is not known, or the weights do not fit.
        FileNotFoundError: no such file of weights.
        RuntimeError: ImageNet's weights cannot be fetched.
    """
    model: CountingModel = build(MODELS, name, "model", **options)
    model.read_as(readout)
    model.calibrate(DENSITY * model.stride**2)
    if weights is not None:
        backbone = BACKBONES.get(name)
        if backbone and not backbone.endswith("_bn") and options.get("norm") == "batch":
            backbone += "_bn"
        load_weights(model, weights, backbone=backbone)
    return model


def register_model(name: str, builder: str | Builder) -> None:
    """Make somebody's own model known by a name; see :mod:`workbench.registry`.

    Args:
        name: what :func:`build_model` shall know it by.
        builder: a :class:`CountingModel` that takes its options by keyword,
            or ``"module:attribute"``.

    Raises:
        ValueError: the name is taken by another model.
    """
    register(MODELS, name, builder, "model")
