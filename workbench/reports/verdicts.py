"""One rule for every claim: what paired measurements say of "the first is better than the second".

Two arrays hold one number a seed; the seed draws the weights and the data, so the numbers are paired. The effect is the
mean difference, first minus second, with its t interval. With m claims on a page Holm's procedure judges the claim with
the k-th smallest p-value at the level 5 % / (m - k + 1). Equivalence is two one-sided t tests within a stated margin
(Schuirmann 1987). Nothing is judged where neither side beats the trivial baseline.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import nctdtr, ndtri, stdtr, stdtrit

from workbench.checks import check_choice, check_positive, check_whole

LEVEL = 0.05
POWER = 0.8
AHEAD = 0.1
"""A side beats a baseline if its mean is better by more than this share of the baseline, and significantly better."""
MOST_PAIRS = 10_000
SKEWED = {5: 0.117, 10: 0.100, 20: 0.081}
"""Pairs -> share of verdicts among claims without an effect, where the differences are exponential instead of normal.

Measured with 400,000 trials, each claim judged alone; with normal differences the share is 5 %.
"""

Word = Literal["holds", "does not hold", "no difference", "undecided", "not judged"]


class Verdict(NamedTuple):
    """What the pairs say.

    Attributes:
        word: "not judged": neither side beats the trivial baseline; else "no difference": the mean difference lies
            within the margin; else "holds" and "does not hold": the interval leaves zero out, on the claim's side or
            on the other one; else "undecided".
        effect: mean of first minus second, in units of the metric.
        low: lower end of the interval of the effect: 95 %, wider where other claims are judged beside it.
        high: upper end.
        pairs: how many.
        needed: pairs for 80 % power at the effect and the spread seen; None for no effect or more than 10,000.
        p: the smaller p-value of the test of a difference and of the test of equivalence; what Holm orders by.
    """

    word: Word
    effect: float
    low: float
    high: float
    pairs: int
    needed: int | None
    p: float


def verdict(
    first: ArrayLike,
    second: ArrayLike,
    *,
    better: Literal["lower", "higher"] = "lower",
    margin: float | None = None,
    baseline: ArrayLike | None = None,
    others: int = 1,
) -> Verdict:
    """Judge the claim that ``first`` is better than ``second``.

    Args:
        first: (n,) the metric of the side that the claim calls better, one number a seed.
        second: (n,) that of the other side, for the same seeds.
        better: which of two values is the better one.
        margin: differences up to this size count as none; None: equivalence is not tested.
        baseline: what the trivial predictor reaches (mean count; random points in the right number), one number or
            one a seed. None: the claim has no trivial baseline.
        others: claims that Holm's procedure still has to judge, this one included; see :func:`judge`.

    Raises:
        ValueError: no pairs, different lengths, values that are not finite, or an argument out of range.
    """
    check_choice(better, ("lower", "higher"), "better")
    check_whole(others, "others")
    if margin is not None:
        check_positive(margin, "margin")
    sides = [_values(first, "first"), _values(second, "second")]
    pairs = len(sides[0])
    if len(sides[1]) != pairs:
        raise ValueError(f"first has {pairs} values and second {len(sides[1])}, expected one of each a seed")
    level = LEVEL / others
    difference = sides[0] - sides[1]
    effect = float(difference.mean())
    low, high = t_interval(difference, level)
    p_difference, p_within = _p_values(difference, margin)

    word: Word = "undecided"
    if baseline is not None and not any(beats(side, baseline, better) for side in sides):
        word = "not judged"
    elif p_within <= level:  # first: the margin says which differences count as none, significant or not
        word = "no difference"
    elif p_difference <= level:
        word = "holds" if (effect < 0) == (better == "lower") else "does not hold"
    return Verdict(word, effect, low, high, pairs, _needed(difference, level), min(p_difference, p_within))


def beats(side: ArrayLike, baseline: ArrayLike, better: Literal["lower", "higher"] = "lower") -> bool:
    """Whether a side's mean is better than the baseline by the share ``AHEAD``, and significantly better.

    Args:
        side: (n,) one number a seed.
        baseline: what the trivial predictor reaches, one number or one a seed.
        better: which of two values is the better one.
    """
    values = _values(side, "side")
    trivial = _values(np.broadcast_to(np.asarray(baseline, dtype=float), values.shape), "baseline")
    gain = trivial - values if better == "lower" else values - trivial
    return bool(gain.mean() > AHEAD * np.abs(trivial).mean() and (len(gain) < 2 or t_interval(gain)[0] > 0))


def judge(claims: Mapping[str, Mapping[str, Any]]) -> dict[str, Verdict]:
    """Judge all claims of one page by Holm's procedure.

    Args:
        claims: for each claim the arguments of :func:`verdict`, without ``others``.

    Returns:
        One verdict a claim, in the order given. Claims against a baseline that neither side beats count as judged.
    """
    order = sorted(claims, key=lambda name: verdict(**claims[name]).p)
    judged: dict[str, Verdict] = {}
    remaining = len(order)
    for name in order:
        judged[name] = verdict(**claims[name], others=remaining)
        if judged[name].word != "undecided":  # Holm stops at the first claim that is not decided
            remaining -= 1
    return {name: judged[name] for name in claims}


def why_not(verdict: Verdict, first: float, second: float, baseline: float | None, better: str) -> str:
    """In words why pairs give no decision; empty where they give one.

    Args:
        verdict: on the pairs.
        first: mean of the side that the claim calls better.
        second: mean of the other side.
        baseline: what the trivial predictor reaches.
        better: which of two values is the better one, "lower" or "higher".
    """
    if verdict.word == "not judged" and baseline is not None:
        best = min(first, second) if better == "lower" else max(first, second)
        return (
            f"Neither side clearly beats the trivial baseline of {baseline:.3g}: the better mean is {best:.3g}, and it "
            f"has to be better by {AHEAD:.0%} of the baseline, significantly."
        )
    if verdict.word != "undecided":
        return ""
    if verdict.pairs == 1:
        return "A single pair has no interval."
    more = f"{MOST_PAIRS:,} pairs would not" if verdict.needed is None else f"about {verdict.needed:,} pairs would"
    return f"The interval holds zero and reaches beyond the margin; {more} decide an effect of this size."


def signed(value: float | None) -> str:
    """A number with its sign and three significant digits; a dash for none."""
    return "–" if value is None else f"{value:+.3g}"


def t_interval(difference: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The t interval of the mean at ``1 - level``; without ends for a single value."""
    if len(difference) < 2:
        return -np.inf, np.inf
    half = float(stdtrit(len(difference) - 1, 1 - level / 2)) * _standard_error(difference)
    return float(difference.mean()) - half, float(difference.mean()) + half


