"""An adversarial experiment: a frozen configuration -> a trained classifier, its robustness, and a record.

The folder of a run holds ``checkpoint.pt`` while it trains, then ``weights.pt`` and ``record.json``. A run that was
stopped goes on; the record of a finished run is read.
"""

import json
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning_fabric import Fabric, seed_everything
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from workbench.adversarial import fgsm, pgd
from workbench.adversarial.robustness import Accuracy, robustness, with_budget
from workbench.adversarial.training import Recipe, fit_by_recipe
from workbench.data import open_dataset
from workbench.io.lock import own_folder
from workbench.models.classifiers import Classifier, build_classifier
from workbench.models.state_files import write_state
from workbench.models.weights import load_weights
from workbench.runs.once import once
from workbench.runs.record import Record, Table, Timing, now, read_record, versions
from workbench.training.loop import build_optimizer, build_schedule

PADDING = 4  # of the random crop, as for CIFAR-10 in Madry et al.


class AdversarialConfig(BaseModel):
    """Everything that a run depends on. It is frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Literal["digits", "cifar10", "stl10"] = "digits"
    root: str | None = None
    validation: float = Field(0.2, gt=0, lt=1)
    model: str = "small_cnn"
    model_options: dict[str, Any] = Field(default_factory=dict)
    recipe: dict[str, Any] = Field(default_factory=dict)  # of workbench.adversarial.training.Recipe
    augment: Literal["none", "crop_flip"] = "none"
    epochs: int = Field(20, ge=1)
    batch_size: int = Field(60, ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine", "multistep"] = "cosine"
    epsilons: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2)  # budgets of the evaluation
    validate_at: float = Field(0.15, ge=0)  # budget of the PGD on held-out samples, by which settings are chosen
    attack_steps: int = Field(20, ge=1)  # of the evaluation's PGD
    seed: int = Field(0, ge=0)
    accelerator: str = "auto"

    @property
    def identity(self) -> str:
        """The configuration as one line: two runs of one identity are the same run."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


DIGITS_PROTOCOL: dict[str, Any] = {"epochs": 15, "recipe": {"epsilon": 0.15, "steps": 5, "warmup": 2}}
# The setting of Madry et al. for CIFAR-10, which the LA paper follows: 80,000 steps of 128 pictures; the learning rate
# is divided by ten after half and after three quarters of them; weight decay 2e-4; the training attack takes seven
# steps of 2/255 from a random start within 8/255.
PICTURES_PROTOCOL: dict[str, Any] = {
    "model": "resnet18",
    "augment": "crop_flip",
    "validation": 0.1,
    "epochs": 205,
    "batch_size": 128,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "weight_decay": 2e-4,
    "schedule": "multistep",
    "recipe": {"epsilon": 8 / 255, "steps": 7, "step_size": 2 / 255, "random_start": True, "warmup": 5},
    "epsilons": (4 / 255, 8 / 255, 16 / 255),
    "validate_at": 16 / 255,
}
ARMS: dict[str, dict[str, Any]] = {
    "Natural Training": {"epsilon": None},
    "Adversarial Training": {},
    "Adversarial Training + LADA": {"lada": True},
    "Adversarial Training + LADP": {"ladp": True},
    "Adversarial Training + LA-Batch": {"lada": True, "ladp": True},
}
"""What the arms of LA Table 9 change in the recipe, by the table's names."""


def adversarial_config(dataset: str = "digits", **changes: Any) -> AdversarialConfig:
    """The configuration that a data set is trained with: the paper's protocol, with changes.

    Args:
        dataset: "digits" (minutes on a CPU), or "cifar10" and "stl10" by the paper's protocol (hours on a GPU).
        changes: other keys; those in ``recipe`` replace the protocol's own.

    Raises:
        ValueError: an unknown data set, key or option, or a value out of range.
    """
    known = {"digits": DIGITS_PROTOCOL, "cifar10": PICTURES_PROTOCOL, "stl10": PICTURES_PROTOCOL}
    if dataset not in known:
        raise ValueError(f"dataset is {dataset!r}, expected one of {', '.join(known)}")
    settings = {"dataset": dataset, **known[dataset]}
    if dataset == "stl10":
        settings |= {"model_options": {"data": "stl10"}}
    recipe = {**settings["recipe"], **changes.pop("recipe", {})}
    unknown = set(recipe) - {field.name for field in fields(Recipe)}
    if unknown:
        names = ", ".join(field.name for field in fields(Recipe))
        raise ValueError(f"recipe has no option {', '.join(map(repr, sorted(unknown)))}, expected one of {names}")
    Recipe(**recipe)
    try:
        return AdversarialConfig(**{**settings, **changes, "recipe": recipe})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"configuration: {'.'.join(map(str, first['loc']))} is {first['input']!r}: {first['msg']}"
        ) from None


def run_arm(config: AdversarialConfig, root: str | Path, *, on_epoch: Any = None) -> tuple[Record, Path]:
    """Train and evaluate in a folder of its own below ``root``, or take the record that lies there.

    Returns:
        The record, and the folder with the weights. Metrics: "clean", "fgsm@E" and "pgd@E" on the test part for each
        budget E, "val_clean" and "val_pgd" on the held-out part, and "epsilon", the mean radius of the training attack
        over samples and adversarial epochs.
    """
    name = f"{config.model}-{config.dataset}-adversarial"
    return once(name, config.identity, root, lambda folder: _run(config, folder, on_epoch), code=__name__)


