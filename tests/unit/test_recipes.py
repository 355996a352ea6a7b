"""Recipes: the same network is the same run, and what was chosen is what the search found."""

import numpy as np
import pytest
import torch

from workbench.io.project import project_root
from workbench.losses import build_loss
from workbench.metrics import per_level
from workbench.reports.published import read_published
from workbench.runs.settings import nested
from workbench.sampling import SAMPLERS, build_sampler
from workbench.study.recipes import (
    LABELS,
    PATCH_LEVELS,
    PUBLISHED,
    RECIPES,
    STRATEGIES,
    group_averaged_mae,
    network_config,
    patch_errors,
    scored_patches,
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
    for loss in ("L2", "dm_count"):
        config = network_config(loss, seed=0, model="csrnet", relative=hard)
        assert without_seed(config) in reference_grid("relative")


def test_the_rows_are_those_of_table_6():
    assert list(STRATEGIES) == list(dict.fromkeys(read_published("locality_aware", "6")["method"]))
    assert set(STRATEGIES.values()) == set(SAMPLERS)


def test_every_strategy_has_a_configuration_whose_sampler_can_be_built():
    for sampler in STRATEGIES.values():
        config = strategy_config(sampler, seed=1, length=6)
        patches = scored_patches(config)
        built = build_sampler(
            config.sampler,
            samples=len(patches),
            batch_size=config.batch_size,
            patches=patches,
            **config.sampler_options,
        )
        assert len(built) >= 1
    paper = strategy_config("la_batch", seed=0, published=True, **PUBLISHED)
    assert (paper.crop, paper.batch_size, paper.schedule) == ((180, 296), 60, "exponential")


class Brightness(torch.nn.Module):
    """Counts the mean brightness, wherever it looks."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return images.mean(dim=(1, 2, 3), keepdim=True)


def test_errors_of_patches():
    patches = scored_patches(strategy_config("random", seed=0, length=3), per_image=2)
    expected = [float(patches[k].image.mean()) - patches[k].count for k in range(6)]
    assert patch_errors(Brightness(), patches, batch_size=4) == pytest.approx(expected, abs=1e-5)


def test_every_group_weighs_the_same():
    counts = [0, 0, 0, 0, 12]
    errors = np.array([1.0, -1.0, 1.0, -1.0, 5.0])
    assert group_averaged_mae(errors, counts, groups=6) == 3.0  # (1 + 5) / 2, where the plain mean is 9 / 5


def test_levels_take_every_count():
    assert set(per_level([0, 10, 11, 40, 41, 500], [0] * 6, PATCH_LEVELS)) == set(PATCH_LEVELS)
