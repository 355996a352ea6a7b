"""What was measured: the records of all trained networks, wherever a notebook or a sweep left them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from workbench.io.files import check_regular
from workbench.runs.record import read_record
from workbench.training.config import MACHINE

RECORD_PLACES = ("experiments/*/record.json", "sweeps/*/cells/*/result/record.json")
BUILT_IN = ("scenes", "digits")
"""Data sets that stand in for the papers' own."""
UNTOLD = ("root", *MACHINE)
"""Keys of a configuration that its result does not depend on."""
FACTORS = (
    "seed",
    "loss",
    "loss_options",
    "convention",
    "relative",
    "experts",
    "sampler",
    "sampler_options",
    "model",
    "weights",
    "learning_rate",
    "recipe",
)
"""Keys that a comparison is about; all others are the same for all that is compared."""
OPTIONS_OF = {"loss_options": "loss", "sampler_options": "sampler"}
"""Whose options a key holds."""
ABSENT = object()
"""Stands for a key that a configuration lacks."""


class Measurement(NamedTuple):
    """One trained network.

    Attributes:
        config: of the training, :class:`workbench.training.config.Config` or, of a classifier,
            :class:`workbench.adversarial.experiment.AdversarialConfig`.
        metrics: its scores.
        record: the newest file that says so.
        started: when, in UTC.
        origin: the reader's own run, or a row of the reference records.
    """

    config: dict[str, Any]
    metrics: dict[str, float]
    record: Path
    started: str
    origin: Literal["own", "reference"] = "own"

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.config["seed"])

    def but(self, *names: str) -> str:
        """The configuration without the keys ``names`` and those that no result depends on, as one line."""
        kept = {key: value for key, value in self.config.items() if key not in (*names, *UNTOLD)}
        return json.dumps(kept, sort_keys=True)

    @property
    def setting(self) -> str:
        """What a comparison holds fixed, as one line: data, length of the training, width of the network."""
        kept = {key: value for key, value in self.config.items() if key not in (*FACTORS, *UNTOLD)}
        kept["width"] = self.config.get("model_options", {}).get("width", 1.0)
        kept.pop("model_options", None)
        return json.dumps(kept, sort_keys=True)


def collect_measurements(
    runs_dir: str | Path, places: Sequence[str] = RECORD_PLACES, *, damaged: list[str] | None = None
) -> list[Measurement]:
    """Every trained network below ``runs_dir``; of records of one configuration the newest counts.

    A record is one of a network if its config names a data set, a model, a seed, and a loss or, of a classifier that
    was attacked, a recipe. Keys that are no configuration's (a notebook's own parameters) are left out. A record that
    cannot be read, or holds values that are no configuration's, is left out, and ``damaged`` takes a sentence that says
    why.
    """
    found: dict[str, Measurement] = {}
    for path in sorted(path for place in places for path in Path(runs_dir).glob(place)):
        try:
            new = _measurement(path)
        except (ValueError, OSError) as error:
            if damaged is not None:
                damaged.append(str(error))
            continue
        if new is None:
            continue
        old = found.get(new.but())
        if old is None:
            found[new.but()] = new
        else:  # a notebook adds scores to those of the training that it shares
            first, last = sorted([old, new], key=lambda one: (one.started, str(one.record)))
            found[new.but()] = last._replace(metrics=first.metrics | last.metrics)
    return list(found.values())


