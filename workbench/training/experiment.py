"""An experiment: a frozen configuration -> a training run -> weights and a record.

The folder of a run holds ``config.json``, ``checkpoint.pt`` while it trains, ``weights.pt`` (the model of the best
validation MAE with its configuration, what ``workbench predict`` takes) and ``record.json``. Calling it again with
the same configuration goes on where it stopped, or gives the record if it had ended.
"""

import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric, seed_everything
from lightning_fabric.utilities.rank_zero import rank_zero_only

from workbench.data.dataset import CrowdDataset
from workbench.data.noise import NoisyAnnotations
from workbench.io.files import write_json
from workbench.io.lock import own_folder
from workbench.io.text import read_object
from workbench.losses import build_loss
from workbench.metrics import mae
from workbench.models import CountingModel
from workbench.models.frozen import OnFeatures
from workbench.models.state_files import read_state, write_state
from workbench.models.weights import load_weights
from workbench.runs import in_notebook
from workbench.runs.once import once
from workbench.runs.record import Record, Table, Timing, now, read_record, versions
from workbench.training.config import (
    Config,
    build_config,
    build_network,
    check_config,
    kept_images,
    open_split,
    training_patches,
    training_sampler,
)
from workbench.training.evaluation import Counted, evaluate, scores
from workbench.training.feature_patches import some_features
from workbench.training.features import kept_rule
from workbench.training.health import Trivial
from workbench.training.loop import Step, build_optimizer, build_schedule, fit, mean_density
from workbench.training.objective import build_objective
from workbench.training.scoring import score_images

OnStep = Callable[[Step], None]
OnEpoch = Callable[[dict[str, Any]], None]


def run_once(
    config: Config, root: str | Path, *, on_step: OnStep | None = None, on_epoch: OnEpoch | None = None
) -> tuple[Record, Path]:
    """Run an experiment in its own folder below ``root``, or take the result that lies there already.

    Notebooks that compare the same models share them so, see :func:`workbench.runs.once.once`.

    Returns:
        The record, and the folder with the weights.
    """
    return once(
        f"{config.model}-{config.loss}-{config.sampler}",
        config.identity,
        root,
        lambda folder: run_experiment(config, folder, on_step=on_step, on_epoch=on_epoch),
        code=__name__,
    )


