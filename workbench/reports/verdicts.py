"""One rule for every claim: what paired measurements say of "the first is better than the second".

Two arrays hold one number a seed; the seed draws the weights and the data, so the numbers are paired. The effect is the
mean difference, first minus second, with its t interval. With m claims on a page Holm's procedure judges the claim with
the k-th smallest p-value at the level 5 % / (m - k + 1). Equivalence is two one-sided t tests within a stated margin
(Schuirmann 1987). Nothing is judged where neither side beats the trivial baseline.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from workbench.checks import check_choice, check_positive, check_whole

LEVEL = 0.05
POWER = 0.8
AHEAD = 0.1
"""A side beats a baseline if its mean is better by more than this share of the baseline, and significantly better."""
MOST_PAIRS = 10_000

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
    if baseline is not None and not any(_beats(side, baseline, better) for side in sides):
        word = "not judged"
    elif p_within <= level:  # first: the margin says which differences count as none, significant or not
        word = "no difference"
    elif p_difference <= level:
        word = "holds" if (effect < 0) == (better == "lower") else "does not hold"
    return Verdict(word, effect, low, high, pairs, _needed(difference, level), min(p_difference, p_within))


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


def t_interval(difference: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The t interval of the mean at ``1 - level``; without ends for a single value."""
    if len(difference) < 2:
        return -np.inf, np.inf
    from scipy.stats import t

    half = float(t.ppf(1 - level / 2, len(difference) - 1)) * _standard_error(difference)
    return float(difference.mean()) - half, float(difference.mean()) + half


def _p_values(difference: np.ndarray, margin: float | None) -> tuple[float, float]:
    """Of no difference (two-sided), and of a difference of at least the margin (the larger of two one-sided)."""
    if len(difference) < 2:
        return 1.0, 1.0
    mean, error = float(difference.mean()), _standard_error(difference)

    def beyond(distance: float) -> float:
        """The chance of a mean at least ``distance`` above the truth."""
        from scipy.stats import t

        return float(t.sf(distance / error, len(difference) - 1)) if error else float(distance <= 0)

    within = 1.0 if margin is None else beyond(margin - abs(mean))
    return min(1.0, 2 * beyond(abs(mean))), within


def _beats(side: np.ndarray, baseline: ArrayLike, better: str) -> bool:
    """Whether a side's mean is better than the baseline by the share ``AHEAD``, and significantly better."""
    trivial = _values(np.broadcast_to(np.asarray(baseline, dtype=float), side.shape), "baseline")
    gain = trivial - side if better == "lower" else side - trivial
    return bool(gain.mean() > AHEAD * np.abs(trivial).mean() and (len(gain) < 2 or t_interval(gain)[0] > 0))


def _needed(difference: np.ndarray, level: float) -> int | None:
    """The fewest pairs with which a t test at ``level`` finds this effect with the chance ``POWER``."""
    if len(difference) < 2:
        return None
    from scipy.stats import nct, t

    mean, spread = abs(float(difference.mean())), float(difference.std(ddof=1))
    if not mean:
        return None
    if spread <= mean * 1e-12:
        return 2

    def enough(pairs: int) -> bool:
        limit = t.ppf(1 - level / 2, pairs - 1)
        return bool(nct.sf(limit, pairs - 1, mean / spread * pairs**0.5) >= POWER)

    if not enough(MOST_PAIRS):
        return None
    low, high = 1, MOST_PAIRS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _standard_error(difference: np.ndarray) -> float:
    return float(difference.std(ddof=1)) / len(difference) ** 0.5


def _values(values: ArrayLike | Sequence[float], name: str) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}, expected one number a seed, at least one")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite")
    return array
