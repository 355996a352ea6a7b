"""What the notebooks say of the papers' claims: the reference records' verdicts, and their own networks' numbers.

The claims of a notebook are those of ``data/published/claims.yaml`` that name it. They are judged together with all
others, so that a notebook and the page of claims say the same.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from workbench.io.extras import need
from workbench.reports.claims import MARGIN, ORDER, Evidence, metric_name, read_claims, weigh
from workbench.reports.sources import compared_references, read_sources
from workbench.reports.verdicts import judge, t_interval, why_not
from workbench.runs import Run

if TYPE_CHECKING:
    from pandas import DataFrame


class Comparison(NamedTuple):
    """A claim, and what the networks of a notebook reach; the numbers are paired by seed.

    Attributes:
        claim: that ``first`` is better than ``second``, as a sentence.
        first: one number a seed.
        second: one number a seed.
        baseline: what the trivial predictor reaches, one number or one a seed; None: there is none in this metric.
        better: which of two values is the better one.
        learnt: whether either side beats its trivial baseline, where the claim is on something else than that score.
    """

    claim: str
    first: Sequence[float]
    second: Sequence[float]
    baseline: ArrayLike | None = None
    better: Literal["lower", "higher"] = "lower"
    learnt: bool = True


def compare(
    frame: "DataFrame",
    claim: str,
    first: str,
    second: str,
    *,
    by: str = "variant",
    score: str = "mae",
    better: Literal["lower", "higher"] = "lower",
) -> Comparison | None:
    """The comparison of two kinds of networks, paired by seed; None where a kind was not trained.

    Args:
        frame: a row a network, with the columns ``by``, "seed" and ``score``; ``baseline_`` and the score's name is the
            column of what the trivial predictor reaches, if there is one.
        claim: that the first kind is better, as a sentence.
        first: a value of ``by``.
        second: another value of it.
        by: column of the kind.
        score: column of the numbers.
        better: which of two values is the better one.
    """
    sides = [frame[frame[by] == kind].set_index("seed") for kind in (first, second)]
    seeds = sides[0].index.intersection(sides[1].index)
    if seeds.empty:
        return None
    ours, theirs = (side.loc[seeds, score].tolist() for side in sides)
    trivial = f"baseline_{score}"
    baseline = sides[0].loc[seeds, trivial].tolist() if trivial in frame else None
    return Comparison(claim, ours, theirs, baseline, better)


def show_reference(run: Run) -> str:
    """Show the reference records' verdicts on the claims of a notebook as a table and as a forest plot.

    Args:
        run: of the notebook; takes both into its record.

    Returns:
        A sentence in Markdown: on what the verdicts rest, or that there are no records.
    """
    need("sweeps")
    evidence = [
        one for one in weigh(read_claims(), compared_references(), "reference") if one.claim.notebook == run.name
    ]
    judged = sorted((one for one in evidence if one.verdict), key=lambda one: ORDER.index(one.word))
    if not judged:
        return "This copy of the project has no reference records on these claims: nothing is judged here."
    from workbench.plots.basic import new_figure
    from workbench.reports.plots import show_claims

    caption = "The papers' claims by the reference records. The effect is first minus second"
    run.table(evidence_table(judged), "reference_claims", caption)
    figure = new_figure(9, 1.6 + 0.42 * len(judged), layout="constrained")
    show_claims(figure.subplots(), judged)
    caption = "The reference records' effects with their intervals. Right of zero the claim's side is better"
    run.figure(figure, "reference_claims", caption)
    waiting = [one.claim.text for one in evidence if one.verdict is None]
    used = {record for one in judged for record in one.records}
    sentences = [
        f"Trained on {'; '.join(dict.fromkeys(one.setting for one in judged))}.",
        *(f"*{one.claim.text}* {one.word.capitalize()}. {one.reason}" for one in judged if one.reason),
        f"Without reference records so far: {' '.join(waiting)}" if waiting else "",
        *(source.note for source in read_sources() if source.path in used),
    ]
    return "\n\n".join(filter(None, sentences))


def show_own(
    run: Run,
    comparisons: Iterable[Comparison | None],
    *,
    judged: bool,
    unit: str = "people",
    name: str = "claims",
) -> str:
    """Show what the networks of a notebook say of claims, and take it into the record.

    Args:
        run: of the notebook.
        comparisons: a claim each; None is passed over.
        judged: whether there is a verdict, by Holm's procedure over these claims. Without, there are the numbers.
        unit: of the numbers.
        name: of the table.

    Returns:
        In Markdown why there is no verdict, where there is none.
    """
    frame, reasons = own_table([one for one in comparisons if one], judged=judged)
    run.table(frame, name, f"The networks of this notebook ({unit}). The effect is first minus second")
    if not judged:
        return "These are numbers without a verdict: so few short trainings say nothing on a claim."
    return "\n".join(f"- *{claim}*: {reason}" for claim, reason in reasons.items())


def evidence_table(evidence: Sequence[Evidence]) -> "DataFrame":
    """A row a claim: what it says, the verdict, both sides, the baseline, the effect with its interval, the pairs."""
    import pandas as pd

    rows = [
        {
            "claim": one.claim.text,
            "verdict": one.word,
            "score": metric_name(one.claim.metric),
            "first": one.first,
            "second": one.second,
            "baseline": one.baseline,
            **_effect(one.verdict.effect, one.verdict.low, one.verdict.high),
            "pairs": one.verdict.pairs,
        }
        for one in evidence
        if one.verdict
    ]
    return pd.DataFrame(_rounded(rows)).set_index("claim")


def own_table(comparisons: Sequence[Comparison], *, judged: bool) -> "tuple[DataFrame, dict[str, str]]":
    """The table of :func:`show_own`, and why a claim has no verdict, by claim."""
    import pandas as pd

    arguments = {
        one.claim: {
            "first": one.first,
            "second": one.second,
            "better": one.better,
            "margin": MARGIN * abs(float(np.mean(one.second))) or None,
            "baseline": one.baseline,
        }
        for one in comparisons
    }
    learnt = {one.claim: arguments[one.claim] for one in comparisons if one.learnt}
    verdicts = judge(learnt) if judged else {}
    rows: list[dict[str, Any]] = []
    reasons: dict[str, str] = {}
    for one in comparisons:
        first, second = float(np.mean(one.first)), float(np.mean(one.second))
        baseline = None if one.baseline is None else float(np.asarray(one.baseline, dtype=float).mean())
        found = verdicts.get(one.claim)
        difference = np.asarray(one.first, dtype=float) - np.asarray(one.second, dtype=float)
        low, high = (found.low, found.high) if found else t_interval(difference)
        word = {"verdict": found.word if found else "not judged"} if judged else {}
        effect = _effect(first - second, low, high)
        rows.append({"claim": one.claim, **word, "first": first, "second": second, "baseline": baseline})
        rows[-1] |= effect | {"pairs": len(difference)}
        if judged:
            why = (
                why_not(found, first, second, baseline, one.better) if found else "No side beats its trivial baseline."
            )
            reasons |= {one.claim: why} if why else {}
    frame = pd.DataFrame(_rounded(rows)).set_index("claim")
    return frame.dropna(axis="columns", how="all"), reasons


def _effect(effect: float, low: float, high: float) -> dict[str, float | None]:
    """The effect and its interval; a single pair has none."""
    ends = (low, high) if np.isfinite([low, high]).all() else (None, None)
    return {"effect": effect, "from": ends[0], "to": ends[1]}


def _rounded(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Numbers with three significant digits, as nobody reads more."""
    return [{key: float(f"{v:.3g}") if isinstance(v, float) else v for key, v in row.items()} for row in rows]
