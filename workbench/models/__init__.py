"""Counting models; one architecture a file."""

from pathlib import Path
from typing import Any

from workbench.models.base import CountingModel
from workbench.models.weights import load_weights
from workbench.registry import build

MODELS = {
    "mcnn": "workbench.models.mcnn:MCNN",
    "csrnet": "workbench.models.csrnet:CSRNet",
    "vgg19": "workbench.models.vgg19:VGG19Counter",
}
BACKBONES = {"csrnet": "vgg16", "vgg19": "vgg19"}

__all__ = ["MODELS", "CountingModel", "build_model", "load_weights"]


def build_model(name: str, *, weights: str | Path | None = None, **options: Any) -> CountingModel:
    """Build a model by its name.

    Args:
        name: one of ``MODELS``.
        weights: a local file of weights, "imagenet" for the front end's ImageNet weights, or None for random ones;
            see :func:`workbench.models.weights.load_weights`.
        options: the model's own options, see its class.

    Raises:
        ValueError: the name, an option or its value is not known, or the weights do not fit.
        FileNotFoundError: no such file of weights.
        RuntimeError: ImageNet's weights cannot be fetched.
    """
    model: CountingModel = build(MODELS, name, "model", **options)
    if weights is not None:
        backbone = BACKBONES.get(name)
        if backbone and options.get("norm") == "batch":
            backbone += "_bn"
        load_weights(model, weights, backbone=backbone)
    return model
