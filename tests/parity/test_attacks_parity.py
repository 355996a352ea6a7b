"""Against torchattacks 3.5.1's recorded values, and 3.3.0 beside us on the same start."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_classifiers import images, network, own_labels
from torch import nn

from workbench.adversarial import fgsm, margins, pgd
from workbench.adversarial.training import Recipe, lada

GOLDEN = {name: torch.from_numpy(v) for name, v in np.load(Path(__file__).parent / "data" / "adv_attacks.npz").items()}


def recorded_model():
    layer = nn.Linear(64, 3)
    with torch.no_grad():
        layer.weight.copy_(GOLDEN["lin_W"])
        layer.bias.copy_(GOLDEN["lin_b"])
    return nn.Sequential(nn.Flatten(), layer).eval()


def test_recorded_attacks():
    model, x, y = recorded_model(), GOLDEN["X"], GOLDEN["y"]
    torch.testing.assert_close(fgsm(model, x, y, 0.05), GOLDEN["fgsm_eps005"], rtol=0, atol=1e-6)
    torch.testing.assert_close(pgd(model, x, y, 0.05, 0.0125, 10), GOLDEN["pgd_eps005_a00125_T10"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["bisection", "step"])
def test_recorded_margins(method):
    model, x, y = recorded_model(), GOLDEN["X"], GOLDEN["y"]
    found = margins(model, x, y, resolution=0.001, clip=True, method=method)
    torch.testing.assert_close(found, GOLDEN["margin_step0001_clip01"], rtol=0, atol=1e-6)


def test_recorded_closed_form_of_two_classes():
    model, x = recorded_model().double(), GOLDEN["X"].double()
    two = nn.Sequential(model, _FirstTwo()).eval()
    y = GOLDEN["bin_y"]
    exact = GOLDEN["bin_exact_margin_noclip"].double()
    found = margins(two, x, y, no_crossing="inf", cap=4.0)
    assert float((found - exact.clamp(min=0)).abs().max()) < 1.2e-6  # the record is in float32


class _FirstTwo(nn.Module):
    def forward(self, logits):
        return logits[:, :2]


def test_recorded_zoom_rates():
    recipe = Recipe(strength=2 / 3, steepness=10.0, threshold=0.0)
    epsilon = torch.full_like(GOLDEN["alpha"], 0.5)
    rates = lada(GOLDEN["alpha"], epsilon, recipe, bounded=False) / 0.5
    torch.testing.assert_close(rates, GOLDEN["zoom_l23_g10"], rtol=0, atol=1e-12)


@pytest.fixture
def library():
    return pytest.importorskip("torchattacks")


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_beside_the_library(library, dtype):
    model, x = network(dtype=dtype), images(20, dtype=dtype)
    y = own_labels(model, x)
    same(fgsm(model, x, y, 0.1), library.FGSM(model, eps=0.1)(x, y))
    same(pgd(model, x, y, 0.1, 0.02, 10), library.PGD(model, eps=0.1, alpha=0.02, steps=10, random_start=False)(x, y))
    theirs = library.PGDL2(model, eps=0.5, alpha=0.1, steps=8, random_start=False)(x, y)
    same(pgd(model, x, y, 0.5, 0.1, 8, norm="l2"), theirs)
    theirs = library.MIFGSM(model, eps=0.1, alpha=0.02, steps=8, decay=0.9)(x, y)
    same(pgd(model, x, y, 0.1, 0.02, 8, momentum=0.9), theirs)


def test_beside_the_library_from_the_same_random_start(library):
    model, x = network(), images(20)
    y = own_labels(model, x)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = library.PGD(model, eps=0.1, alpha=0.02, steps=10, random_start=True)(x, y)
    ours = pgd(model, x, y, 0.1, 0.02, 10, random_start=True, generator=torch.Generator().manual_seed(5))
    same(ours, theirs)