def run_adversarial(config: AdversarialConfig, folder: str | Path, *, on_epoch: Any = None) -> Record:
    """Train and evaluate in ``folder``; a run that was stopped there goes on, one that had ended gives its record."""
    folder = Path(folder)
    with own_folder(folder, again=True):
        kept = folder / "record.json"
        return read_record(kept) if kept.exists() else _run(config, folder, on_epoch)


def _run(config: AdversarialConfig, folder: Path, on_epoch: Any) -> Record:
    """Train, evaluate, and write weights and record."""
    started, begun = now(), time.perf_counter()
    seed_everything(config.seed, verbose=False)
    device = Fabric(accelerator=config.accelerator, devices=1).device
    model = build_classifier(config.model, **config.model_options).to(device)
    optimizer = build_optimizer(
        model, config.optimizer, learning_rate=config.learning_rate, weight_decay=config.weight_decay
    )
    history = fit_by_recipe(
        model,
        *whole(config, "train"),
        Recipe(**config.recipe),
        optimizer=optimizer,
        schedule=schedule_of(optimizer, config),
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
        augment=crop_flip if config.augment == "crop_flip" else None,
        checkpoint=folder / "checkpoint.pt",
        identity=config.identity,
        on_epoch=on_epoch,
    )
    rows = evaluate_arm(model, config)
    radii = [row["epsilon"] for row in history if row["epsilon"] > 0]
    record = Record(
        name=folder.name,
        config=config.model_dump(mode="json"),
        seed=config.seed,
        versions=versions(),
        metrics={
            **{name: accuracy.share for name, accuracy in rows.items()},
            "epsilon": sum(radii) / len(radii) if radii else 0.0,
        },
        history=[{key: value for key, value in row.items() if key != "seconds"} for row in history],
        tables=[
            Table(
                name="accuracy",
                columns=["attack", *Accuracy._fields],
                rows=[[name, *accuracy] for name, accuracy in rows.items()],
                caption="Accuracy under attack with Wilson's 95 % interval",
            )
        ],
        timing=Timing(started=started, seconds=time.perf_counter() - begun),
    )
    write_state(folder / "weights.pt", {"model": model.state_dict(), "config": config.model_dump(mode="json")})
    record.write(folder / "record.json")
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return record


def evaluate_arm(model: nn.Module, config: AdversarialConfig) -> dict[str, Accuracy]:
    """Accuracies on the test part by attack and budget, and on the held-out part, by which settings are chosen."""
    steps = config.attack_steps
    device = next(model.parameters()).device
    x, y = as_inputs(*whole(config, "test"), device)
    found = {"clean": robustness(model, x, y)}
    for epsilon in config.epsilons:
        found[f"fgsm@{epsilon:.4g}"] = robustness(model, x, y, with_budget(fgsm, epsilon))
        found[f"pgd@{epsilon:.4g}"] = robustness(model, x, y, with_budget(pgd, epsilon, steps=steps))
    x, y = as_inputs(*whole(config, "val"), device)
    found["val_clean"] = robustness(model, x, y)
    found["val_pgd"] = robustness(model, x, y, with_budget(pgd, config.validate_at, steps=steps))
    return found


def whole(config: AdversarialConfig, split: str) -> tuple[Tensor, Tensor]:
    """A part of the data set: images, in [0, 1] or of eight bits, and labels."""
    data = open_dataset(config.dataset, root=config.root, split=split, validation=config.validation)
    return data.images, data.labels


def as_inputs(x: Tensor, y: Tensor, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and labels, on a device."""
    return (x.float() / 255 if x.dtype == torch.uint8 else x).to(device), y.to(device)


def schedule_of(optimizer: torch.optim.Optimizer, config: AdversarialConfig) -> LRScheduler:
    """The learning rate by epoch; "multistep": a tenth after half and again after three quarters of the epochs."""
    if config.schedule == "multistep":
        return MultiStepLR(optimizer, [config.epochs // 2, config.epochs * 3 // 4], gamma=0.1)
    return build_schedule(optimizer, config.schedule, epochs=config.epochs)


def crop_flip(images: Float[Tensor, "b c h w"], draw: torch.Generator) -> Float[Tensor, "b c h w"]:
    """A random window of each image within four pixels of black around it, mirrored one time in two."""
    count, _, height, width = images.shape
    top, left = (torch.randint(2 * PADDING + 1, (2, count, 1), generator=draw)).to(images.device)
    mirrored = (torch.rand(count, 1, generator=draw) < 0.5).to(images.device)
    rows = top + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = left + torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images, (PADDING,) * 4)
    sample = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def open_arm(folder: str | Path) -> Classifier:
    """The classifier that a run left in its folder, in eval mode."""
    config = AdversarialConfig(**read_record(Path(folder) / "record.json").config)
    model = build_classifier(config.model, **config.model_options)
    load_weights(model, Path(folder) / "weights.pt")
    return model.eval()
