"""A claim holds, does not hold, or has not enough evidence: by constructed records, paired as they should be."""

import numpy as np
import pytest

from workbench.io.project import project_root
from workbench.reports.claims import Claim, interval, read_claims, weigh
from workbench.reports.measured import Measurement, by_setting, collect_measurements, describe, effort, matches
from workbench.reports.published import published_files
from workbench.runs.record import Record, Timing
from workbench.study.comparison import PAPER_LOSSES, network_config

GL = {"loss": "generalized", "loss_options": {"cost_offset": 1.0}}
L2 = {"loss": "l2", "loss_options": {}}
CLAIM = Claim(id="a", paper="p", source="s", text="t", first=GL, second=L2, sweep="losses")


def network(tmp_path, value, seed, metric="mae", **config):
    kept = {"dataset": "scenes", "dataset_options": {"preset": "small", "length": 80}, "model": "csrnet"}
    kept |= {"model_options": {"width": 0.5}, "epochs": 4, "sampler": "random", "seed": seed, **config}
    return Measurement(kept, {metric: value}, tmp_path / f"{len(config)}-{seed}.json", "2026-01-01T00:00:00")


def pairs(tmp_path, differences, **changes):
    for seed, difference in enumerate(differences):
        yield network(tmp_path, 10.0 - difference, seed, **{**GL, **changes})
        yield network(tmp_path, 10.0, seed, **{**L2, **changes})


def test_the_three_verdicts(tmp_path):
    found = weigh(CLAIM, list(pairs(tmp_path, [1.0, 2.0, 1.5, 1.0, 2.0])))
    assert (found.verdict, found.pairs, found.effect) == ("holds", 5, pytest.approx(1.5))
    assert (found.first, found.second) == (pytest.approx(8.5), 10.0)
    assert 1.0 <= found.low < 1.5 < found.high <= 2.0
    assert len(found.records) == 10
    assert weigh(CLAIM, list(pairs(tmp_path, [-1.0, -2.0, -1.5, -1.0, -2.0]))).verdict == "does not hold"
    assert weigh(CLAIM, list(pairs(tmp_path, [1.0, -2.0, 1.5, -1.0, 2.0]))).verdict == "not enough evidence"
    few = weigh(CLAIM, list(pairs(tmp_path, [1.0, 2.0, 1.5, 1.0])))
    assert (few.verdict, few.pairs) == ("not enough evidence", 4)
    assert weigh(CLAIM, []).effect is None


def test_a_score_that_should_be_high_turns_the_sign(tmp_path):
    claim = CLAIM.model_copy(update={"metric": "f1", "better": "higher"})
    runs = [network(tmp_path, value, seed, "f1", **one) for seed in range(5) for value, one in ((0.8, GL), (0.6, L2))]
    found = weigh(claim, runs)
    assert (found.verdict, found.effect, found.low) == ("holds", pytest.approx(0.2), pytest.approx(0.2))
    assert weigh(CLAIM, runs).pairs == 0  # no MAE there


def test_only_what_differs_in_nothing_else_is_paired(tmp_path):
    other = [network(tmp_path, 5.0, seed, **L2, sampler="la_batch") for seed in range(5)]
    mixed = [one for one in pairs(tmp_path, [1.0] * 5) if one.config["loss"] == "generalized"]
    assert weigh(CLAIM, mixed + other).pairs == 0
    narrow = [network(tmp_path, 5.0, seed, **L2, model_options={"width": 0.25}) for seed in range(5)]
    assert weigh(CLAIM, mixed + narrow).pairs == 0


def test_the_larger_training_decides_where_both_have_enough_pairs(tmp_path):
    long = list(pairs(tmp_path, [-1.0] * 5, epochs=12))
    assert weigh(CLAIM, [*pairs(tmp_path, [1.0] * 6), *long]).verdict == "does not hold"
    assert weigh(CLAIM, [*pairs(tmp_path, [1.0] * 6), *long[:4]]).verdict == "holds"


def test_both_sides_are_what_the_claim_says_they_share(tmp_path):
    claim = CLAIM.model_copy(update={"shared": {"noise": None, "epochs": [4, 12]}})
    clean = list(pairs(tmp_path, [1.0] * 5))
    noisy = list(pairs(tmp_path, [-1.0] * 5, noise="uniform", noise_amount=8.0))
    long = list(pairs(tmp_path, [-1.0] * 5, epochs=40))
    for runs in ([*clean, *noisy, *long], [*noisy, *long, *clean]):
        assert weigh(claim, runs).verdict == "holds"
    assert weigh(claim, [*noisy, *long]).pairs == 0
    assert weigh(CLAIM, noisy).verdict == "does not hold"


def test_of_two_groups_alike_the_newer_counts(tmp_path):
    older = list(pairs(tmp_path, [1.0] * 5, weight_decay=0.0))
    newer = [one._replace(started="2026-02-01") for one in pairs(tmp_path, [-1.0] * 5, weight_decay=0.1)]
    assert weigh(CLAIM, [*newer, *older]).verdict == weigh(CLAIM, [*older, *newer]).verdict == "does not hold"
    newest = [one._replace(started="2026-03-01") for one in older]
    assert weigh(CLAIM, [*newest, *newer]).verdict == weigh(CLAIM, [*newer, *newest]).verdict == "holds"