def _p_values(difference: np.ndarray, margin: float | None) -> tuple[float, float]:
    """Of no difference (two-sided), and of a difference of at least the margin (the larger of two one-sided)."""
    if len(difference) < 2:
        return 1.0, 1.0
    mean, error = float(difference.mean()), _standard_error(difference)

    def beyond(distance: float) -> float:
        """The chance of a mean at least ``distance`` above the truth."""
        return float(stdtr(len(difference) - 1, -distance / error)) if error else float(distance <= 0)

    within = 1.0 if margin is None else beyond(margin - abs(mean))
    return min(1.0, 2 * beyond(abs(mean))), within


def _needed(difference: np.ndarray, level: float) -> int | None:
    """The fewest pairs with which a t test at ``level`` finds this effect with the chance ``POWER``."""
    if len(difference) < 2:
        return None
    mean, spread = abs(float(difference.mean())), float(difference.std(ddof=1))
    if not mean:
        return None
    if spread <= mean * 1e-12:
        return 2

    def enough(pairs: int) -> bool:
        limit = stdtrit(pairs - 1, 1 - level / 2)
        return bool(1 - nctdtr(pairs - 1, mean / spread * pairs**0.5, limit) >= POWER)

    # The normal distribution's number is off by a few pairs at most: the search starts there.
    quantile = ndtri(1 - level / 2)
    start = ((quantile + ndtri(POWER)) * spread / mean) ** 2 + quantile**2 / 2
    if start > 2 * MOST_PAIRS:
        return None
    pairs = max(2, ceil(start))
    while pairs > 2 and enough(pairs - 1):
        pairs -= 1
    while not enough(pairs):
        pairs += 1
    return pairs if pairs <= MOST_PAIRS else None


def _standard_error(difference: np.ndarray) -> float:
    return float(difference.std(ddof=1)) / len(difference) ** 0.5


def _values(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}, expected one number a seed, at least one")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite")
    return array
