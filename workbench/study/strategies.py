"""Ways of making batches, compared as in the locality-aware paper's Table 6: the configuration, and the scores.

A mean over test images says little where most of them are nearly empty: so the error of patches is averaged within
groups of counts first, and over the groups then.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import DataLoader

from workbench.checks import check_whole
from workbench.data.patches import ImagePatches
from workbench.data.sample import collate
from workbench.metrics import group_means
from workbench.sampling.groups import count_groups
from workbench.training.config import Config, build_config, open_split, patch_size
from workbench.training.evaluation import count_people, inference

STRATEGIES = {
    "Random Sampling": "random",
    "Offline Data Augmentation": "offline",
    "Balanced Sampling": "balanced",
    "Adaptive Sampling": "adaptive",
    "LADA": "lada",
    "LADP": "ladp",
    "LA-Batch": "la_batch",
}
"""The rows of Table 6, and the samplers that they stand for."""

PATCH_LEVELS = {"sparse": (0, 10), "medium": (11, 40), "dense": (41, float("inf"))}
"""Density levels of the imbalanced scenes: people in the image."""

PUBLISHED = {
    "weights": "imagenet",
    "crop": (180, 296),
    "per_image": 9,
    "batch_size": 60,
    "learning_rate": 1e-4,
    "schedule": "exponential",
    "weight_decay": 0.0,
    "epochs": 200,
}
"""The paper's protocol (sec. 4); what it does not print (patches an image, epochs, weight decay) is our reading."""


def strategy_config(
    sampler: str,
    *,
    seed: int,
    length: int = 120,
    epochs: int = 12,
    options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Config:
    """The configuration of one small network, trained on imbalanced scenes with batches made in one way.

    Group normalisation looks at one image alone, so that rebalanced batches leave no statistics of theirs behind;
    notebook 220 measures it beside batch normalisation, and none as in the paper. The map is made non-negative by a
    softplus: with a ReLU or the absolute value some seeds end with the same count for every image.

    Args:
        sampler: name of the sampler.
        seed: of the run: its weights, patches, batches and projection.
        length: number of scenes.
        epochs: length of the training.
        options: of the sampler.
        changes: other keys of the configuration.
    """
    settings: dict[str, Any] = {
        "dataset_options": {"preset": "imbalanced", "length": length},
        "model": "mcnn",
        "model_options": {"width": 0.25, "norm": "group", "activation": "softplus"},
        "loss_options": {"sigma": 6.4},
        "sampler": sampler,
        "sampler_options": dict(options or {}),
        "crop": 64,
        "per_image": 4,
        "batch_size": 24,
        "learning_rate": 1e-2,
        "epochs": epochs,
        "seed": seed,
    }
    return build_config(**(settings | changes))


def scored_patches(config: Config, *, per_image: int = 4) -> ImagePatches:
    """Patches of the test images of a configuration, the same ones for every strategy and seed."""
    data = open_split(config, "test")
    return ImagePatches(data, patch_size(data, config), per_image=per_image)


def patch_errors(model: nn.Module, patches: ImagePatches, *, batch_size: int = 32) -> np.ndarray:
    """Predicted less annotated people in each patch, (N,)."""
    check_whole(batch_size, "batch_size")
    parameter = next(model.parameters())
    errors = []
    with inference(model):
        for batch in DataLoader(patches, batch_size=batch_size, collate_fn=collate):
            predicted = count_people(model(batch.images.to(parameter))).cpu()
            errors.append((predicted - batch.counts).double().numpy())
    return np.concatenate(errors)


def group_averaged_mae(errors: np.ndarray, counts: list[int], *, groups: int = 6) -> float:
    """The mean over groups of counts (as of Algorithm 1) of each group's MAE; groups without patches are left out."""
    return float(np.mean(list(group_means(np.abs(errors).tolist(), count_groups(counts, groups)).values())))
