"""The frozen configuration of an experiment: everything that a run depends on."""

import json
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.data import DATASETS
from workbench.losses import build_loss
from workbench.models import build_model
from workbench.registry import check_options
from workbench.sampling import SAMPLERS
from workbench.training.objective import build_objective

Side = Annotated[int, Field(ge=16)]


class Config(BaseModel):
    """Everything that a run depends on; frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = "scenes"
    root: str | None = None
    dataset_options: dict[str, Any] = Field(default_factory=dict)
    model: str = "csrnet"
    model_options: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    loss: str = "l2"
    convention: Literal["paper", "official"] = "paper"
    loss_options: dict[str, Any] = Field(default_factory=dict)
    relative: dict[str, Any] = Field(default_factory=dict)  # relative local counting, {"kind": "hard"}; empty: without
    experts: dict[str, Any] = Field(default_factory=dict)  # what HMoDE adds to its maps' losses; see objectives
    sampler: str = "random"
    sampler_options: dict[str, Any] = Field(default_factory=dict)
    noise: Literal["uniform", "gaussian"] | None = None  # of the training annotations, see workbench.data.noise
    noise_amount: float = Field(0.0, ge=0)
    evaluate_on: Literal["test", "val"] = "test"
    crop: Side | tuple[Side, Side] = 128  # side of a square patch, or (H, W)
    per_image: int | None = Field(None, ge=1)  # patches at places that stay; None: one at a place of its own each time
    flip: bool = True
    batch_size: int = Field(8, ge=1)
    epochs: int = Field(20, ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["constant", "cosine", "exponential", "halving"] = "cosine"
    clip_norm: float | None = Field(None, gt=0)
    calibrate: bool = True
    seed: int = Field(0, ge=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    accelerator: str = "auto"
    devices: int = Field(1, ge=1)
    strategy: Literal["auto", "ddp"] = "auto"  # several devices: each a process with its share of every batch
    workers: int = Field(0, ge=0)
    checkpoint_steps: int | None = Field(None, ge=1)

    @property
    def identity(self) -> str:
        """The configuration as one line: two runs of one identity are the same run."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


def build_config(**options: Any) -> Config:
    """A configuration from keys and values.

    Raises:
        ValueError: one line an unknown key or a value out of range, with what was expected.
    """
    try:
        return Config(**options)
    except ValidationError as error:
        lines: dict[str, str] = {}
        for problem in error.errors():
            key = str(problem["loc"][0])  # what follows names a type, where there is a choice of them
            if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
                lines[key] = f"unknown key {key!r}, expected one of {', '.join(Config.model_fields)}"
            elif key in lines:
                lines[key] += f", or {problem['msg'][0].lower()}{problem['msg'][1:]}"
            else:
                lines[key] = f"{key} is {options[key]!r}: {problem['msg']}"
        raise ValueError("configuration: " + "; ".join(lines.values())) from None


def check_config(config: Config) -> None:
    """Raise unless data set, model, loss and sampler are known and take their options; nothing is read or trained.

    Raises:
        ValueError: a name, an option or an option's value is not known.
    """
    check_options(DATASETS, config.dataset, "dataset", config.dataset_options)
    check_options(SAMPLERS, config.sampler, "sampler", config.sampler_options)
    with torch.device("meta"):  # shapes without memory
        stride = build_model(config.model, **config.model_options).stride
    loss = build_loss(config.loss, stride=stride, convention=config.convention, **config.loss_options)
    build_objective(loss, config.relative, config.experts)
