"""What the papers say, held against the records.

``data/published/claims.yaml`` lists the claims. Each says which runs it compares, in which metric, and which sweep
makes them. Runs are paired by seed and by everything that the claim does not speak of. All claims are judged together,
by the one rule of :mod:`workbench.reports.verdicts`.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from workbench.reports.measured import Measurement, describe, effort, matches, reference_configs
from workbench.reports.published import PAPERS, read_about
from workbench.reports.verdicts import Verdict, judge, why_not

NO_RUNS = "no runs yet"
ORDER = ("holds", "does not hold", "no difference", "undecided", "not judged", NO_RUNS)
"""The words of a verdict, as the page sorts them."""
MARGIN = 0.02
"""Differences up to this share of the second side's mean count as none, unless a claim says otherwise."""


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
        free: keys of the configuration in which the sides may differ, since each chose its own on validation data.
        baseline: what the trivial predictor reaches, where the records do not say.
        margin: differences up to this share of the second side's mean count as none.
        sweep: the grid that makes these runs.
        notebook: the notebook that shows what the reference records say of the claim.
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
    free: list[str] = []
    baseline: float | None = None
    margin: float = Field(MARGIN, gt=0, lt=1)
    sweep: str
    notebook: str = ""


class Evidence(NamedTuple):
    """What the records say of a claim.

    Attributes:
        claim: the claim.
        verdict: of the pairs; None without a pair. Its effect is first minus second, in units of the metric.
        first: mean of the runs that the claim calls better.
        second: mean of the others.
        baseline: mean of what the trivial predictor reaches in the metric; None where nothing says.
        setting: on what.
        records: of both sides.
        origin: whose runs; see :class:`workbench.reports.measured.Measurement`.
    """

    claim: Claim
    verdict: Verdict | None = None
    first: float | None = None
    second: float | None = None
    baseline: float | None = None
    setting: str = ""
    records: tuple[Path, ...] = ()
    origin: str = "own"

    @property
    def word(self) -> str:
        """The verdict in words; "no runs yet" without a pair."""
        return self.verdict.word if self.verdict else NO_RUNS

    @property
    def margin(self) -> float | None:
        """The largest difference that counts as none, in units of the metric."""
        return self.claim.margin * abs(self.second) if self.second else None

    @property
    def reason(self) -> str:
        """Why the claim is not judged, or not decided; empty for the other verdicts."""
        if self.verdict is None or self.first is None or self.second is None:
            return "Nothing was run that tests it."
        return why_not(self.verdict, self.first, self.second, self.baseline, self.claim.better)


def read_claims(path: str | Path = PAPERS / "claims.yaml") -> list[Claim]:
    """The claims of ``data/published/claims.yaml``, or of another such file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a list of claims, or two have one id.
    """
    claims: list[Claim] = read_about(path, list[Claim], "a list of claims")
    names = [claim.id for claim in claims]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{path} has two claims called {', '.join(sorted(twice))}")
    return claims


def weigh(
    claims: Iterable[Claim], measurements: Sequence[Measurement], origin: Literal["own", "reference"] = "own"
) -> list[Evidence]:
    """What ``measurements`` of one ``origin`` say of the claims of one page, judged together by Holm's procedure.

    A claim counts one group of pairs: the runs of all are alike in what the claim does not speak of, those of one side
    in everything but the seed. It is the group with the largest training of those with two pairs or more; of these the
    one with most pairs, then with the newest run.
    """
    claims = list(claims)
    references = reference_configs(measurements)
    weighed = [one for one in measurements if one.origin == origin]
    pairs = {claim.id: _pairs(claim, weighed, references) for claim in claims}
    found = {claim.id: _compare(claim, pairs[claim.id]) for claim in claims if pairs[claim.id]}
    verdicts = judge({name: arguments for name, (_, arguments) in found.items()})
    return [
        found[claim.id][0]._replace(verdict=verdicts[claim.id]) if claim.id in found else Evidence(claim)
        for claim in claims
    ]


def _pairs(
    claim: Claim, measurements: Sequence[Measurement], references: Sequence[dict[str, Any]]
) -> list[tuple[Measurement, Measurement]]:
    """The pairs that count, by seed."""
    spoken = {name.partition(".")[0] for name in (*claim.first, *claim.second, *claim.free)}
    known = [one for one in measurements if claim.metric in one.metrics]
    known = [one for one in known if matches(one.config, claim.shared, references)]
    # What the claim does not speak of -> side -> what it speaks of -> seed -> the newest run.
    groups: dict[tuple[str, str], list[dict[str, dict[int, Measurement]]]]
    groups = defaultdict(lambda: [defaultdict(dict), defaultdict(dict)])
    for one in sorted(known, key=lambda one: one.started):
        for side, conditions in enumerate((claim.first, claim.second)):
            if matches(one.config, conditions, references):
                variants = groups[one.setting, one.but("seed", *spoken)][side]
                variants[one.but("seed")][one.seed] = one

    candidates = [
        [(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]
        for sides in groups.values()
        for first in sides[0].values()
        for second in sides[1].values()
    ]

    def worth(group: Sequence[tuple[Measurement, Measurement]]) -> tuple[Any, ...]:
        newest = max(one.started for pair in group for one in pair)
        return len(group) > 1, effort(group[0][0].setting), len(group), newest

    return max(filter(None, candidates), key=worth, default=[])


def _compare(claim: Claim, pairs: Sequence[tuple[Measurement, Measurement]]) -> tuple[Evidence, dict[str, Any]]:
    """The evidence without its verdict, and the arguments of :func:`workbench.reports.verdicts.verdict`."""
    first, second = np.array([[one.metrics[claim.metric] for one in pair] for pair in pairs]).T
    trivial = [one.metrics.get(f"baseline_{claim.metric}", claim.baseline) for one, _ in pairs]  # a pair's data are one
    known = [value for value in trivial if value is not None]
    baseline = known if len(known) == len(pairs) else None
    evidence = Evidence(
        claim,
        first=float(first.mean()),
        second=float(second.mean()),
        baseline=float(np.mean(baseline)) if baseline else None,
        setting=describe(pairs[0][0].setting),
        records=tuple(dict.fromkeys(one.record for pair in pairs for one in pair)),
        origin=pairs[0][0].origin,
    )
    arguments = {"first": first, "second": second, "better": claim.better, "margin": evidence.margin}
    return evidence, arguments | {"baseline": baseline}


def metric_name(metric: str) -> str:
    """A score's name in a record as a reader knows it: MAE on dense images, accuracy under PGD (ε = 0.2)."""
    attack, _, budget = metric.partition("@")
    if budget:
        return f"accuracy under {attack.upper()} (ε = {budget})"
    name, _, part = metric.partition("_")
    return f"{name.upper() if name != 'clean' else 'clean accuracy'}{f' on {part} images' if part else ''}"
