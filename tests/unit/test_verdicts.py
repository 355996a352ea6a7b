"""The one rule for claims: its words on constructed pairs, and its error rates by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from workbench.reports.verdicts import SKEWED, judge, verdict

RNG_SEED = 20
TRIALS = 5000


def shifted(effect, pairs=20, seed=0, spread=1.0):
    """Two sides whose differences have exactly this mean and standard deviation."""
    noise = np.random.default_rng(seed).normal(size=pairs)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    second = np.random.default_rng(seed + 1).normal(10, 3, size=pairs)
    return second + effect + spread * noise, second


@pytest.mark.parametrize(
    ("effect", "options", "word"),
    [
        (-1.0, {}, "holds"),
        (1.0, {}, "does not hold"),
        (1.0, {"better": "higher"}, "holds"),
        (-1.0, {"better": "higher"}, "does not hold"),
        (0.01, {}, "undecided"),
        (0.01, {"margin": 1.0}, "no difference"),
        (0.01, {"margin": 0.1}, "undecided"),
        (-1.0, {"margin": 2.0}, "no difference"),
        (-1.0, {"margin": 0.9}, "holds"),
        (-1.0, {"baseline": 10.0}, "not judged"),
        (-1.0, {"baseline": 40.0}, "holds"),
        (1.0, {"baseline": 12.0, "better": "higher"}, "not judged"),
        (1.0, {"baseline": 2.0, "better": "higher"}, "holds"),
    ],
)
def test_the_words(effect, options, word):
    assert verdict(*shifted(effect), **options).word == word


def test_one_side_above_the_baseline_is_enough():
    baseline = np.full(20, 10.0)
    good, bad = np.full(20, 2.0) + np.linspace(0, 1, 20), np.full(20, 12.0)
    assert verdict(good, bad, baseline=baseline).word == "holds"
    assert verdict(bad, good, baseline=baseline).word == "does not hold"


def test_effect_and_interval_are_those_of_a_paired_t_test():
    first, second = shifted(-0.7, pairs=12)
    found = verdict(first, second)
    peer = stats.ttest_rel(first, second)
    interval = peer.confidence_interval(0.95)
    assert (found.effect, found.low, found.high) == pytest.approx((-0.7, interval.low, interval.high))
    assert found.p == pytest.approx(peer.pvalue)
    assert found.pairs == 12


def test_the_interval_widens_with_the_other_claims():
    alone, beside = verdict(*shifted(-0.5)), verdict(*shifted(-0.5), others=10)
    assert beside.high - beside.low > alone.high - alone.low
    interval = stats.ttest_rel(*shifted(-0.5)).confidence_interval(1 - 0.05 / 10)
    assert beside.high == pytest.approx(interval.high)
    assert (alone.word, beside.word) == ("holds", "undecided")


def test_pairs_needed_reach_the_power_and_one_fewer_does_not():
    needed = verdict(*shifted(-0.5, pairs=10)).needed
    assert needed == 34  # the textbook's number of pairs for an effect of half a standard deviation

    def power(pairs):
        return stats.nct.sf(stats.t.ppf(0.975, pairs - 1), pairs - 1, 0.5 * math.sqrt(pairs))

    assert power(needed) >= 0.8 > power(needed - 1)


@pytest.mark.parametrize("size", [0.029, 0.03, 0.1, 0.3, 1.0, 2.0, 5.0, 40.0])
@pytest.mark.parametrize("others", [1, 15])
def test_pairs_needed_are_those_of_a_search_from_the_bottom(size, others):
    needed = verdict(*shifted(-size, pairs=6), others=others).needed

    def enough(pairs):
        limit = stats.t.ppf(1 - 0.025 / others, pairs - 1)
        return stats.nct.sf(limit, pairs - 1, size * math.sqrt(pairs)) >= 0.8

    expected = next((pairs for pairs in range(2, 200) if enough(pairs)), None)
    if expected is not None:
        assert needed == expected
    elif needed is None:
        assert not enough(10_000)
    else:
        assert enough(needed)
        assert not enough(needed - 1)


def test_pairs_without_spread():
    ones = np.ones(4)
    assert verdict(ones, 2 * ones)[:4] == ("holds", -1.0, -1.0, -1.0)
    assert verdict(ones, 2 * ones).needed == 2
    assert verdict(ones, ones).word == "undecided"
    assert verdict(ones, ones).needed is None
    assert verdict(ones, ones, margin=0.1).word == "no difference"


def test_a_single_pair_decides_nothing():
    found = verdict([1.0], [2.0], margin=0.5)
    assert found.word == "undecided"
    assert (found.low, found.high, found.needed) == (-math.inf, math.inf, None)


def test_holm_takes_the_claims_by_their_p_values_and_stops():
    claims = {
        name: dict(zip(("first", "second"), shifted(effect, seed=seed), strict=True))
        for seed, (name, effect) in enumerate({"weak": -0.1, "strong": -2.0, "middle": -0.6, "none": 0.0}.items())
    }
    found = judge(claims)
    assert list(found) == list(claims)
    assert {name: one.word for name, one in found.items()} == {
        "weak": "undecided",
        "strong": "holds",
        "middle": "holds",
        "none": "undecided",
    }
    levels = {name: stats.ttest_rel(*claims[name].values()).pvalue for name in claims}
    assert levels["strong"] < 0.05 / 4
    assert levels["middle"] < 0.05 / 3
    # What comes after the first claim that is undecided keeps that claim's level.
    assert found["weak"].low == pytest.approx(verdict(**claims["weak"], others=2).low)
    assert found["none"].low == pytest.approx(verdict(**claims["none"], others=2).low)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1.0, 2.0], [1.0]), {}, "first has 2 values and second 1"),
        (([], []), {}, "first has shape"),
        (([1.0, math.nan], [1.0, 2.0]), {}, "first holds 1 values that are NaN"),
        (([1.0, 2.0], [1.0, 2.0]), {"better": "more"}, "better is 'more'"),
        (([1.0, 2.0], [1.0, 2.0]), {"margin": -1.0}, "margin is -1"),
        (([1.0, 2.0], [1.0, 2.0]), {"others": 0}, "others is 0"),
        (([1.0, 2.0], [1.0, 2.0]), {"baseline": math.inf}, "baseline holds"),
    ],
)
def test_bad_arguments_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        verdict(*arguments, **options)


def simulate(draw, pairs, effect=0.0):
    """Shares of "holds" or "does not hold" and of intervals that hold the effect, over many trials."""
    rng = np.random.default_rng(RNG_SEED)
    found = [verdict(draw(rng, pairs) + effect, draw(rng, pairs)) for _ in range(TRIALS)]
    decided = np.mean([one.word in ("holds", "does not hold") for one in found])
    covered = np.mean([one.low <= effect <= one.high for one in found])
    return decided, covered


def normal(rng, pairs):
    return rng.normal(size=pairs)


@pytest.mark.parametrize("pairs", [5, 10, 20])
def test_without_an_effect_it_decides_seldom_and_its_interval_covers(pairs):
    decided, covered = simulate(normal, pairs)
    assert decided <= 0.06
    assert covered >= 0.94


@pytest.mark.parametrize("pairs", [5, 10, 20])
def test_skewed_differences_are_decided_as_often_as_the_page_says(pairs):
    rng = np.random.default_rng(RNG_SEED)
    zero = np.zeros(pairs)
    words = [verdict(rng.exponential(size=pairs) - 1, zero).word for _ in range(TRIALS)]
    decided = np.mean([word in ("holds", "does not hold") for word in words])
    assert decided == pytest.approx(SKEWED[pairs], abs=0.014)  # three standard errors of 5,000 trials


def test_an_effect_of_one_standard_deviation_is_found_with_twenty_pairs():
    decided, covered = simulate(lambda rng, pairs: rng.normal(size=pairs) / math.sqrt(2), 20, effect=-1.0)
    assert decided > 0.98
    assert covered >= 0.94
