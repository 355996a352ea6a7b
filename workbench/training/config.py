"""The frozen configuration of an experiment: everything that a run depends on."""

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import Tensor

from workbench.data import DATASETS, open_dataset
from workbench.data.dataset import CrowdDataset
from workbench.data.patches import ImagePatches, TrainingPatches, fitting_side
from workbench.data.sample import CrowdSample
from workbench.losses import LOSSES, build_loss
from workbench.models import CountingModel, build_model
from workbench.models.frozen import OnFeatures
from workbench.registry import check_options, look_up
from workbench.sampling import SAMPLERS, build_sampler
from workbench.training.feature_patches import FeatureImages, FeaturePatches, FixedFeaturePatches
from workbench.training.features import Kept, View, check_weights, kept_folder, view_folder
from workbench.training.objective import build_objective

Side = Annotated[int, Field(ge=16)]


MACHINE = ("devices", "workers", "checkpoint_steps", "accelerator", "strategy", "compiler", "read_every")
"""Keys that say where and how a run is computed; a stopped run goes on with others."""

SET_ELSEWHERE = {
    "dataset_options": {"name": "dataset", "root": "root", "split": "the training"},
    "model_options": {"name": "model", "weights": "weights"},
    "loss_options": {"name": "loss", "stride": "model", "convention": "convention"},
    "sampler_options": {
        "name": "sampler",
        "samples": "dataset",
        "batch_size": "batch_size",
        "seed": "seed",
        "patches": "per_image",
    },
}
"""Options that would come twice, and the key that sets each."""

TRAINABLE: dict[str, dict[str, Any]] = {"generalized": {"cost_offset": 1.0}}
"""Options of losses that a training has unless ``loss_options`` says something else.

The printed cost of the generalized loss is at least 1 and tau is 0.5, so the empty map is a minimum. On ShanghaiTech B
a narrow CSRNet ends five epochs with a bias of -66 people of 124; with the offset its MAE is 47, the mean count's 72.
``loss_options={}`` asks for the loss as it is printed."""


