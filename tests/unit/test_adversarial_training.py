import copy
import math

import numpy as np
import pytest
import torch
from small_classifiers import images, linear, network, own_labels
from torch import nn

from workbench.adversarial import counting, margins, pgd
from workbench.adversarial.partition import balanced_batches, margin_groups, margin_partition
from workbench.adversarial.training import RESOLUTION, Recipe, fit_by_recipe, lada
from workbench.sampling.partition import Partition


def sgd(model, rate=0.5):
    return torch.optim.SGD(model.parameters(), lr=rate)


def train(model, x, y, recipe, epochs=1, **options):
    options = {"optimizer": sgd(model), "batch_size": len(x), **options}
    return fit_by_recipe(model, x, y, recipe, epochs=epochs, **options)


class Toy(nn.Module):
    """Two classes by one weight and one pixel: logits (0, w (v - 1/2)) for the pixel v."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(float(weight), dtype=torch.float64))

    def forward(self, x):
        logit = self.weight * (x.flatten(1)[:, 0] - 0.5)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def by_hand(weight, pixels, labels, epsilon, *, rate, recipe):
    """One epoch of Algorithm 2 on the toy model in plain numbers, one batch of all samples.

    With p the probability of the label, the cross-entropy is -log p, its derivative by the pixel -s (1 - p) w and by
    the weight -s (1 - p) (v - 1/2), where s is 1 for class 1 and -1 for class 0.
    """
    signs = [1 if label else -1 for label in labels]
    beta = [2.5 * e / recipe.steps for e in epsilon]
    moved = list(pixels)
    for _ in range(recipe.steps):  # lines 19 to 22: against the label, within epsilon and [0, 1]
        for i, s in enumerate(signs):
            step = -s * math.copysign(1, weight) * beta[i]
            moved[i] = min(max(moved[i] + step, pixels[i] - epsilon[i], 0.0), pixels[i] + epsilon[i], 1.0)
    slope = 0.0
    for values in (pixels, moved):  # line 6: half of the clean and half of the adversarial samples' mean gradient
        for v, s in zip(values, signs, strict=True):
            slope += 0.5 * -s * (1 - sigmoid(s * weight * (v - 0.5))) * (v - 0.5) / len(pixels)
    weight -= rate * slope
    updated = []
    for v, s, e in zip(moved, signs, epsilon, strict=True):  # lines 27 to 30, with the new weight
        z = sigmoid(s * weight * (v - 0.5))
        alpha = z - (1 - z) - recipe.threshold
        r = 1 + recipe.strength * (1 / (1 + math.exp(recipe.steepness * alpha)) - 0.5)
        updated.append(min(max(r * e, recipe.limits[0]), recipe.limits[1]))
    return weight, moved, updated


def test_algorithm_2_line_by_line():
    pixels, labels, weight = [0.9, 0.7, 0.45, 0.2, 0.6], [1, 1, 0, 0, 0], 6.0
    x = torch.tensor(pixels, dtype=torch.float64).view(-1, 1, 1, 1)
    y = torch.tensor(labels)
    model = Toy(weight)
    recipe = Recipe(epsilon=0.15, lada=True, start="margin", bounds=(0.05, 0.5), steps=3)

    # line 2: the boundary is at 1/2, whatever the weight; the last sample is wrong already
    exact = [0.4, 0.2, 0.05, 0.3, 0.0]
    first = margins(model.eval(), x, y, resolution=RESOLUTION)
    assert np.allclose(first, [math.ceil(round(m / RESOLUTION, 6)) * RESOLUTION for m in exact], atol=RESOLUTION)
    epsilon = [min(max(float(m), 0.05), 0.5) for m in first]

    optimizer = sgd(model)
    state = {}

    def keep(row):
        state[row["epoch"]] = (row["epsilon"], row["epsilon_spread"], float(model.weight.detach()))

    fit_by_recipe(model, x, y, recipe, optimizer=optimizer, epochs=4, batch_size=5, on_epoch=keep)
    for epoch in range(1, 5):
        weight, _, epsilon = by_hand(weight, pixels, labels, epsilon, rate=0.5, recipe=recipe)
        mean, spread, found = state[epoch]
        assert found == pytest.approx(weight, abs=1e-6)  # epsilon is kept in float32
        assert mean == pytest.approx(np.mean(epsilon), abs=1e-6)
        assert spread == pytest.approx(np.std(epsilon), abs=1e-6)
    assert len({round(e, 3) for e in epsilon}) >= 3  # the samples went different ways
    assert max(epsilon) > 0.4


def test_line_5_and_7_one_sample_at_a_time(tmp_path):
    """The epsilon of every sample, and not only their mean, as worked out by hand."""
    pixels, labels = [0.9, 0.7, 0.45], [1, 1, 0]
    x = torch.tensor(pixels, dtype=torch.float64).view(-1, 1, 1, 1)
    recipe = Recipe(epsilon=0.2, lada=True, bounds=(0.01, 0.9), steps=2, threshold=0.1, strength=1.5, steepness=4.0)
    model = Toy(3.0)
    _, moved, expected = by_hand(3.0, pixels, labels, [0.2] * 3, rate=0.5, recipe=recipe)
    attacked = pgd(model.eval(), x, torch.tensor(labels), 0.2, steps=2)
    assert attacked.flatten().tolist() == pytest.approx(moved)
    train(model, x, torch.tensor(labels), recipe, checkpoint=tmp_path / "run.pt")
    found = torch.load(tmp_path / "run.pt", weights_only=True)["epsilon"]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_lada_by_hand():
    recipe = Recipe(epsilon=0.1, strength=2 / 3, steepness=10.0, threshold=0.3, bounds=(0.08, 0.12))
    score = torch.tensor([0.3, 1.0, -1.0])
    epsilon = torch.full((3,), 0.1)
    free = lada(score, epsilon, recipe, bounded=False)
    sure = 1 + 2 / 3 * (1 / (1 + math.exp(7)) - 0.5)
    lost = 1 + 2 / 3 * (1 / (1 + math.exp(-13)) - 0.5)
    assert free.tolist() == pytest.approx([0.1, 0.1 * sure, 0.1 * lost])
    assert lada(score, epsilon, recipe).tolist() == pytest.approx([0.1, 0.08, 0.12])
    flipped = Recipe(epsilon=0.1, threshold=0.3, sign="flipped", bounds=(0.0, 1.0))
    assert lada(score, epsilon, flipped).tolist() == pytest.approx([0.1, 0.1 * (2 - sure), 0.1 * (2 - lost)])


def test_bounds_are_a_third_to_each_side():
    assert Recipe(epsilon=0.15).limits == pytest.approx((0.1, 0.2))
    assert Recipe(epsilon=0.9).limits == pytest.approx((0.6, 1.0))
    assert Recipe(epsilon=0.1, bounds=(0.05, 0.3)).limits == (0.05, 0.3)


def test_groups_of_margins_have_equal_width_and_are_not_rounded_up():
    values = torch.tensor([0.0, 0.049, 0.051, 0.149, 0.151, 0.3])
    assert margin_groups(values, 6).tolist() == [0, 0, 1, 2, 3, 5]
    assert margin_groups(torch.zeros(4), 6).tolist() == [0, 0, 0, 0]


def test_batches_take_one_sample_from_each_filled_bin():
    group = np.array([0] * 50 + [1] * 4 + [3] * 2 + [5])
    bin_of = np.array([0] * 25 + [1] * 25 + [0, 0, 2, 2] + [0, 1] + [0])
    partition = Partition(group, bin_of, 6, 3)
    cells = torch.from_numpy(group * 3 + bin_of)
    batches = list(balanced_batches(partition, 7, torch.Generator().manual_seed(0)))
    assert len(batches) == 9  # 57 samples in batches of 7
    assert all(len(cells[batch].unique()) == 7 for batch in batches)
    larger = next(balanced_batches(partition, 14, torch.Generator().manual_seed(0)))
    assert cells[larger].bincount()[cells.unique()].tolist() == [2] * 7
    smaller = [cells[b].tolist() for b in balanced_batches(partition, 3, torch.Generator().manual_seed(0))]
    assert all(len(set(batch)) == 3 for batch in smaller)
    assert len({cell for batch in smaller for cell in batch}) == 7


def test_the_partition_is_by_margin_and_by_hash_code():
    x = images(60)
    x[:30] = x[:1] + 1e-4 * x[:30]  # thirty images next to one another
    x = x.clamp(max=1)
    partition = margin_partition(x, torch.linspace(0, 0.3, 60), groups=3, bins=4, seed=1)
    assert partition.group.tolist() == [min(int(k / 59 * 3), 2) for k in range(60)]
    far = margin_partition(x, torch.full((60,), 0.2), groups=3, bins=4, seed=1)
    assert set(far.group) == {2}
    assert len(set(far.bin[:30])) == 1
    assert far.filled == 4


def arms():
    return {
        "natural": Recipe(epsilon=None),
        "adversarial": Recipe(epsilon=0.1, steps=2, random_start=True),
        "la-batch": Recipe(epsilon=0.1, steps=2, lada=True, ladp=True, start="margin", warmup=1, groups=3, bins=3),
    }


@pytest.mark.parametrize("name", arms())
def test_a_stopped_run_goes_on_as_if_never_stopped(name, tmp_path):
    recipe, x = arms()[name], images(40, dtype=torch.float32)
    y = (x.sum(dim=(1, 2, 3)) > 8).long()

    def begin():
        model = network(classes=2, dtype=torch.float32)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        return model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)

    def go(checkpoint, stop=None):
        model, optimizer, schedule = begin()
        torch.manual_seed(7)  # dropout draws from torch's own generator

        def maybe_stop(row):
            if row["epoch"] == stop:
                raise KeyboardInterrupt

        options = {"optimizer": optimizer, "schedule": schedule, "epochs": 4, "batch_size": 16, "seed": 3}
        history = fit_by_recipe(
            model, x, y, recipe, checkpoint=checkpoint, identity=name, on_epoch=maybe_stop, **options
        )
        return model, [{key: value for key, value in row.items() if key != "seconds"} for row in history]

    with torch.random.fork_rng():
        whole, rows = go(None)
        for stop in (1, 3):
            with pytest.raises(KeyboardInterrupt):
                go(tmp_path / "run.pt", stop)
        resumed, again = go(tmp_path / "run.pt")
    assert again == rows
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert not resumed.training


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    x, recipe = images(dtype=torch.float32), arms()["adversarial"]
    y = torch.zeros(12, dtype=torch.long)
    path = tmp_path / "run.pt"
    train(network(dtype=torch.float32), x, y, recipe, checkpoint=path, identity="one")
    with pytest.raises(ValueError, match="belongs to another run"):
        train(network(dtype=torch.float32), x, y, recipe, checkpoint=path, identity="two")
    with pytest.raises(ValueError, match="is of 12 samples, expected 5"):
        train(network(dtype=torch.float32), x[:5], y[:5], recipe, checkpoint=path, identity="one")
    with pytest.raises(ValueError, match="another model's"):
        train(linear(dtype=torch.float32), x, y, recipe, checkpoint=path, identity="one")
    torch.save({"model": {}}, path)
    with pytest.raises(ValueError, match="not a checkpoint of an adversarial training"):
        train(network(dtype=torch.float32), x, y, recipe, checkpoint=path, identity="one")


def test_eight_bit_images_are_divided_by_255_and_batches_augmented():
    x = images(20, dtype=torch.float32)
    pixels = (x * 255).round().to(torch.uint8)
    y = (x.sum(dim=(1, 2, 3)) > 8).long()
    model = linear(classes=2, dtype=torch.float32)
    twin = copy.deepcopy(model)
    seen = []

    def flipped(batch, draw):
        seen.append(float(batch.max()))
        return batch.flip(-1)

    recipe = Recipe(epsilon=0.1, steps=2)
    train(model, pixels, y, recipe, augment=flipped)
    train(twin, pixels.flip(-1).float() / 255, y, recipe)
    assert seen == [float(pixels.max()) / 255]
    torch.testing.assert_close(model.state_dict(), twin.state_dict())


def test_a_counter_is_trained_by_algorithm_2():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(0.2))

        def forward(self, x):
            return self.factor * x

    x = images(8, low=0.4, high=0.9, dtype=torch.float32)
    points = [torch.zeros(round(float(image.sum())), 2) for image in x]  # the right factor is about one
    model = Scale()
    recipe = Recipe(epsilon=0.06, lada=True, threshold=0.8, steps=2)
    history = fit_by_recipe(
        model, x, points, recipe, optimizer=sgd(model, 0.002), epochs=60, batch_size=8, task=counting()
    )
    assert float(model.factor.detach()) == pytest.approx(1, abs=0.05)
    assert history[0]["epsilon"] == pytest.approx(0.06 * 4 / 3, abs=3e-3)  # under-counted: everything grows
    assert history[-1]["epsilon"] < history[0]["epsilon"]  # counted rightly: it shrinks again
    assert history[-1]["loss"] < 0.1 * history[0]["loss"]


@pytest.mark.bad_input
def test_bad_options_are_named():
    for options, message in [
        ({"epsilon": -0.1}, "epsilon is -0.1"),
        ({"epsilon": None, "lada": True}, "epsilon is None, natural training"),
        ({"strength": 2.5}, "strength is 2.5"),
        ({"steepness": 0.0}, "steepness is 0.0"),
        ({"threshold": 3.0}, "threshold is 3.0"),
        ({"clean_share": 1.0}, "clean_share is 1.0"),
        ({"sign": "minus"}, "sign is 'minus'"),
        ({"start": "zero"}, "start is 'zero'"),
        ({"bounds": (0.3, 0.1)}, r"bounds is \(0.3, 0.1\)"),
        ({"warmup": -1}, "warmup is -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            Recipe(**options)
    x = images()
    with pytest.raises(ValueError, match="y has 3 entries, expected 12"):
        train(linear(), x, torch.zeros(3, dtype=torch.long), Recipe())
    with pytest.raises(ValueError, match="values holds values down to -1"):
        margin_groups(torch.tensor([-1.0]), 2)
    runaway = Recipe(epsilon=None)
    model = Toy(1.0)
    with pytest.raises(RuntimeError, match="the loss became nan at epoch 1"):
        fit_by_recipe(
            model,
            x,
            own_labels(model, x),
            runaway,
            optimizer=sgd(model),
            epochs=1,
            loss=lambda z, y: z[:, 0] * torch.nan,
        )


def test_labels_of_int32_train_alike():
    found = []
    for dtype in (torch.int32, torch.int64):
        model, x = network(), images(20)
        y = own_labels(model, x).to(dtype)
        recipe = Recipe(epsilon=0.1, lada=True, ladp=True, start="margin", steps=2, groups=2, bins=2)
        torch.manual_seed(0)  # of the dropout
        train(model, x, y, recipe, batch_size=8)
        found.append(model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