def test_no_claim_of_the_papers_is_weighed_on_noisy_annotations(tmp_path):
    for claim in read_claims():
        assert {"noise", "convention", "epochs"} <= set(claim.shared), claim.id
        assert claim.shared["noise"] is None
        spoken = set(claim.first) | set(claim.second)
        for name in ("loss", "model", "sampler", "relative"):
            assert name in spoken | set(claim.shared), (claim.id, name)


@pytest.mark.parametrize("preset", ["smoke", "default", "paper"])
def test_the_sweeps_of_the_claims_make_runs_that_count(tmp_path, preset):
    """The claims on losses are weighed on what notebook 500 trains."""
    settings = {"smoke": (80, 4, 0.0625), "default": (300, 12, 0.125), "paper": (400, 500, 1.0)}[preset]
    length, epochs, width = settings
    claim = next(one for one in read_claims() if one.id == "pml-below-l2")
    runs = []
    for seed in range(5):
        for name, (loss, options) in PAPER_LOSSES.items():
            config = network_config(loss, options, seed=seed, length=length, epochs=epochs, width=width)
            metrics = {"mae": {"PML": 1.0, "L2": 2.0}.get(name, 3.0)}
            runs.append(Measurement(config.model_dump(mode="json"), metrics, tmp_path, "2026-01-01"))
    found = weigh(claim, runs)
    assert (found.pairs, found.verdict) == (5, "holds")


def test_the_interval_is_that_of_the_mean():
    draws = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = interval(draws)
    half = 1.96 * draws.std() / 20
    assert (low, high) == (pytest.approx(draws.mean() - half, abs=0.04), pytest.approx(draws.mean() + half, abs=0.04))
    assert interval(np.array([1.0])) == (None, None)
    assert interval(np.array([0.5, 0.5])) == (0.5, 0.5)


def test_conditions_read_alternatives_options_and_what_is_off():
    config = {"loss": "l2", "model_options": {"fusion": "moe"}, "relative": {}, "noise": None}
    assert matches(config, {"loss": ["bayesian", "l2"], "model_options.fusion": "moe", "relative": {}, "experts": {}})
    assert not matches(config, {"model_options.fusion": [None, "hmode"]})
    assert matches({"model_options": {}}, {"model_options.fusion": [None, "hmode"]})
    assert not matches(config, {"noise": "uniform"})
    assert not matches({"loss_options": {"entropy": False}}, {"loss_options": {}})


def write(path, config, seconds, **metrics):
    timing = Timing(started=f"2026-01-01T00:00:{seconds:02d}", seconds=1)
    path.parent.mkdir(parents=True)
    Record(name="n", config=config, metrics=metrics, timing=timing).write(path)


def test_records_are_found_wherever_they_lie_and_the_newest_counts(tmp_path):
    config = {"dataset": "scenes", "model": "csrnet", "loss": "l2", "seed": 0, "root": None}
    write(tmp_path / "experiments" / "a" / "record.json", config, 1, mae=3.0, rmse=4.0)
    write(
        tmp_path / "sweeps" / "s" / "cells" / "c" / "result" / "record.json",
        config | {"root": "/data"},
        2,
        mae=2.0,
        f1=0.5,
    )
    write(tmp_path / "experiments" / "other" / "record.json", {"model": "csrnet"}, 3, mae=1.0)
    write(tmp_path / "sweeps" / "s" / "cells" / "c" / "failed" / "record.json", config | {"seed": 1}, 3, mae=1.0)
    (tmp_path / "experiments" / "torn").mkdir()
    (tmp_path / "experiments" / "torn" / "record.json").write_text("{")
    (found,) = collect_measurements(tmp_path)
    assert found.metrics == {"mae": 2.0, "rmse": 4.0, "f1": 0.5}
    assert found.record.parent.name == "result"


def test_settings_are_what_a_comparison_holds_fixed(tmp_path):
    one, two = pairs(tmp_path, [1.0])
    assert list(by_setting([one, two]).values()) == [[one, two]]
    assert describe(one.setting) == "scenes (small), 80 images, 4 epochs, width 0.5"
    real = network(tmp_path, 1.0, 0, **GL, dataset="ucf_qnrf", dataset_options={}, crop=[180, 296], batch_size=60)
    assert describe(real.setting) == "ucf_qnrf, 4 epochs, width 0.5, crop 180 x 296, batch 60"
    assert effort(real.setting) > effort(one.setting)


def test_the_claims_name_papers_and_sweeps_that_are_there():
    claims = read_claims()
    assert len(claims) >= 12
    assert {claim.paper for claim in claims} == set(published_files())
    grids = project_root() / "notebooks" / "sweeps"
    assert all((grids / f"{claim.sweep}.yaml").is_file() for claim in claims)


@pytest.mark.bad_input
def test_a_file_that_holds_no_claims_is_named(tmp_path):
    file = tmp_path / "claims.yaml"
    file.write_text("- {id: a, paper: p}")
    with pytest.raises(ValueError, match=r"claims\.yaml is not a list of claims"):
        read_claims(file)
    one = "{id: a, paper: p, source: s, text: t, first: {}, second: {}, sweep: x}"
    file.write_text(f"- {one}\n- {one}")
    with pytest.raises(ValueError, match="two claims called a"):
        read_claims(file)
