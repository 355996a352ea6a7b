"""Recipes: the settings that the notebooks train networks with, and tables of several networks.

On the built-in scenes a notebook trains as the reference sweeps do, and reads the settings from their files. Every loss
trains the same small network with the same budget. The loss's scale and its learning rate were chosen on validation
scenes, by the same number of trainings for each loss: ``search.yaml`` is the search, ``losses.yaml`` holds its choice.
Nothing was chosen for other data sets: there the losses have their published options.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.io.project import runs_folder
from workbench.models import BACKBONES, MODELS
from workbench.registry import look_up
from workbench.reports.published import read_published
from workbench.reports.verdicts import AHEAD
from workbench.sampling import FIXED
from workbench.sweeps.grid import Grid, read_grid
from workbench.training.config import Config, build_config, loss_name
from workbench.training.experiment import run_once

if TYPE_CHECKING:
    from pandas import DataFrame

SWEEP_FOLDER = Path(__file__).with_name("reference")
"""The reference sweeps: a link to ``notebooks/sweeps/reference`` in a clone, a copy in a wheel."""

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

LOSS_KEYS = ("loss", "convention", "loss_options", "learning_rate")
NOT_SHARED = ("dataset", "model", "model_options", "ot_m", *LOSS_KEYS[:-1])
"""What a reference sweep fixes and :func:`network_config` does not take over as it is. Only the reference sweeps score
OT-M's points: with a network that has learned nothing this takes longer than the training."""


def loss_recipes(sweep: Grid) -> dict[str, dict[str, Any]]:
    """Each loss that a sweep trains, by its label, with its settings in the sweep."""
    cells = [{**sweep.fixed, **cell} for cell in sweep.cells]
    names = [loss_name(cell) for cell in cells]
    return {
        LABELS.get(name, name): {key: cell[key] for key in LOSS_KEYS if key in cell}
        for name, cell in zip(names, cells, strict=True)
    }


RECIPES = loss_recipes(LOSS_SWEEP)
"""Label -> the loss and the settings that the search chose for it on scenes."""


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
        sweep: the sweep whose settings hold on scenes; if None, the losses' for "compact", the experts' for "hmode" and
            that of relative counting for other models. A loss that it does not train has the settings of ``RECIPES``.
        changes: other keys of the configuration; ``model_options`` are added to width and norm, or replace them.
    """
    scenes = dataset == "scenes"
    model = model or ("csrnet" if published or not scenes else "compact")
    if sweep is None or not scenes:
        sweep = {"compact": LOSS_SWEEP, "hmode": EXPERT_SWEEP}.get(model, RELATIVE_SWEEP)
    pretrained = published and model in BACKBONES
    recipe = (RECIPES | loss_recipes(sweep)).get(loss, {"loss": loss})
    if scenes:
        settings = recipe | {key: value for key, value in sweep.fixed.items() if key not in NOT_SHARED}
        if length is not None:
            settings["dataset_options"] = settings["dataset_options"] | {"length": length}
    else:  # what was chosen for scenes stays behind
        settings = {key: recipe[key] for key in ("loss", "convention") if key in recipe}
        settings |= {"learning_rate": 2e-3, "epochs": 8}
    if published:
        settings["learning_rate"] = 1e-5 if pretrained else 1e-4
    if epochs is not None:
        settings["epochs"] = epochs
    settings |= {"dataset": dataset, "root": root or None, "model": model, "seed": seed}
    settings |= {"weights": "imagenet" if pretrained else None, **changes}
    if settings.get("sampler") in FIXED:
        settings["per_image"] = settings.get("per_image") or 4
    narrow = {**sweep.fixed, **sweep.cells[0]}["model_options"]
    size = {"width": 1.0, "norm": "none"} if published else {key: narrow[key] for key in ("width", "norm")}
    size |= {"norm": norm} if norm else {}
    known = signature(look_up(MODELS, model, "model")).parameters
    own = changes.get("model_options", {})
    return build_config(**settings | {"model_options": {key: size[key] for key in size if key in known} | own})


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
    variants: Mapping[str, Mapping[str, Any]],
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


def not_learnt(networks: "DataFrame") -> str:
    """Which networks are hardly better than predicting the mean count: to be said beside whatever shows them.

    Args:
        networks: of :func:`train_variants`.

    Returns:
        A sentence; nothing if each network's MAE is below the mean count's by the share that a verdict asks for.
    """
    failed = networks[networks["mae"] > (1 - AHEAD) * networks["baseline_mae"]]
    if failed.empty:
        return ""
    number, total = (frame["variant"].value_counts(sort=False).to_dict() for frame in (failed, networks))
    named = [f"{label} ({count} of {total[label]})" for label, count in number.items()]
    bound = f"their MAE is not {AHEAD:.0%} below that of predicting the mean count"
    return f"**These networks have learned next to nothing** ({bound}): {', '.join(named)}."


def errors_of(networks: "DataFrame", variant: str) -> list[float]:
    """The MAE of each of a variant's networks; empty where there is none."""
    return networks.loc[networks["variant"] == variant, "mae"].tolist()
