"""Recipes: the same network is the same run, and what was chosen is what the search found."""

import pandas as pd
import pytest

from workbench.io.project import project_root
from workbench.losses import build_loss
from workbench.reports.published import read_published
from workbench.runs.settings import nested
from workbench.sampling import SAMPLERS
from workbench.study.recipes import (
    LABELS,
    PUBLISHED,
    RECIPES,
    RELATIVE_SWEEP,
    STRATEGIES,
    loss_recipes,
    network_config,
    not_learnt,
    strategy_config,
)
from workbench.sweeps.grid import combinations, read_grid
from workbench.training.config import build_config, check_config


def reference_grid(name):
    """The configurations of a reference sweep without their seeds, and without what is scored."""
    grid = read_grid(project_root() / f"notebooks/sweeps/reference/{name}.yaml")
    configs = [build_config(**nested(cell)).model_dump(mode="json") for cell in combinations(grid)]
    return {str({key: value for key, value in config.items() if key not in ("seed", "ot_m")}) for config in configs}


def without_seed(config):
    return str({key: value for key, value in config.model_dump(mode="json").items() if key not in ("seed", "ot_m")})


def test_every_recipe_can_be_trained():
    for label, recipe in RECIPES.items():
        check_config(network_config(label, seed=0))
        check_config(network_config(label, seed=0, published=True, model="vgg19", dataset="ucf_qnrf"))
        build_loss(recipe["loss"], **recipe["loss_options"], convention=recipe.get("convention", "paper"))


def test_the_same_network_is_the_same_run():
    one = network_config("L2", seed=1, length=80)
    assert one == network_config("L2", seed=1, length=80)
    assert one.identity != network_config("L2", seed=2, length=80).identity
    assert network_config("L2", seed=1, batch_size=3).batch_size == 3
    assert network_config("L2", seed=1, model="hmode").model_options == {"width": 1 / 16, "norm": "batch"}
    mine = {"fusion": "moe", "width": 0.1}
    assert network_config("L2", seed=1, model="hmode", model_options=mine).model_options == mine | {"norm": "batch"}


def test_published_networks_start_from_imagenet_and_losses_from_their_published_options():
    config = network_config("PML", seed=0, published=True, model="vgg19", dataset="ucf_qnrf")
    assert (config.weights, config.learning_rate, config.dataset_options) == ("imagenet", 1e-5, {})
    assert (config.loss, config.loss_options, config.model_options["norm"]) == ("proximal", {}, "none")
    assert network_config("GL", seed=0, dataset="ucf_qnrf").loss_options == {"cost_offset": 1.0}


@pytest.mark.bad_input
def test_an_unknown_key_is_named():
    with pytest.raises(ValueError, match="unknown key 'width_'"):
        network_config("L2", seed=0, width_=3)


def test_recipes_are_what_the_search_chose():
    cells = read_grid(project_root() / "notebooks/sweeps/reference/losses.yaml").cells
    assert len(RECIPES) == len(cells)  # no two under one label
    assert set(RECIPES) >= set(LABELS.values())
    for label, cell in zip(RECIPES, cells, strict=True):
        found = network_config(label, seed=0)
        assert (found.loss, found.convention) == (cell["loss"], cell.get("convention", "paper")), label
        assert (found.loss_options, found.learning_rate) == (cell["loss_options"], cell["learning_rate"]), label


def test_the_defaults_of_a_loss_stay_the_published_ones():
    """The papers' settings are the classes' defaults, whatever the search chose: a name of the registry has them."""
    published = network_config("generalized", seed=0).loss_options
    assert build_loss("generalized", **published).tau == 0.5
    assert published == network_config("GL", seed=0, dataset="ucf_qnrf").loss_options != RECIPES["GL"]["loss_options"]


def test_the_reference_sweeps_train_by_the_recipes():
    assert {without_seed(network_config(label, seed=0)) for label in RECIPES} == reference_grid("losses")
    assert {without_seed(strategy_config(name, seed=0)) for name in STRATEGIES.values()} == reference_grid("samplers")
    hard = {"kind": "hard"}
    assert without_seed(network_config("L2", seed=0, model="hmode", relative=hard)) in reference_grid("experts")
    for label in loss_recipes(RELATIVE_SWEEP):
        for relative in ({}, hard):
            config = network_config(label, seed=0, model="csrnet", relative=relative)
            assert without_seed(config) in reference_grid("relative"), label


def test_the_rows_are_those_of_table_6():
    assert list(STRATEGIES) == list(dict.fromkeys(read_published("locality_aware", "6")["method"]))
    assert set(STRATEGIES.values()) == set(SAMPLERS)


def test_every_strategy_can_be_trained():
    for sampler in STRATEGIES.values():
        check_config(strategy_config(sampler, seed=1, length=6))
    paper = strategy_config("la_batch", seed=0, published=True, **PUBLISHED)
    assert (paper.crop, paper.batch_size, paper.schedule) == ((180, 296), 60, "exponential")
    photographs = strategy_config("la_batch", seed=0, dataset="shanghaitech_b", root="there")
    assert (photographs.model, photographs.per_image, photographs.dataset_options) == ("csrnet", 4, {})
    assert photographs.model_options["norm"] == "group"


def test_networks_that_have_learned_nothing_are_named():
    networks = pd.DataFrame({"variant": ["L2", "L2", "GL"], "mae": [9.5, 2.0, 3.0], "baseline_mae": 10.0})
    said = not_learnt(networks)
    assert "L2 (1 of 2)" in said
    assert "GL" not in said
    assert not_learnt(networks[1:]) == ""
