"""Claims are judged from constructed records, paired as they should be, by the one rule of all claims."""

import pytest

from workbench.io.project import project_root
from workbench.reports.claims import Claim, read_claims, weigh
from workbench.reports.measured import Measurement, by_setting, collect_measurements, describe, effort, matches
from workbench.reports.published import published_files
from workbench.reports.verdicts import verdict
from workbench.runs.record import Record, Timing
from workbench.study.recipes import RECIPES, network_config

GL = {"loss": "generalized", "loss_options": {"cost_offset": 1.0}}
L2 = {"loss": "l2", "loss_options": {}}
CLAIM = Claim(id="a", paper="p", source="s", text="t", first=GL, second=L2, sweep="losses")


def network(tmp_path, value, seed, metric="mae", **config):
    kept = {"dataset": "scenes", "dataset_options": {"preset": "small", "length": 80}, "model": "csrnet"}
    kept |= {"model_options": {"width": 0.5}, "epochs": 4, "sampler": "random", "seed": seed, **config}
    return Measurement(
        kept, {metric: value}, tmp_path / f"{kept.get('loss')}-{len(config)}-{seed}.json", "2026-01-01T00:00:00"
    )


def pairs(tmp_path, differences, **changes):
    for seed, difference in enumerate(differences):
        yield network(tmp_path, 10.0 - difference, seed, **{**GL, **changes})
        yield network(tmp_path, 10.0, seed, **{**L2, **changes})


def one(claim, measurements):
    (found,) = weigh([claim], measurements)
    return found


def paired(claim, measurements):
    found = one(claim, measurements)
    return found.verdict.pairs if found.verdict else 0


def test_the_words(tmp_path):
    found = one(CLAIM, list(pairs(tmp_path, [1.0, 2.0, 1.5, 1.0, 2.0])))
    assert (found.word, found.verdict.pairs, found.verdict.effect) == ("holds", 5, pytest.approx(-1.5))
    assert (found.first, found.second, found.baseline) == (pytest.approx(8.5), 10.0, None)
    assert found.margin == pytest.approx(0.2)
    assert found.verdict == verdict([9.0, 8.0, 8.5, 9.0, 8.0], [10.0] * 5, margin=found.margin)
    assert len(found.records) == 10
    assert one(CLAIM, list(pairs(tmp_path, [-1.0, -2.0, -1.5, -1.0, -2.0]))).word == "does not hold"
    assert one(CLAIM, list(pairs(tmp_path, [1.0, -2.0, 1.5, -1.0, 2.0]))).word == "undecided"
    assert one(CLAIM, list(pairs(tmp_path, [0.05, -0.05, 0.04, -0.04, 0.0]))).word == "no difference"
    assert one(CLAIM, list(pairs(tmp_path, [2.0]))).word == "undecided"
    none = one(CLAIM, [])
    assert (none.word, none.verdict, none.margin) == ("no runs yet", None, None)


@pytest.mark.parametrize(("baseline", "word"), [(20.0, "holds"), (9.0, "not judged")])
def test_where_neither_side_beats_the_mean_count_nothing_is_judged(tmp_path, baseline, word):
    runs = list(pairs(tmp_path, [1.0, 2.0, 1.5, 1.0, 2.0]))
    found = one(CLAIM, [run._replace(metrics=run.metrics | {"baseline_mae": baseline}) for run in runs])
    assert (found.word, found.baseline) == (word, baseline)


def test_the_claims_of_a_page_are_judged_together(tmp_path):
    """Five pairs that are enough for one claim are not enough where it is one of many."""
    runs = list(pairs(tmp_path, [0.2, 1.4, 0.3, 1.1, 0.5]))
    assert one(CLAIM, runs).word == "holds"
    page = weigh([CLAIM.model_copy(update={"id": f"claim-{number}"}) for number in range(8)], runs)
    assert [found.claim.id for found in page] == [f"claim-{number}" for number in range(8)]
    assert {found.word for found in page} == {"undecided"}
    without_runs = [CLAIM.model_copy(update={"id": f"other-{n}", "metric": "f1"}) for n in range(8)]
    assert weigh([CLAIM, *without_runs], runs)[0].word == "holds"  # what has no pair is not counted


def test_a_score_that_should_be_high(tmp_path):
    claim = CLAIM.model_copy(update={"metric": "f1", "better": "higher"})
    runs = [network(tmp_path, value, seed, "f1", **side) for seed in range(5) for value, side in ((0.8, GL), (0.6, L2))]
    found = one(claim, runs)
    assert (found.word, found.verdict.effect) == ("holds", pytest.approx(0.2))
    assert paired(CLAIM, runs) == 0  # no MAE there


