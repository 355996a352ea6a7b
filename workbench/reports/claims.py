"""What the papers say, held against the records: holds, does not hold, or not enough evidence.

``data/published/claims.yaml`` lists the claims; each says which runs it compares, in which metric, and the sweep that
makes them. Runs are paired by seed and by everything that the claim does not speak of. The effect is the mean of the
paired differences, positive where the claim is right, with a bootstrap interval over the pairs.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from workbench.reports.measured import MACHINE, Measurement, describe, effort, matches
from workbench.reports.published import PAPERS

LEAST_PAIRS = 5
CONFIDENCE = 0.95
RESAMPLES = 9999

Verdict = Literal["holds", "does not hold", "not enough evidence"]


class Claim(BaseModel):
    """One sentence of a paper, and what tests it.

    Attributes:
        id: a short name.
        paper: a file of data/published.
        source: where the paper says so.
        text: what it says.
        metric: of the records.
        better: which of two values of the metric is the better one.
        first: conditions on the runs that the claim calls better, see :func:`workbench.reports.measured.matches`.
        second: conditions on those that it compares them with.
        shared: conditions on the runs of both sides: what they must be like beside what the claim speaks of.
        sweep: the grid that makes these runs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    paper: str
    source: str
    text: str
    metric: str = "mae"
    better: Literal["lower", "higher"] = "lower"
    first: dict[str, Any]
    second: dict[str, Any]
    shared: dict[str, Any] = {}
    sweep: str


class Evidence(NamedTuple):
    """What the records say of a claim.

    Attributes:
        claim: the claim.
        verdict: "holds" or "does not hold" where the interval leaves zero out and there are enough pairs.
        pairs: how many.
        effect: the mean paired difference in units of the metric, positive where the claim is right.
        low: end of the interval.
        high: end of the interval.
        first: mean of the runs that the claim calls better.
        second: mean of the others.
        setting: on what.
        records: of both sides.
    """

    claim: Claim
    verdict: Verdict
    pairs: int = 0
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    first: float | None = None
    second: float | None = None
    setting: str = ""
    records: tuple[Path, ...] = ()


def read_claims(path: str | Path | None = None) -> list[Claim]:
    """The claims of ``data/published/claims.yaml``, or of another such file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a list of claims, or two have one id.
    """
    import yaml

    path = Path(path) if path is not None else PAPERS / "claims.yaml"
    try:
        claims = TypeAdapter(list[Claim]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{path} is not a list of claims: {error}") from error
    names = [claim.id for claim in claims]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{path} has two claims called {', '.join(sorted(twice))}")
    return claims


def weigh(claim: Claim, measurements: Sequence[Measurement]) -> Evidence:
    """What ``measurements`` say of a claim.

    The runs of a group of pairs are alike in all that the claim does not speak of. Of several groups the one with most
    pairs counts (up to :data:`LEAST_PAIRS`), of those the largest training, then the one with the newest run.
    """
    names = {name.partition(".")[0] for name in (*claim.first, *claim.second)}

    def rest(one: Measurement) -> str:
        """Everything that the claim does not speak of, but the seed."""
        kept = {k: v for k, v in one.config.items() if k not in names and k not in MACHINE and k != "seed"}
        return json.dumps([one.setting, kept], sort_keys=True)

    known = [one for one in measurements if claim.metric in one.metrics and matches(one.config, claim.shared)]
    sides: list[dict[tuple[str, int], Measurement]] = []
    for conditions in (claim.first, claim.second):
        side = [one for one in known if matches(one.config, conditions)]
        sides.append({(rest(one), one.seed): one for one in sorted(side, key=lambda one: one.started)})
    pairs: dict[str, list[tuple[Measurement, Measurement]]] = {}
    for key in sorted(sides[0].keys() & sides[1].keys()):
        pairs.setdefault(key[0], []).append((sides[0][key], sides[1][key]))
    if not pairs:
        return Evidence(claim, "not enough evidence")

    def worth(group: Sequence[tuple[Measurement, Measurement]]) -> tuple[Any, ...]:
        newest = max(one.started for pair in group for one in pair)
        return min(len(group), LEAST_PAIRS), effort(group[0][0].setting), newest

    return _judge(claim, max(pairs.values(), key=worth))


def _judge(claim: Claim, pairs: Sequence[tuple[Measurement, Measurement]]) -> Evidence:
    values = np.array([[one.metrics[claim.metric] for one in pair] for pair in pairs])
    first, second = values.mean(axis=0)
    differences = values[:, 1] - values[:, 0] if claim.better == "lower" else values[:, 0] - values[:, 1]
    low, high = interval(differences)
    verdict: Verdict = "not enough evidence"
    if len(pairs) >= LEAST_PAIRS and low is not None and high is not None:
        verdict = "holds" if low > 0 else "does not hold" if high < 0 else verdict
    return Evidence(
        claim,
        verdict,
        pairs=len(pairs),
        effect=float(differences.mean()),
        low=low,
        high=high,
        first=float(first),
        second=float(second),
        setting=describe(pairs[0][0].setting),
        records=tuple(one.record for pair in pairs for one in pair),
    )


def interval(differences: np.ndarray) -> tuple[float | None, float | None]:
    """The percentile bootstrap interval of the mean over paired differences; (None, None) for fewer than two."""
    if len(differences) < 2:
        return None, None
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    from scipy.stats import bootstrap

    found = bootstrap(
        (differences,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)
