"""Comparisons by small networks: the configuration that notebooks share."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from workbench.models import BACKBONES, MODELS
from workbench.registry import look_up
from workbench.training.experiment import Config, build_config

PAPER_LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "L2": ("l2", {"sigma": 6.4}),  # epsilon = 0.005 on a side of 128 px
    "BL": ("bayesian", {"sigma": 6.4}),
    "DM-Count": ("dm_count", {}),
    "GL": ("generalized", {"cost_offset": 1.0}),  # with the printed cost the empty map is a minimum
    "PML": ("proximal", {}),
}
"""The papers' losses by the names of their tables, as small networks are trained with them."""


def network_config(
    loss: str,
    options: Mapping[str, Any],
    *,
    seed: int,
    length: int,
    epochs: int,
    width: float,
    norm: str | None = None,
    model: str = "csrnet",
    dataset: str = "scenes",
    root: str | None = None,
    **changes: Any,
) -> Config:
    """The configuration of one network of a comparison.

    Notebooks that ask for the same network get the same configuration, and with
    :func:`workbench.training.experiment.run_once` the same run.

    Args:
        loss: name of the loss.
        options: of the loss.
        seed: of the run.
        length: number of scenes; other data sets are taken whole.
        epochs: length of the training.
        width: of the network; below 1 from random weights, at 1 as published. A model that has no option ``width`` or
            ``norm`` (one of somebody's own) is taken as it is.
        norm: normalisation; if None, "batch" below width 1 and "none" at 1.
        model: name of the model.
        dataset: name of the data set.
        root: its folder.
        changes: other keys of the configuration; ``model_options`` are added to width and norm, or replace them.
    """
    more = changes.pop("model_options", {})
    scenes, narrow = dataset == "scenes", width < 1
    known = signature(look_up(MODELS, model, "model")).parameters
    sizes = {"width": width, "norm": norm or ("batch" if narrow else "none")}
    pretrained = not narrow and model in BACKBONES
    settings = {
        "dataset": dataset,
        "root": root or None,
        "dataset_options": {"preset": "small", "length": length} if scenes else {},
        "model": model,
        "model_options": {key: value for key, value in sizes.items() if key in known} | more,
        "weights": "imagenet" if pretrained else None,
        "loss": loss,
        "loss_options": dict(options),
        "epochs": epochs,
        "crop": 128 if scenes else 512,
        "learning_rate": 2e-3 if narrow else 1e-5 if pretrained else 1e-4,
        "seed": seed,
    }
    return build_config(**(settings | changes))