def _measurement(path: Path) -> Measurement | None:
    """The network of a record, or None where it is of something else; errors as of a damaged record."""
    from workbench.adversarial.experiment import AdversarialConfig
    from workbench.training.config import Config, build_config

    check_regular(path, "record")
    record = read_record(path)
    attacked = "recipe" in record.config
    fields = AdversarialConfig.model_fields if attacked else Config.model_fields
    config = {key: value for key, value in record.config.items() if key in fields}
    if not {"model", "seed", "dataset", "recipe" if attacked else "loss"} <= set(config):
        return None
    try:
        AdversarialConfig(**config) if attacked else build_config(**config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for options, name in (("model_options", "width"), ("dataset_options", "length")):
        value = config.get(options, {}).get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{path}: {options}.{name} is {value!r}, expected a number")
    metrics = dict(record.metrics)
    if path.with_name("config.json").is_file():  # the record of a training, and not of a notebook that took it
        metrics |= pace(record.timing.seconds, config)
    return Measurement(config, metrics, path, record.timing.started)


def pace(seconds: float, config: Mapping[str, Any]) -> dict[str, float]:
    """What a training's time says: seconds an epoch, validation included."""
    return {"seconds_an_epoch": seconds / config["epochs"]} if config.get("epochs") else {}


def matches(
    config: Mapping[str, Any], conditions: Mapping[str, Any], references: Iterable[Mapping[str, Any]] = ()
) -> bool:
    """Whether a configuration is as ``conditions`` (name -> value) say.

    A dotted name looks into options, and a value that is a list names alternatives. Four values have a meaning of their
    own: None, the key is absent, None or empty; "absent"; "none", the key is there and is None or "none"; "reference",
    as in one of ``references``, the configurations of the reference records, of the same loss (for the loss's options),
    of the same sampler (for the sampler's), or on the same data set (for all else).
    """

    def holds(name: str, wanted: Any) -> bool:
        found = _value_at(config, name)
        if wanted == "reference":
            head = OPTIONS_OF.get(name.partition(".")[0], "dataset")
            return any(one.get(head) == config.get(head) and _value_at(one, name) == found for one in references)
        if wanted == "absent":
            return found is ABSENT
        if wanted == "none":
            return found in (None, "none")
        if wanted is None or wanted == {}:
            return found in (ABSENT, None, "") or found == {}
        return bool(found == wanted)

    return all(
        any(holds(name, one) for one in (wanted if isinstance(wanted, list) else [wanted]))
        for name, wanted in conditions.items()
    )


def reference_configs(measurements: Iterable[Measurement]) -> list[dict[str, Any]]:
    """The configurations of the reference records among ``measurements``, each once for all its seeds."""
    return list({one.but("seed"): one.config for one in measurements if one.origin == "reference"}.values())


def _value_at(config: Mapping[str, Any], name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = value.get(part, ABSENT) if isinstance(value, Mapping) else ABSENT
    return value


def by_setting(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """Measurements that may be compared with each other."""
    groups: dict[str, list[Measurement]] = {}
    for one in measurements:
        groups.setdefault(one.setting, []).append(one)
    return groups


def effort(setting: str) -> tuple[float, ...]:
    """How much a setting is worth: real data above built-in, then the size of the training."""
    kept = json.loads(setting)
    length = kept.get("dataset_options", {}).get("length", 0)
    return (kept["dataset"] not in BUILT_IN, kept.get("epochs", 0) * max(length, 1), kept["width"])


def describe(setting: str) -> str:
    """A setting in words."""
    kept = json.loads(setting)
    options = kept.get("dataset_options", {})
    what = kept["dataset"]
    if "preset" in options:
        what += f" ({options['preset']})"
    length = f", {options['length']} images" if "length" in options else ""
    width = "" if kept["width"] == 1 else f", width {kept['width']:g}"
    noise = f", noise {kept['noise_amount']:g}" if kept.get("noise") else ""
    crop = kept.get("crop")
    crop = "" if crop is None else f", crop {' x '.join(map(str, crop)) if isinstance(crop, list) else crop}"
    batch = "" if kept.get("batch_size", 8) == 8 else f", batch {kept['batch_size']}"
    patches = "" if kept.get("per_image") is None else f", {kept['per_image']} patches an image"
    return f"{what}{length}, {kept.get('epochs', '?')} epochs{width}{crop}{batch}{patches}{noise}"