def test_a_picture_of_the_claims_has_the_better_side_on_the_right(tmp_path):
    from workbench.plots.basic import new_figure
    from workbench.reports.plots import show_claims

    higher = CLAIM.model_copy(update={"id": "b", "metric": "f1", "better": "higher"})
    runs = list(pairs(tmp_path, [1.0, 2.0, 1.5, 1.0, 2.0]))
    runs = [run._replace(metrics=run.metrics | {"f1": 1 / run.metrics["mae"]}) for run in runs]
    ax = show_claims(new_figure(5, 3).subplots(), weigh([CLAIM, higher], runs))
    dots = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert len(dots) == 2
    assert min(dots) > 0


def test_only_what_differs_in_nothing_else_is_paired(tmp_path):
    other = [network(tmp_path, 5.0, seed, **L2, sampler="la_batch") for seed in range(5)]
    mixed = [one for one in pairs(tmp_path, [1.0] * 5) if one.config["loss"] == "generalized"]
    assert paired(CLAIM, mixed + other) == 0
    narrow = [network(tmp_path, 5.0, seed, **L2, model_options={"width": 0.25}) for seed in range(5)]
    assert paired(CLAIM, mixed + narrow) == 0


def test_the_larger_training_decides_where_it_has_two_pairs(tmp_path):
    long = list(pairs(tmp_path, [-1.0] * 5, epochs=12))
    assert one(CLAIM, [*pairs(tmp_path, [1.0] * 6), *long]).word == "does not hold"
    assert one(CLAIM, [*pairs(tmp_path, [1.0] * 6), *long[:4]]).word == "does not hold"
    assert one(CLAIM, [*pairs(tmp_path, [1.0] * 6), *long[:2]]).word == "holds"


def test_both_sides_are_what_the_claim_says_they_share(tmp_path):
    claim = CLAIM.model_copy(update={"shared": {"noise": None, "epochs": [4, 12]}})
    clean = list(pairs(tmp_path, [1.0] * 5))
    noisy = list(pairs(tmp_path, [-1.0] * 5, noise="uniform", noise_amount=8.0))
    long = list(pairs(tmp_path, [-1.0] * 5, epochs=40))
    for runs in ([*clean, *noisy, *long], [*noisy, *long, *clean]):
        assert one(claim, runs).word == "holds"
    assert paired(claim, [*noisy, *long]) == 0
    assert one(CLAIM, noisy).word == "does not hold"


def test_of_two_groups_alike_the_newer_counts(tmp_path):
    older = list(pairs(tmp_path, [1.0] * 5, weight_decay=0.0))
    newer = [one._replace(started="2026-02-01") for one in pairs(tmp_path, [-1.0] * 5, weight_decay=0.1)]
    assert one(CLAIM, [*newer, *older]).word == one(CLAIM, [*older, *newer]).word == "does not hold"
    newest = [one._replace(started="2026-03-01") for one in older]
    assert one(CLAIM, [*newest, *newer]).word == one(CLAIM, [*newer, *newest]).word == "holds"


def test_a_claim_of_the_papers_names_what_its_runs_share():
    for claim in read_claims():
        spoken = {name.partition(".")[0] for name in (*claim.first, *claim.second, *claim.shared)}
        if claim.sweep.endswith("arms"):
            assert {"dataset", "recipe"} <= spoken, claim.id
            assert claim.baseline is not None
            continue
        assert {"noise", "convention", "epochs", "loss", "model", "sampler", "relative"} <= spoken, claim.id
        assert claim.shared["noise"] is None


@pytest.mark.parametrize("preset", ["smoke", "default", "paper"])
def test_the_sweeps_of_the_claims_make_runs_that_count(tmp_path, preset):
    """The claims on losses are weighed on what notebook 500 trains."""
    sizes = {
        "smoke": {"length": 80, "epochs": 4},
        "default": {},  # as the reference records
        "paper": {"length": 400, "epochs": 500, "published": True},
    }[preset]
    claim = next(one for one in read_claims() if one.id == "pml-below-l2")
    runs = []
    for seed in range(5):
        for name in RECIPES:
            config = network_config(name, seed=seed, **sizes)
            metrics = {"mae": {"PML": 1.0, "L2": 2.0}.get(name, 3.0)}
            runs.append(Measurement(config.model_dump(mode="json"), metrics, tmp_path, "2026-01-01"))
    references = [
        Measurement(
            network_config(name, seed=0).model_dump(mode="json"), {}, tmp_path, "2026-01-01", origin="reference"
        )
        for name in RECIPES
    ]
    runs += references
    assert (paired(claim, runs), one(claim, runs).word) == (5, "holds")


