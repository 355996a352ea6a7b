"""Locality-aware batches against values computed once, apart from this code, from the paper's equations."""

from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.sampling.lsh import collision_bound, collision_probability, hash_codes
from workbench.sampling.partition import partition_samples
from workbench.sampling.zoom import zoom_rates

GIVEN = np.load(Path(__file__).parent / "data" / "locality.npz")


def test_codes():
    images = torch.from_numpy(GIVEN["X"]).permute(0, 3, 1, 2)
    codes = hash_codes(images, torch.from_numpy(GIVEN["w"]).view(3, 8, 6))
    assert codes.numpy() == pytest.approx(GIVEN["h"], abs=1e-12)


@pytest.mark.parametrize("spacing", ["width", "count"])
def test_groups_and_bins(spacing):
    found = partition_samples(GIVEN["y"].tolist(), GIVEN["h"], spacing=spacing)
    assert found.group.tolist() == GIVEN["group"].tolist()
    assert found.bin.tolist() == GIVEN[f"bin_equal_{spacing}"].tolist()


def test_the_lemmas():
    for ratio, probability, bound in zip(GIVEN["lemma_c_over_r"], GIVEN["lemma_p"], GIVEN["lemma_bound"], strict=True):
        assert collision_probability(float(ratio), 1.0) == pytest.approx(probability, rel=1e-9)
        assert collision_bound(float(ratio), 1.0) == pytest.approx(bound, rel=1e-9)


@pytest.mark.parametrize("steepness", [1, 5, 10, 20])
@pytest.mark.parametrize("strength", [0.1, 1 / 3, 2 / 3, 4 / 3])
def test_the_zoom_function(strength, steepness):
    rates = zoom_rates(GIVEN["lada_alpha"], strength=strength, steepness=steepness)
    assert rates == pytest.approx(GIVEN[f"lada_r_l{strength:.4f}_g{steepness}"], rel=1e-9)
