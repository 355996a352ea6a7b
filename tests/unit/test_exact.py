import itertools

import pytest
import torch
from small_classifiers import images, linear, own_labels
from torch import nn

from workbench.adversarial import fgsm, margins
from workbench.adversarial.ensemble import library_attack
from workbench.adversarial.exact import affine_layers, evaluate_layers, exact_margins, linear_margins
from workbench.adversarial.margin_gaps import attack_margins, margin_gaps, pgd_margins
from workbench.data import open_dataset

RESOLUTION = 2**-20
SOLVER = 1e-6  # of the programs' constraints


def small(seed=0, *, hidden=8, classes=3, second=True):
    """A network of one or two hidden layers on images (1, 4, 4), in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Flatten(), nn.Linear(16, hidden), nn.ReLU()]
        layers += [nn.Linear(hidden, hidden), nn.ReLU()] if second else []
        model = nn.Sequential(*layers, nn.Linear(hidden, classes)).double().eval()
        for parameter in model.parameters():
            parameter.data *= 2
    return model


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_model_falls_at_its_margin_and_not_before(norm):
    model, x = linear(classes=4), images(40)
    y = own_labels(model, x)
    weight, bias = model[1].weight.detach(), model[1].bias.detach()
    found = linear_margins(weight, bias, x, y, norm=norm)
    lead = model(x).detach().gather(1, y[:, None]) - model(x).detach()
    for sample, other in itertools.product(range(40), range(4)):
        if other == y[sample]:
            continue
        way = weight[other] - weight[y[sample]]
        step = way.sign() if norm == "linf" else way / way.norm()
        at = x[sample].flatten() + found[sample] * step
        gained = float((model[1](at)[y[sample]] - model[1](at)[other]).detach())
        assert gained >= -1e-9  # no class overtakes within the margin
        if lead[sample, other] / way.norm(1 if norm == "linf" else 2) == found[sample]:
            assert gained == pytest.approx(0, abs=1e-9)
    assert bool((linear_margins(weight, bias, x, (y + 1) % 4) == 0).all())


def test_the_programs_agree_with_the_closed_form():
    model, x = linear(classes=4), images(8)
    y = own_labels(model, x)
    exact = linear_margins(model[1].weight.detach(), model[1].bias.detach(), x, y)
    assert torch.allclose(exact_margins(model, x, y), exact, atol=SOLVER)
    mixed = torch.where(torch.arange(8) < 4, y, (y + 1) % 4)
    assert exact_margins(model, x, mixed)[4:].tolist() == [0] * 4


def test_the_exact_margin_of_a_small_problem_is_that_of_a_fine_grid():
    """Two pixels and a network: every offset of a grid is tried."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = nn.Sequential(nn.Flatten(), nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 2)).double().eval()
    x = torch.rand(6, 1, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    y = own_labels(model, x)
    line = torch.linspace(-1, 1, 401, dtype=torch.double)
    offsets = torch.cartesian_prod(line, line)
    for image, label, exact in zip(x, y, exact_margins(model, x, y, upper=0.5), strict=True):
        changed = own_labels(model, image[None] + offsets.reshape(-1, 1, 1, 2)) != label
        distance = offsets[changed].abs().amax(dim=1).min() if changed.any() else torch.tensor(torch.inf)
        if torch.isinf(exact):
            assert float(distance) > 0.5
        else:
            assert float(exact) - SOLVER <= float(distance) <= float(exact) + 2 * 0.005


@pytest.mark.parametrize(("seed", "second"), [(0, False), (1, True)])
@pytest.mark.parametrize("clip", [False, True])
def test_algorithm_2s_margin_is_never_below_the_exact_one(seed, second, clip):
    model, x = small(seed, second=second), images(10, seed=seed)
    y = own_labels(model, x)
    found = margins(model, x, y, resolution=RESOLUTION, clip=clip)
    exact = exact_margins(model, x, y, upper=found, clip=clip)
    assert bool((found >= exact - RESOLUTION - SOLVER).all())
    assert float((found - exact).max()) > 1e-3  # the sign of the gradient is not always the nearest way
    # and the exact one is reached: no attack succeeds within it, and a wider range of pixels brings it no farther
    for share in (0.5, 0.99):
        assert torch.equal(own_labels(model, fgsm(model, x, y, share * exact)), y)
    if clip:
        assert bool((exact_margins(model, x, y, upper=found) <= exact + SOLVER).all())


def test_no_input_within_the_bound():
    model, x = small(), images(3)
    y = own_labels(model, x)
    exact = exact_margins(model, x, y)
    assert bool(torch.isinf(exact_margins(model, x, y, upper=0.5 * exact)).all())


def test_affine_layers_are_those_of_the_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
        model = nn.Sequential(features, nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(12, 4)).double()
        model(torch.rand(32, 1, 4, 4).double())
    model.eval()
    x = images(5)
    layers = affine_layers(model, (1, 4, 4))
    assert [layer.weight.shape for layer in layers] == [(48, 16), (4, 48)]
    for image, logits in zip(x, model(x).detach(), strict=True):
        assert evaluate_layers(layers, image.flatten().numpy()) == pytest.approx(logits.numpy())


@pytest.mark.bad_input
def test_bad_input_is_named():
    model, x = small(), images(2)
    y = own_labels(model, x)
    with pytest.raises(TypeError, match="model has a layer Sigmoid, expected layers of Linear"):
        exact_margins(nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.Sigmoid()).double().eval(), x, y)
    with pytest.raises(ValueError, match="upper is -1"):
        exact_margins(model, x, y, upper=-1.0)
    with pytest.raises(RuntimeError, match=r"was not found within 0\.01 seconds"):
        exact_margins(small(hidden=60), x, y, seconds=0.01)


def test_the_three_margins_of_digits_are_in_order():
    """A network of 12 hidden units, trained on the digits for a moment: exact <= best attack <= Algorithm 2."""
    x, y, model = trained_on_digits()
    gaps = margin_gaps(model, x[:8], y[:8], attacks=[library_attack("FAB", 1.0, steps=10)])
    assert bool((gaps.exact <= gaps.attack + SOLVER).all())
    assert bool((gaps.attack <= gaps.algorithm).all())
    assert bool((gaps.gap >= -SOLVER).all())
    assert float((gaps.algorithm - gaps.attack).max()) > 0.01  # attacks find nearer points than the one direction
    right = own_labels(model, x[:8]) == y[:8]
    assert int(right.sum()) >= 6
    assert bool((gaps.exact[right] > 0).all())
    assert bool((gaps.exact[~right] == 0).all())


def test_the_attacks_margins_of_a_linear_model_are_exact():
    model, x = linear(classes=2), images(20, low=0.4, high=0.6)
    y = own_labels(model, x)
    exact = linear_margins(model[1].weight.detach(), model[1].bias.detach(), x, y)
    inside = exact < 0.35  # where the way does not end at the range of pixels
    assert int(inside.sum()) > 10
    found = pgd_margins(model, x, y, resolution=1 / 256)
    assert bool(((found - exact)[inside] >= 0).all())
    assert float((found - exact)[inside].max()) <= 1 / 256
    assert bool(torch.isinf(attack_margins(model, x, y, lambda m, a, b: a)).all())


def trained_on_digits():
    data = open_dataset("digits", split="train")
    x, y = data.images.float(), data.labels
    x = x / 255 if float(x.max()) > 1 else x
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return x, y, model.eval()
