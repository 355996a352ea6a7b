"""Recipes: how the notebooks and the reference sweeps train a network, and tables of several networks.

On the built-in scenes a notebook trains as the reference sweeps do, and reads the settings from their files. Every loss
trains the same small network with the same budget. The loss's scale and its learning rate were chosen on validation
scenes, by the same number of trainings for each loss: ``search.yaml`` is the search, ``losses.yaml`` holds its choice.
Nothing was chosen for other data sets: there the losses have their published options.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn
from torch.utils.data import DataLoader

from workbench.checks import check_whole
from workbench.data.patches import ImagePatches
from workbench.data.sample import collate
from workbench.io.project import runs_folder
from workbench.metrics import group_means
from workbench.models import BACKBONES, MODELS
from workbench.registry import look_up
from workbench.reports.published import read_published
from workbench.reports.verdicts import AHEAD
from workbench.sampling import FIXED
from workbench.sampling.groups import count_groups
from workbench.sweeps.grid import Grid, read_grid
from workbench.training.config import Config, build_config, open_split, patch_size
from workbench.training.evaluation import count_people, inference
from workbench.training.experiment import run_once

if TYPE_CHECKING:
    from pandas import DataFrame

Changes = Mapping[str, Any]
"""Keys of :class:`workbench.training.config.Config` and their values."""

SWEEP_FOLDER = Path(__file__).with_name("reference")
"""The folder of the reference sweeps: a link to ``notebooks/sweeps/reference`` in a clone, a copy in a wheel."""

LOSS_SWEEP, EXPERT_SWEEP, RELATIVE_SWEEP, SAMPLER_SWEEP = (
    read_grid(SWEEP_FOLDER / f"{name}.yaml") for name in ("losses", "experts", "relative", "samplers")
)

LABELS = {
    "l2": "L2",
    "bayesian": "BL",
    "dm_count": "DM-Count, exact",
    "dm_count (official)": "DM-Count",
    "generalized": "GL",
    "proximal": "PML",
}
"""The losses by the names of the papers' tables. DM-Count is the published code, which stops after 100 iterations;
"DM-Count, exact" solves the transport to the end."""


def _label(cell: Changes) -> str:
    """What a loss is called: by its label, or as in the registry."""
    convention = cell.get("convention", "paper")
    name = cell["loss"] + ("" if convention == "paper" else f" ({convention})")
    return LABELS.get(name, name)


RECIPES: dict[str, dict[str, Any]] = {_label(cell): cell for cell in LOSS_SWEEP.cells}
"""Label -> the loss and the settings that the search chose for it on scenes."""

STRATEGIES = {
    "Random Sampling": "random",
    "Offline Data Augmentation": "offline",
    "Balanced Sampling": "balanced",
    "Adaptive Sampling": "adaptive",
    "LADA": "lada",
    "LADP": "ladp",
    "LA-Batch": "la_batch",
}
"""The rows of LA Table 6, and the samplers that they stand for."""

PATCH_LEVELS = {"sparse": (0, 10), "medium": (11, 40), "dense": (41, float("inf"))}
"""Density levels of the imbalanced scenes: people in the image."""

PUBLISHED: dict[str, Any] = {
    "model": "csrnet",
    "crop": (180, 296),
    "per_image": 9,
    "batch_size": 60,
    "learning_rate": 1e-4,
    "schedule": "exponential",
    "weight_decay": 0.0,
    "epochs": 200,
}
"""The protocol of the locality-aware paper (sec. 4). It does not print patches an image, epochs and weight decay; these
are our reading."""


def _recipe(loss: str, sweep: Grid) -> dict[str, Any]:
    """A loss and its settings: those of the sweep where it trains the loss, else those that the search chose."""
    if loss not in RECIPES:
        return {"loss": loss}
    recipe = RECIPES[loss]
    for cell in ({**sweep.fixed, **one} for one in sweep.cells):
        if _label(cell) == loss:
            return recipe | {key: cell[key] for key in ("loss_options", "learning_rate") if key in cell}
    return recipe


NOT_SHARED = ("dataset", "loss", "loss_options", "model", "model_options", "ot_m")
"""What a reference sweep fixes and :func:`network_config` does not take from it as it is. OT-M's points are scored in
the reference sweeps alone: with a network that has learnt nothing this takes longer than the training."""


def network_config(
    loss: str = "L2",
    *,
    seed: int,
    length: int | None = None,
    epochs: int | None = None,
    published: bool = False,
    model: str | None = None,
    norm: str | None = None,
    dataset: str = "scenes",
    root: str | None = None,
    sweep: Grid | None = None,
    **changes: Any,
) -> Config:
    """The configuration of one network of a comparison.

    Notebooks that ask for the same network get the same configuration, and with
    :func:`workbench.training.experiment.run_once` the same run.

    Args:
        loss: a label of ``RECIPES``, or a name of the registry of losses with its own defaults.
        seed: of the run; scenes are drawn from it, too.
        length: number of training scenes, the reference sweep's if None; other data sets are taken whole.
        epochs: length of the training; the reference sweep's if None, 8 on other data sets.
        published: the published size, with ImageNet's weights where a backbone has them, instead of a narrow network
            from random weights.
        model: name of the model; "compact" on scenes and "csrnet" elsewhere if None. A model that has no option
            ``width`` or ``norm`` (one of somebody's own) is taken as it is.
        norm: normalisation; if None, "batch" in a narrow network and "none" in one of published size.
        dataset: name of the data set.
        root: its folder.
        sweep: whose settings hold on scenes; if None, that of the comparison of losses, of experts for "hmode" and of
            relative counting for other models.
        changes: other keys of the configuration; ``model_options`` are added to width and norm, or replace them.
    """
    scenes = dataset == "scenes"
    model = model or ("csrnet" if published or not scenes else "compact")
    if sweep is None or not scenes:
        sweep = {"compact": LOSS_SWEEP, "hmode": EXPERT_SWEEP}.get(model, RELATIVE_SWEEP)
    sizes = sweep.fixed.get("model_options") or sweep.cells[0]["model_options"]
    sizes = {"width": 1.0, "norm": "none"} if published else {key: sizes[key] for key in ("width", "norm")}
    sizes |= {"norm": norm} if norm else {}
    known = signature(look_up(MODELS, model, "model")).parameters
    pretrained = published and model in BACKBONES
    recipe = _recipe(loss, sweep)
    if not scenes:  # what was chosen for scenes stays behind
        recipe = {key: recipe[key] for key in ("loss", "convention") if key in recipe}
    settings: dict[str, Any] = {
        "learning_rate": 2e-3,
        "epochs": 8,
        **recipe,
        **({key: value for key, value in sweep.fixed.items() if key not in NOT_SHARED} if scenes else {}),
        **({"learning_rate": 1e-5 if pretrained else 1e-4} if published else {}),
        "dataset": dataset,
        "root": root or None,
        "model": model,
        "weights": "imagenet" if pretrained else None,
        "seed": seed,
        **({} if epochs is None else {"epochs": epochs}),
        **changes,
        "model_options": {key: sizes[key] for key in sizes if key in known} | changes.get("model_options", {}),
    }
    if scenes and "dataset_options" not in changes and length is not None:
        settings["dataset_options"] = settings["dataset_options"] | {"length": length}
    if settings.get("sampler", "random") in FIXED:
        settings["per_image"] = settings.get("per_image") or 4
    return build_config(**settings)


def strategy_config(sampler: str, *, seed: int, length: int | None = None, **changes: Any) -> Config:
    """The configuration of one network that is trained on imbalanced scenes with batches made in one way.

    Group normalisation looks at one image alone, so that rebalanced batches leave no statistics of theirs behind: with
    batch normalisation LA-Batch ended with 4.4 people too many an image on these scenes, with group normalisation with
    0.3 (one seed each). Four groups, not the paper's six: the sixth holds one or two scenes, which then fill a sixth of
    each batch; LA-Batch ended with a bias of 6.7 people (one seed).

    Args:
        sampler: name of the sampler.
        seed: of the run: its scenes, weights, patches, batches and projection.
        length: number of scenes; the reference sweep's if None.
        changes: other keys of :func:`network_config`.
    """
    fixed = SAMPLER_SWEEP.fixed
    settings: dict[str, Any] = {"sampler": sampler, "sweep": SAMPLER_SWEEP}
    if not changes.get("published"):
        settings |= {key: fixed[key] for key in ("batch_size", "epochs", "learning_rate")}
        settings |= {"norm": fixed["model_options"]["norm"]}
        settings |= next((cell for cell in SAMPLER_SWEEP.cells if cell["sampler"] == sampler), {})
    return network_config("L2", seed=seed, length=length, **settings | changes)


def train_variants(
    variants: Mapping[str, Changes],
    seeds: Sequence[int],
    *,
    folder: str | Path | None = None,
    on_network: Callable[[str, int], None] | None = None,
    **common: Any,
) -> "DataFrame":
    """Train every variant with every seed, or take the records that lie there.

    Args:
        variants: label -> what it changes, as in :func:`network_config`.
        seeds: one network each.
        folder: where the runs go; reports/runs/experiments if None.
        on_network: told the label and the seed before each.
        common: the same for all of them.

    Returns:
        A row a network: variant, seed, folder, and the scores.
    """
    import pandas as pd

    rows = []
    for label, variant in variants.items():
        for seed in seeds:
            if on_network:
                on_network(label, seed)
            config = network_config(seed=seed, **{**common, **variant})
            record, where = run_once(config, folder or runs_folder() / "experiments")
            rows.append({"variant": label, "seed": seed, "folder": str(where), **record.metrics})
    return pd.DataFrame(rows)


def beside_published(
    networks: "DataFrame", names: Mapping[str, str], *, paper: str, table: str, dataset: str, metric: str = "MAE"
) -> "DataFrame":
    """Mean, spread and number of the networks of each variant, after what the paper prints for it.

    Args:
        networks: of :func:`train_variants`.
        names: variant -> the method as it is printed; variants that are not there have no printed number.
        paper: see :func:`workbench.reports.published.read_published`.
        table: number of the table.
        dataset: whose printed numbers.
        metric: which printed numbers; the measured ones are "MAE" always.
    """
    rows = read_published(paper, table)
    rows = rows[(rows["dataset"] == dataset) & (rows["metric"] == metric)]
    printed = dict(zip(rows["method"], rows["value"], strict=True))
    scores: Any = networks.groupby("variant", sort=False)["mae"].agg(MAE="mean", spread="std", networks="count")
    scores.insert(0, f"published {metric} ({dataset})", [printed.get(names.get(label, "")) for label in scores.index])
    return scores


def not_learnt(networks: "DataFrame", *, by: str = "variant") -> str:
    """Which networks are hardly better than predicting the mean count: to be said beside whatever shows them.

    Args:
        networks: of :func:`train_variants`.
        by: column of what the networks are named after.

    Returns:
        A sentence; nothing if the MAE of every network is below the mean count's by the share that a verdict asks for.
    """
    failed = networks[networks["mae"] > (1 - AHEAD) * networks["baseline_mae"]]
    if failed.empty:
        return ""
    number = networks.groupby(by).size()
    named = [f"{label} ({count} of {number[label]})" for label, count in failed.groupby(by, sort=False).size().items()]
    return f"Networks that have learned nothing, as they do no better than the mean count: {', '.join(named)}."


def errors_of(networks: "DataFrame", variant: str) -> list[float]:
    """The MAE of each of a variant's networks; empty where there is none."""
    return networks.loc[networks["variant"] == variant, "mae"].tolist()


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
    """The MAE of each group of counts, averaged over the groups; groups without patches are left out.

    A mean over all patches says little where most of them are nearly empty.

    Args:
        errors: of :func:`patch_errors`.
        counts: people annotated in each patch.
        groups: number of groups, see :func:`workbench.sampling.groups.count_groups`.
    """
    return float(np.mean(list(group_means(np.abs(errors).tolist(), count_groups(counts, groups)).values())))