class Config(BaseModel):
    """Everything that a run depends on; frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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
    features: Kept | None = None  # what a model on a frozen backbone is shown in the images' place; None: the images
    match_radius: float | None = Field(None, gt=0)  # pixels within which a point is a person found; None: counts alone
    ot_m: bool = False  # with a match_radius: whether test people are found by OT-M, too
    crop: Side | tuple[Side, Side] | None = None  # side of a square patch, or (H, W); None: see patch_size
    per_image: int | None = Field(
        None, ge=1
    )  # so many patches of each image at fixed places; None: one at a new place each time
    flip: bool = True
    batch_size: int = Field(8, ge=1)
    epochs: int = Field(20, ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0, le=1e3)
    weight_decay: float = Field(1e-4, ge=0, le=1e3)
    schedule: Literal["constant", "cosine", "exponential", "halving"] = "cosine"
    clip_norm: float | None = Field(None, gt=0)
    average: float = Field(0.0, ge=0, lt=1)  # decay a step of the averaged weights that are validated; 0: the last ones
    calibrate: bool = True
    seed: int = Field(0, ge=0, le=2**32 - 1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    accelerator: str = "auto"
    devices: int = Field(1, ge=1)
    strategy: Literal["auto", "ddp", "ddp_spawn", "ddp_notebook"] = "auto"  # see experiment.build_fabric
    workers: int = Field(0, ge=0)
    checkpoint_steps: int | None = Field(None, ge=1)
    compiler: str | None = None  # backend of torch.compile, such as "inductor"; None: not compiled
    read_every: int | None = Field(None, ge=1)  # see workbench.training.loop.fit

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, values: Any) -> Any:
        """Without ``evaluate_on``, which earlier versions wrote, and with :data:`TRAINABLE` where none is given."""
        if not isinstance(values, dict):
            return values
        values = {key: value for key, value in values.items() if (key, value) != ("evaluate_on", "test")}
        if values.get("loss_options") is None and values.get("convention", "paper") == "paper":
            values["loss_options"] = TRAINABLE.get(values.get("loss", "l2"), {})
        return values

    @field_validator("dataset_options", "model_options", "loss_options", "sampler_options")
    @classmethod
    def _only_own_options(cls, options: dict[str, Any], info: Any) -> dict[str, Any]:
        for option, place in SET_ELSEWHERE[str(info.field_name)].items():
            if option in options:
                raise ValueError(f"{info.field_name}.{option} found, expected no such option: it is set by {place}")
        return options

    @property
    def identity(self) -> str:
        """What the result depends on, as one line: two runs of one identity are the same run."""
        values = {key: value for key, value in self.model_dump(mode="json").items() if key not in MACHINE}
        if self.root is not None:
            values["root"] = os.path.realpath(self.root)
        return json.dumps(values, sort_keys=True)

    def differences(self, other: "Config") -> list[str]:
        """The keys in which the results of ``other`` may differ, each with both values."""
        mine, theirs = (json.loads(config.identity) for config in (self, other))
        return [f"{key} is {mine[key]!r} there and {theirs[key]!r} here" for key in mine if mine[key] != theirs[key]]


def loss_name(config: Mapping[str, Any]) -> str:
    """The name of a configuration's loss, with the convention where that is not the paper's: "dm_count (official)"."""
    convention = config.get("convention", "paper")
    return str(config["loss"]) + ("" if convention == "paper" else f" ({convention})")


def build_config(**options: Any) -> Config:
    """A configuration from keys and values.

    Raises:
        ValueError: one line an unknown key or a value out of range, with what was expected.
    """
    if "evaluate_on" in options and options["evaluate_on"] != "test":
        raise ValueError(
            f"configuration: evaluate_on is {options['evaluate_on']!r}, expected no such key: images of 'val' choose"
            " the weights. Where a data set has its own validation part, dataset_options.evaluate_on=val scores on it"
        )
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


def build_network(config: Config, weights: str | None = None) -> CountingModel:
    """The configuration's model with the read-out that its loss needs, unless ``model_options`` name another.

    Args:
        config: the configuration.
        weights: see :func:`workbench.models.build_model`.

    Raises:
        ValueError: a name or an option is not known, or the model cannot be read so.
    """
    readout = getattr(look_up(LOSSES, config.loss, "loss"), "readout", "density")
    return build_model(config.model, weights=weights, **{"readout": readout} | config.model_options)


def check_config(config: Config) -> None:
    """Raise unless data set, model, loss and sampler are known and take their options; nothing is read or trained.

    Raises:
        ValueError: a name, an option or an option's value is not known.
    """
    check_options(DATASETS, config.dataset, "dataset", config.dataset_options)
    check_options(SAMPLERS, config.sampler, "sampler", config.sampler_options)
    with torch.device("meta"):  # shapes without memory
        stride = build_network(config).stride
    loss = build_loss(config.loss, stride=stride, convention=config.convention, **config.loss_options)
    build_objective(loss, config.relative, config.experts)
    if config.features is not None:
        _frozen(config)
    training_sampler(training_patches(_Blank(), config), config)


def open_split(config: Config, split: str) -> CrowdDataset:
    """A part of the configuration's data set. Scenes are drawn from the run's seed, unless their options name another.

    Args:
        config: the configuration.
        split: see :func:`workbench.data.open_dataset`.
    """
    drawn = {"seed": config.seed} if config.dataset == "scenes" else {}
    return open_dataset(config.dataset, root=config.root, split=split, **drawn | config.dataset_options)


def patch_size(dataset: CrowdDataset, config: Config) -> tuple[int, int]:
    """(H, W) of the patches: ``crop``, or the side that fits the images.

    Without a ``crop`` the side is 128 px on built-in scenes and 256 px on photographs, less where every image is
    smaller. On photographs 128 px hold too few people to learn a count from: on ShanghaiTech B such a patch holds
    three, and a narrow CSRNet with DM-Count stayed at the mean count for five epochs; with 256 px it got below
    (one seed each).
    """
    side = config.crop or fitting_side(dataset, 128 if config.dataset == "scenes" else 256)
    return side if isinstance(side, tuple) else (side, side)


def training_patches(dataset: CrowdDataset, config: Config) -> TrainingPatches | ImagePatches | FeaturePatches:
    """The patches that a configuration trains on, from the images of ``dataset`` or from their kept features."""
    if config.features is not None and not isinstance(dataset, _Blank):
        return feature_patches(dataset, config)
    size = patch_size(dataset, config)
    if config.per_image is None:
        return TrainingPatches(dataset, size, flip=config.flip)
    return ImagePatches(dataset, size, per_image=config.per_image, seed=config.seed, flip=config.flip)


def feature_patches(dataset: CrowdDataset, config: Config) -> FeaturePatches:
    """The patches that a configuration trains on, of kept features."""
    assert config.features is not None
    scales = (config.features.scale, *config.features.zooms)
    images = {scale: kept_images(dataset, config, scale=scale) for scale in scales}
    turned = {}
    if config.features.mirrored:
        turned = {scale: kept_images(dataset, config, scale=scale, mirrored=True) for scale in scales}
    size = config.crop or fitting_side(images[config.features.scale], 192)
    options: dict[str, Any] = {"channels": _frozen(config).channels, "flip": config.flip, "turned": turned}
    side = size if isinstance(size, tuple) else (size, size)
    if config.per_image is None:
        return FeaturePatches(images, side, **options)
    return FixedFeaturePatches(images, side, per_image=config.per_image, seed=config.seed, **options)


def kept_images(
    dataset: CrowdDataset,
    config: Config,
    part: str = "trainval",
    *,
    scale: float | None = None,
    mirrored: bool = False,
) -> FeatureImages:
    """The images of ``dataset`` with their kept features.

    Args:
        dataset: training, validation or test images.
        config: the configuration.
        part: which extracted part they belong to, "trainval" or "test".
        scale: of the features; the configuration's if None.
        mirrored: those of the mirrored pictures.

    Raises:
        FileNotFoundError: the features were not extracted.
        ValueError: they are another data set's or backbone's.
    """
    assert config.features is not None
    model = _frozen(config)
    folder = kept_folder(config.dataset, model.name, config.features.place)
    if not (folder / "manifest.json").is_file():
        raise FileNotFoundError(f"there are no features in {folder}; `workbench features` makes them")
    check_weights(folder, config.dataset, model.name, model.weights_of)
    scale = config.features.scale if scale is None else scale
    return FeatureImages(dataset, View(view_folder(folder, part, scale, mirrored), model.strides))


def _frozen(config: Config) -> OnFeatures:
    """The configured model without weights, for what it says of its backbone."""
    with torch.device("meta"):
        model = build_network(config)
    if not isinstance(model, OnFeatures) or not model.freeze:
        raise ValueError(f"features are given, expected a model on a frozen backbone, found {config.model!r}")
    return model


def training_sampler(patches: TrainingPatches | ImagePatches | FeaturePatches, config: Config) -> Any:
    """The sampler that a configuration names, over its patches."""
    return build_sampler(
        config.sampler,
        samples=len(patches),
        batch_size=config.batch_size,
        seed=config.seed,
        patches=patches,
        **config.sampler_options,
    )


class _Blank(CrowdDataset):
    """One image without anybody: a sampler built over it checks its options before any file is read."""

    names = ("blank",)  # type: ignore[assignment]

    def points(self, index: int) -> Tensor:
        return torch.zeros(0, 2)

    def __getitem__(self, index: int) -> CrowdSample:
        return CrowdSample(torch.zeros(3, 16, 16), self.points(index), "blank")