def run_experiment(
    config: Config,
    folder: str | Path,
    *,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> Record:
    """Train, choose the weights on held-out training images, and score them on the test images.

    Args:
        config: the configuration.
        folder: where the run lives; taken up again if it was stopped.
        on_step: told after each step, by the first process; with several devices it must be a module's function.
        on_epoch: told each epoch's row of the history; likewise.

    Returns:
        The run's record. Metrics: the test scores and their baselines, see
        :func:`workbench.training.scoring.score_images`, and ``val_mae`` (``val_f1``) of the chosen weights.

    Raises:
        ValueError: a key or value of the configuration is not known, or the folder belongs to another run.
        FolderInUseError: another process trains in the folder.
    """
    folder = Path(folder)
    check_config(config)
    # of the processes of one run the first one owns the folder
    with own_folder(folder, again=True) if is_first_process() else nullcontext():
        return _run(config, folder, on_step, on_epoch)


def configure(**options: Any) -> Config:
    """A configuration that was checked whole; errors as in :func:`build_config` and :func:`check_config`."""
    config = build_config(**options)
    check_config(config)
    return config


def is_first_process() -> bool:
    """Whether this is the first of the processes that a launcher (torchrun, SLURM, Fabric) started, or the only one."""
    return not getattr(rank_zero_only, "rank", 0)


def _run(config: Config, folder: Path, on_step: OnStep | None, on_epoch: OnEpoch | None) -> Record:
    """Take the record that lies there, or train."""
    known = folder / "config.json"
    if known.exists() and (found := _read_config(known).differences(config)):
        raise ValueError(
            f"{folder} belongs to a run of another configuration: {'; '.join(found)}; choose another folder"
        )
    if (folder / "record.json").exists():
        return read_record(folder / "record.json")
    fabric = build_fabric(config)
    if config.devices == 1:
        return _train(fabric, config, folder, on_step, on_epoch)
    return fabric.launch(_train, config, folder, on_step, on_epoch)  # type: ignore[arg-type]


def _read_config(path: Path) -> Config:
    """The configuration of the run that lives beside ``path``.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        return build_config(**read_object(path))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the configuration of a run: {error}") from error


def build_fabric(config: Config) -> Fabric:
    """The devices and processes of a run.

    Several devices are a process each: forked in a notebook, started by the cluster's own launcher where there is one
    (SLURM, torchrun), spawned otherwise. The strategies "ddp_spawn" and "ddp_notebook" are taken as they are.
    """
    strategy: str = config.strategy if config.devices > 1 else "auto"
    if config.devices > 1 and strategy in ("auto", "ddp"):
        launched = any(name in os.environ for name in ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID"))
        strategy = "ddp" if launched else "ddp_notebook" if in_notebook() else "ddp_spawn"
    return Fabric(accelerator=config.accelerator, devices=config.devices, strategy=strategy, precision=config.precision)


def _train(fabric: Fabric, config: Config, folder: Path, on_step: OnStep | None, on_epoch: OnEpoch | None) -> Record:
    """What each process does; the first one scores the model, and all give the record."""
    started = now()
    seed_everything(config.seed, verbose=False)

    model = build_network(config, config.weights)  # before any image is read: its file may not fit

    train, held_out, test = (open_split(config, split) for split in ("train", "val", "test"))
    if not test[0].annotated:
        raise ValueError(
            f"{config.dataset} has no labels for its test images, expected dataset_options.evaluate_on=val "
            "where the data set has that option: it scores the validation part and chooses weights on training images"
        )
    for part in (train, held_out, test):
        part.check()
    if config.features is not None:
        held_out, test = kept_images(held_out, config), kept_images(test, config, "test")
        held_out.check()
        test.check()
    empty = nobody({"training": train, "validation": held_out, "scored": test})
    for text in empty if fabric.is_global_zero else ():
        warnings.warn(text, stacklevel=2)
    shown = (
        NoisyAnnotations(train, config.noise, amount=config.noise_amount, seed=config.seed) if config.noise else train
    )
    patches = training_patches(shown, config)
    if isinstance(model, OnFeatures) and config.features is not None and not model.calibrated:
        model.standardise(some_features(patches))
    if config.calibrate and not model.calibrated:  # trained weights bring their own head
        model.calibrate(mean_density(patches, model.stride))
    loss = build_loss(config.loss, stride=model.stride, convention=config.convention, **config.loss_options)
    objective = build_objective(loss, config.relative, config.experts)
    sampler = training_sampler(patches, config)
    optimizer = build_optimizer(
        model, config.optimizer, learning_rate=config.learning_rate, weight_decay=config.weight_decay
    )
    if fabric.is_global_zero:
        write_json(folder / "config.json", config.model_dump(mode="json"))
    history = fit(
        model,
        objective,
        patches,
        sampler,
        optimizer=optimizer,
        schedule=build_schedule(optimizer, config.schedule, epochs=config.epochs),
        epochs=config.epochs,
        validate=lambda network: known_scores(evaluate(network, held_out)),
        trivial=predict_mean(train, held_out),
        fabric=fabric,
        workers=config.workers,
        compiler=config.compiler,
        read_every=config.read_every,
        clip_norm=config.clip_norm,
        average=config.average,
        checkpoint=folder / "checkpoint.pt",
        checkpoint_steps=config.checkpoint_steps,
        identity=config.identity,
        on_step=on_step if fabric.is_global_zero else None,
        on_epoch=on_epoch if fabric.is_global_zero else None,
    )
    if fabric.is_global_zero:
        score(model, config, folder, (train, held_out, test), history, sampler.summary(), started, empty)
    fabric.barrier()
    return read_record(folder / "record.json")


def nobody(parts: Mapping[str, CrowdDataset]) -> list[str]:
    """A warning for each part in whose images there is nobody: a network that always answers zero is right there."""
    return [
        f"there is nobody in any of the {len(data)} {name} images"
        for name, data in parts.items()
        if len(data) and not any(len(data.points(index)) for index in range(len(data)))
    ]


def score(
    model: CountingModel,
    config: Config,
    folder: Path,
    parts: tuple[CrowdDataset, CrowdDataset, CrowdDataset],
    history: list[dict[str, Any]],
    extra: dict[str, float],
    started: str,
    warned: list[str],
) -> None:
    """Score a trained model and leave its weights and its record, the last thing that a run writes."""
    begun = time.perf_counter()
    train, held_out, test = parts
    results, found = score_images(model, test, mean=mean_count(train), radius=config.match_radius, ot_m=config.ot_m)
    if config.match_radius is not None:  # what choices between settings are made by
        found["val_f1"] = score_images(model, held_out, radius=config.match_radius)[1].get("f1", 0.0)
    found["val_mae"] = min(row["val_mae"] for row in history)
    record = Record(
        name=folder.name,
        config=config.model_dump(mode="json"),
        seed=config.seed,
        versions=versions(),
        metrics=found | extra,
        history=[{key: value for key, value in row.items() if key != "seconds"} for row in history],
        tables=[test_table(results)],
        warnings=[*warned, *(str(row["warning"]) for row in history if "warning" in row)],
        timing=Timing(
            started=started,
            seconds=sum(row["seconds"] for row in history) + time.perf_counter() - begun,
        ),
    )
    save_weights(model, config, folder / "weights.pt")
    record.write(folder / "record.json")
    (folder / "checkpoint.pt").unlink(missing_ok=True)


def mean_count(images: CrowdDataset) -> float:
    """People an image."""
    return sum(len(images.points(index)) for index in range(len(images))) / len(images)


def predict_mean(train: CrowdDataset, held_out: CrowdDataset) -> Trivial:
    """What predicting the mean count of ``train`` gives on ``held_out``."""
    truth = [float(len(held_out.points(index))) for index in range(len(held_out))]
    return Trivial(mae(truth, [mean_count(train)] * len(truth)), sum(truth) / len(truth))


def known_scores(results: list[Counted]) -> dict[str, float]:
    """The scores that are defined for these images: NAE is not where nobody is in any of them."""
    return {name: value for name, value in scores(results).items() if math.isfinite(value)}


def test_table(results: list[Counted]) -> Table:
    """The test images one by one, as the record keeps them."""
    return Table(
        name="test",
        columns=list(Counted._fields),
        rows=[list(row) for row in results],
        caption="People annotated and predicted in each test image",
    )


def save_weights(model: CountingModel, config: Config, path: str | Path) -> None:
    """Write a model's weights with what is needed to build it again, and a digest of all that."""
    write_state(path, {"model": model.state_dict(), "config": config.model_dump(mode="json"), "rule": model.rule})


def open_model(path: str | Path) -> CountingModel:
    """Build the model that a file of :func:`save_weights` holds; errors as in :func:`open_trained`."""
    return open_trained(path)[0]


def open_trained(path: str | Path) -> tuple[CountingModel, Config]:
    """Build the model that a file of :func:`save_weights` holds, with the configuration that it was trained by.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of this workbench's weights, or damaged.
    """
    state = read_state(path)
    if not isinstance(state.get("config"), dict) or not isinstance(state.get("model"), dict):
        raise ValueError(f"weights: {path} was not written by `workbench train`, expected its weights.pt")
    try:
        config = build_config(**state["config"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"weights: {path}: {error}") from error
    model = build_network(config)
    load_weights(model, path)
    return model.eval(), config


def trained_resize(config: Config) -> str:
    """The rule by which images were resized for a training: other pictures must be resized by it, too."""
    own = config.dataset_options.get("resize")
    rules = [str(own)] if own else []
    return ",".join(rules if config.features is None else [*rules, kept_rule(config.features.scale)]) or "none"
