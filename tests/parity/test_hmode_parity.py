"""The published HMoDE: its tensors' names and shapes, and the values of its losses (tests/parity/data/hmode_*)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.losses import relative_local_counting
from workbench.losses.hmode import hardest_error, importance_loss
from workbench.losses.l2 import L2Loss
from workbench.losses.relative import compared_regions, local_error
from workbench.models import ModelOutput, build_model, load_weights
from workbench.training.objective import Objective, Relative

DATA = Path(__file__).parent / "data"
REL, GATES, TOTAL = (np.load(DATA / f"hmode_{name}.npz") for name in ("rel", "cv_squared", "trainloss"))
PUBLISHED = json.loads((DATA / "hmode_shapes.json").read_text())


def tensor(array):
    return torch.from_numpy(array).double()


def maps(case):
    return tensor(REL[f"{case}_pred"]), tensor(REL[f"{case}_gt"])[:, None]


@pytest.mark.parametrize("case", ["c0", "c1"])
def test_relative_local_counting_and_its_gradient(case):
    density, target = maps(case)
    density.requires_grad_()
    value = len(density) * relative_local_counting(density, target, region=16)
    (slope,) = torch.autograd.grad(value, density)
    assert value.item() == pytest.approx(float(REL[f"{case}_paper_rel_eq2"]), rel=1e-5)
    assert torch.equal(F.avg_pool2d(slope, 16).float(), torch.from_numpy(REL[f"{case}_grad_paper_pooled"]))


@pytest.mark.parametrize("case", ["c0", "c1"])
def test_the_published_pairs_and_the_error_it_adds(case):
    density, target = maps(case)
    pairs = len(density) * relative_local_counting(density, target, region=16, pairs="all")
    added = hardest_error(density, target, region=16).sum()
    assert pairs.item() == pytest.approx(float(REL[f"{case}_relativeLoss"]), rel=1e-5)
    assert added.item() == pytest.approx(float(REL[f"{case}_hardsum"]), rel=1e-5)
    assert (pairs + added).item() == pytest.approx(float(REL[f"{case}_relloss"]), rel=1e-5)


@pytest.mark.parametrize("case", ["c0", "c1"])
def test_the_regions_and_their_order(case):
    density, target = maps(case)
    np.testing.assert_allclose(local_error(density, target, 16), REL[f"{case}_loss_map16"], rtol=1e-4)
    places = compared_regions(density, target, region=16)
    assert (places.sort(dim=1).values == torch.from_numpy(REL[f"{case}_hard_idx"]).sort(dim=1).values).all()
    listed = F.avg_pool2d(target, 16).mul(256).flatten(1).gather(1, places)
    np.testing.assert_allclose(listed, REL[f"{case}_sorted_gt"], rtol=1e-5)


@pytest.mark.parametrize("case", ["c0", "c1", "c2", "c3"])
def test_importance(case):
    gate = tensor(GATES[f"{case}_wmaps"])
    official = importance_loss([gate], per_image=False, correction=1)
    assert official.item() == pytest.approx(float(GATES[f"{case}_cv2_official"]), rel=2e-3)  # float32 sums there
    population = importance_loss([gate], per_image=False)
    assert population.item() == pytest.approx(float(GATES[f"{case}_cv2_population"]), rel=2e-3)
    for image, wanted in zip(gate, GATES[f"{case}_cv2_per_image"], strict=True):
        assert importance_loss([image[None]], correction=1).item() == pytest.approx(float(wanted), rel=1e-4)


class Painted(L2Loss):
    """A squared error whose targets are given: image by image the map instead of the points."""

    def target(self, points, size, weights=None):
        return points


def trained(maps, target, *, relative=None, **parts):
    """The terms of a training step of the official convention, from the network's maps and the target maps."""
    objective = Objective(Painted(stride=1, convention="official"), relative=relative)
    result = ModelOutput(density=maps[:, -1:], experts=maps[:, :3], groups=maps[:, 3:-1], **parts)
    return objective.terms(None, None, list(target[:, 0]), result)