def test_conditions_read_alternatives_options_and_what_is_off():
    config = {"loss": "l2", "model_options": {"fusion": "moe"}, "relative": {}, "noise": None}
    assert matches(config, {"loss": ["bayesian", "l2"], "model_options.fusion": "moe", "relative": {}, "experts": {}})
    assert not matches(config, {"model_options.fusion": [None, "hmode"]})
    assert matches({"model_options": {}}, {"model_options.fusion": [None, "hmode"]})
    assert not matches(config, {"noise": "uniform"})
    assert not matches({"loss_options": {"entropy": False}}, {"loss_options": {}})
    recipe = {"recipe": {"epsilon": None}}
    assert matches(recipe, {"recipe.epsilon": "none"})
    assert not matches({"recipe": {}}, {"recipe.epsilon": "none"})
    assert matches({"recipe": {}}, {"recipe.epsilon": "absent"})
    assert not matches(recipe, {"recipe.epsilon": "absent"})


def test_a_condition_can_be_that_of_a_reference_run():
    references = [
        {"dataset": "scenes", "loss": "l2", "loss_options": {"sigma": 1.5}, "epochs": 10},
        {"dataset": "scenes", "loss": "proximal", "loss_options": {"radius": 8.0}, "epochs": 10},
    ]
    conditions = {"loss_options": "reference", "epochs": [4, "reference"]}
    config = {"dataset": "scenes", "loss": "l2", "loss_options": {"sigma": 1.5}, "epochs": 10}
    assert matches(config, conditions, references)
    assert matches(config | {"epochs": 4}, conditions, references)
    assert not matches(config | {"epochs": 12}, conditions, references)
    assert not matches(config | {"loss": "proximal"}, conditions, references)  # the options are another loss's
    assert not matches(config | {"dataset": "ucf_qnrf"}, conditions, references)
    assert not matches(config, conditions)


def test_reference_records_and_own_runs_are_weighed_apart(tmp_path):
    own = list(pairs(tmp_path, [-1.0] * 5))
    recorded = [run._replace(origin="reference") for run in pairs(tmp_path, [1.0, 1.1, 0.9])]
    (reference,) = weigh([CLAIM], [*own, *recorded], "reference")
    assert (reference.word, reference.origin, reference.verdict.pairs) == ("holds", "reference", 3)
    found = one(CLAIM, [*own, *recorded])
    assert (found.word, found.origin, found.verdict.pairs) == ("does not hold", "own", 5)


def test_the_sides_may_differ_in_what_each_chose_for_itself(tmp_path):
    runs = [
        run._replace(config=run.config | {"learning_rate": 0.01 if run.config["loss"] == "l2" else 0.004})
        for run in pairs(tmp_path, [1.0, 1.1, 0.9])
    ]
    assert paired(CLAIM, runs) == 0
    assert paired(CLAIM.model_copy(update={"free": ["learning_rate"]}), runs) == 3


def test_a_claim_that_has_no_verdict_says_why(tmp_path):
    runs = list(pairs(tmp_path, [1.0, 2.0, 1.5, 1.0, 2.0]))
    lost = one(CLAIM, [run._replace(metrics=run.metrics | {"baseline_mae": 9.0}) for run in runs])
    assert "does not" not in lost.word
    assert "the trivial baseline of 9: the better mean is 8.5" in lost.reason
    assert one(CLAIM, runs).reason == ""
    assert one(CLAIM, list(pairs(tmp_path, [2.0]))).reason == "A single pair has no interval."
    undecided = one(CLAIM, list(pairs(tmp_path, [1.0, -2.0, 1.5, -1.0, 2.0])))
    assert f"about {undecided.verdict.needed} pairs" in undecided.reason
    assert one(CLAIM, []).reason == "Nothing was run that tests it."


def test_adversarial_records_are_measured(tmp_path):
    recipe = {"epsilon": 0.15, "lada": True}
    config = {"dataset": "digits", "model": "small_cnn", "seed": 3, "recipe": recipe}
    write(tmp_path / "experiments" / "a" / "record.json", config, 1, clean=0.9, **{"pgd@0.2": 0.5})
    write(tmp_path / "experiments" / "b" / "record.json", config | {"seed": -1}, 1, clean=0.9)
    damaged = []
    (found,) = collect_measurements(tmp_path, damaged=damaged)
    assert (found.seed, found.metrics["pgd@0.2"]) == (3, 0.5)
    assert len(damaged) == 1


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
