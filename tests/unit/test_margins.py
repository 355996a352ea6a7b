import math

import pytest
import torch
from small_classifiers import images, linear, network, own_labels
from torch import nn

from workbench.adversarial import counting, margins
from workbench.adversarial.margins import first_crossing
from workbench.data import open_dataset


class Counted(nn.Module):
    """A model that counts the samples that go through it, and the passes."""

    def __init__(self, model):
        super().__init__()
        self.model, self.samples, self.passes = model, 0, 0

    def forward(self, x):
        self.samples += len(x)
        self.passes += 1
        return self.model(x)


def closed_form(model, x, y):
    """(z_y - z_o) / |w_y - w_o|_1 of a linear model of two classes."""
    weight = model[1].weight.detach()
    logits = model(x).detach()
    rows = torch.arange(len(x))
    return (logits[rows, y] - logits[rows, 1 - y]) / (weight[y] - weight[1 - y]).abs().sum(dim=1)


@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_of_a_linear_model(seed):
    model, x = linear(classes=2, seed=seed), images(100, seed=seed)
    y = own_labels(model, x)
    exact = closed_form(model, x, y)
    found = margins(model, x, y)
    assert float((found - exact).abs().max()) < 1e-6
    # never below: the answer has changed at the margin that is given
    assert bool((found >= exact).all())


def test_a_wrong_answer_has_margin_zero():
    model, x = linear(classes=2), images()
    y = own_labels(model, x)
    assert torch.equal(margins(model, x, 1 - y), torch.zeros(12, dtype=x.dtype))
    mixed = y.clone()
    mixed[::2] = 1 - mixed[::2]
    found = margins(model, x, mixed)
    assert bool((found[::2] == 0).all())
    assert torch.equal(found[1::2], margins(model, x, y)[1::2])


def test_where_there_is_no_crossing():
    constant = linear(scale=0.0)
    x = images()
    y = own_labels(constant, x)
    assert torch.equal(margins(constant, x, y), torch.ones_like(x[:, 0, 0, 0]))
    assert torch.equal(margins(constant, x, y, cap=0.25), torch.full((12,), 0.25, dtype=x.dtype))
    assert bool(torch.isinf(margins(constant, x, y, no_crossing="inf")).all())
    # at the cap itself is a crossing, just beyond it is none
    model = linear(classes=2)
    y = own_labels(model, x)
    one = margins(model, x, y, resolution=1 / 64)
    most = float(one.max())
    at, below = (margins(model, x, y, resolution=1 / 64, cap=cap, no_crossing="inf") for cap in (most, most - 1 / 64))
    assert torch.equal(at, one)
    assert int(torch.isinf(below).sum()) == int((one == most).sum())


def test_clipping_keeps_the_ray_within_the_range():
    class Guard(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.most = model, 0.0

        def forward(self, x):
            self.most = max(self.most, float(x.detach().max()))
            return self.model(x)

    model, x = Guard(linear(classes=2, scale=0.1)).eval(), images(low=0.9)
    y = own_labels(model, x)
    clipped, free = margins(model, x, y, clip=True), margins(model, x, y)
    assert bool((clipped >= free).all())
    model.most = 0.0
    margins(model, x, y, clip=True)
    assert model.most <= 1
    margins(model, x, y)
    assert model.most > 1


def digits_network():
    """A small network trained for a second on digits."""
    data = open_dataset("digits")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data.images), data.labels).backward()
        optimizer.step()
    return model.eval(), data.images, data.labels


def test_bisection_gives_what_the_step_search_gives_with_an_eighth_of_its_passes():
    model, x, y = digits_network()
    counted = Counted(model).eval()
    stepped = margins(counted, x, y, resolution=1 / 1024, method="step", no_crossing="inf")
    work = counted.samples, counted.passes
    counted.samples = counted.passes = 0
    bisected = margins(counted, x, y, resolution=1 / 1024, no_crossing="inf")
    assert 0.02 < float(stepped[torch.isfinite(stepped)].mean()) < 0.5  # neither trivial nor out of reach
    assert torch.equal(stepped, bisected)
    assert work[0] >= 8 * counted.samples
    assert work[1] >= 8 * counted.passes


def test_one_gradient_a_sample():
    calls = []

    class Recorder(nn.Module):
        def forward(self, x):
            calls.append((len(x), torch.is_grad_enabled()))
            return torch.stack([x.sum(dim=(1, 2, 3)), 20 - x.sum(dim=(1, 2, 3))], dim=1)

    x = images()
    margins(Recorder().eval(), x, (x.sum(dim=(1, 2, 3)) < 10).long())
    assert sum(count for count, gradients in calls if gradients) == len(x)


def test_brackets_by_hand():
    # crossings at these numbers of sixteenths; None has no crossing, and the last one changes back at once
    holds = [lambda k: k >= 1, lambda k: k >= 5, lambda k: k >= 16, lambda k: False, lambda k: k == 6 or k >= 9]
    asked = []

    def changed(epsilon, index):
        asked.append(len(index))
        steps = (epsilon * 16).round().int().tolist()
        return torch.tensor([holds[i](k) for i, k in zip(index.tolist(), steps, strict=True)])

    at_zero = torch.zeros(5, dtype=torch.bool)
    coarse = first_crossing(changed, at_zero, resolution=1 / 16, cap=1.0, bracket=1 / 4)
    assert coarse.tolist() == [1 / 16, 5 / 16, 1.0, math.inf, 9 / 16]
    assert asked[:4] == [5, 4, 3, 2]  # whoever is bracketed is asked no more
    fine = first_crossing(changed, at_zero, resolution=1 / 16, cap=1.0, bracket=1 / 8)
    assert fine.tolist() == [1 / 16, 5 / 16, 1.0, math.inf, 6 / 16]


def test_a_counter_has_a_margin_in_people():
    class Brightness(nn.Module):
        def forward(self, x):
            return x

    x = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    points = [torch.zeros(8, 2)]  # counted exactly: 16 cells of a half
    # a quarter of 8 people are 2, an eighth a cell; at zero error the squared error has no slope
    assert margins(Brightness().eval(), x, points, task=counting("error", tolerance=0.25)).tolist() == [1.0]
    found = margins(Brightness().eval(), x, points, task=counting("over", tolerance=0.25))
    assert 0.125 < float(found) < 0.125 + 2**-19


def test_train_mode_warns_and_is_put_back():
    model, x = network(), images()
    y = own_labels(model, x)
    expected = margins(model, x, y)
    with pytest.warns(UserWarning, match="attacked in train mode"):
        assert torch.equal(margins(model.train(), x, y), expected)
    assert model.training


@pytest.mark.bad_input
def test_bad_input_is_named():
    model, x = linear(), images()
    y = own_labels(model, x)
    for options, message in [
        ({"resolution": 0.0}, "resolution is 0.0"),
        ({"cap": -1.0}, "cap is -1.0"),
        ({"cap": 0.01, "resolution": 0.1}, "cap is 0.01, expected at least the resolution 0.1"),
        ({"bracket": math.nan}, "bracket is nan"),
        ({"method": "guess"}, "method is 'guess'"),
        ({"no_crossing": "none"}, "no_crossing is 'none'"),
    ]:
        with pytest.raises(ValueError, match=message):
            margins(model, x, y, **options)
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        margins(model, x + 1, y)