@pytest.mark.parametrize("case", ["c0", "c1"])
def test_the_training_step_adds_the_published_relative_loss(case):
    density, target = maps(case)
    every = torch.cat([target.expand(-1, 6, -1, -1), density], dim=1)  # of seven maps the last alone is wrong
    relative = Relative(weight=1.0, region=16 / density.shape[-1])
    terms = trained(every, target, relative=relative)
    wanted = 4 * float(REL[f"{case}_relloss"]) / len(density)
    assert terms["relative"].item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("case", ["c0", "c1"])
def test_the_training_step_sums_the_gates_over_the_batch(case):
    gate = tensor(GATES[f"{case}_wmaps"])
    every, target = torch.zeros(len(gate), 7, 4, 4).double(), torch.zeros(len(gate), 1, 4, 4).double()
    terms = trained(every, target, gates=((gate,), (gate,)))
    assert len(gate) * terms["importance"].item() == pytest.approx(float(GATES[f"{case}_cv2_official"]), rel=2e-3)


@pytest.mark.parametrize("case", ["b1", "b2"])
def test_the_training_lines(case):
    every = tensor(TOTAL[f"{case}_preds"])[:, :, 0].transpose(0, 1)
    target, attention = tensor(TOTAL[f"{case}_gt"])[:, None], tensor(TOTAL[f"{case}_amp"])
    terms = trained(every, target, attention=attention)
    batch = len(every)
    assert batch * terms["pixel"].item() == pytest.approx(float(TOTAL[f"{case}_density_loss_aligned"]), rel=1e-6)
    assert batch * terms["attention"].item() == pytest.approx(float(TOTAL[f"{case}_attention_ce_sum"]), rel=1e-6)
    broadcast = float(TOTAL[f"{case}_density_loss_official"]) - float(TOTAL[f"{case}_density_loss_aligned"])
    total = sum(terms.values()) + (broadcast + float(TOTAL[f"{case}_imp"])) / batch
    assert total.item() == pytest.approx(float(TOTAL[f"{case}_total_official"]), rel=1e-6)


@pytest.fixture(scope="module")
def official():
    return build_model("hmode", convention="official")


def published_state():
    """Tensors by the published names, each of one number that tells it from the others (and takes no room)."""
    shapes = PUBLISHED["shapes"].items()
    return {name: torch.tensor(float(number)).expand(shape) for number, (name, shape) in enumerate(shapes)}


def test_parameters(official):
    assert sum(p.numel() for p in official.parameters()) == PUBLISHED["total_params"]
    for ours, theirs in {"gates.0": "gating1", "gates.1": "gating2", "attention": "mask", "heads.2": "head3"}.items():
        assert sum(p.numel() for p in official.get_submodule(ours).parameters()) == PUBLISHED["by_child"][theirs]


def test_a_file_of_published_weights_is_loaded(official, tmp_path):
    state = published_state()
    torch.save(state, tmp_path / "published.pt")
    load_weights(official, tmp_path / "published.pt")
    assert len(state) == len(official.state_dict())
    for ours, theirs in {
        "features.40.weight": "features5.7.weight",
        "features.41.running_var": "features5.8.running_var",
        "decoder.1.2.bias": "de_pred2.1.conv.bias",
        "heads.0.out.weight": "head1.1.conv.weight",
        "gates.1.body.8.weight": "gating2.conv5.conv.weight",
        "gates.0.out.bias": "gating1.conv2.conv.bias",
        "attention.out.weight": "mask.output.conv.weight",
    }.items():
        assert torch.equal(official.state_dict()[ours], state[theirs])


@pytest.mark.bad_input
def test_published_weights_of_another_width_are_named(tmp_path):
    torch.save(published_state(), tmp_path / "published.pt")
    with pytest.raises(ValueError, match="have another shape"):
        load_weights(build_model("hmode", width=0.125), tmp_path / "published.pt")
