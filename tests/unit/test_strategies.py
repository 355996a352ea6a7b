import numpy as np
import pytest
import torch

from workbench.metrics import per_level
from workbench.reports.published import read_published
from workbench.sampling import SAMPLERS, build_sampler
from workbench.study.strategies import (
    PATCH_LEVELS,
    PUBLISHED,
    STRATEGIES,
    group_averaged_mae,
    patch_errors,
    scored_patches,
    strategy_config,
)


class Brightness(torch.nn.Module):
    """Counts the mean brightness, wherever it looks."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return images.mean(dim=(1, 2, 3), keepdim=True)


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
    paper = strategy_config("la_batch", seed=0, **PUBLISHED)
    assert (paper.crop, paper.batch_size, paper.schedule) == ((180, 296), 60, "exponential")


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
