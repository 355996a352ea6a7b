import itertools
import math

import pytest
import torch
from scipy.stats import hypergeom
from torch import nn

from workbench.adversarial import counting, pgd
from workbench.adversarial.ablation import (
    ablate,
    ablated_counts,
    cells_of,
    certified_count,
    patch_cells,
    smoothed_count,
)
from workbench.adversarial.patch_attack import patch_attack


class Brightness(nn.Module):
    """The brightness above grey of each pixel, in people: what is hidden counts nothing."""

    def forward(self, x):
        return (x - 0.5).clamp(min=0).sum(dim=1, keepdim=True)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(seed=0, side=16):
    return torch.rand(1, 3, side, side, generator=generator(seed))


def test_a_draw_shows_whole_cells_and_no_more():
    images = torch.rand(6, 3, 14, 20, generator=generator()) * 0.4
    shown = ablate(images, keep=3, block=4, generator=generator())
    assert cells_of((14, 20), 4) == 4 * 5
    kept = (shown != 0.5).all(dim=1)
    assert torch.equal(shown[kept[:, None].expand_as(shown)], images[kept[:, None].expand_as(images)])
    for mask in kept:
        padded = torch.nn.functional.pad(mask.double(), (0, 0, 0, 2))
        cells = padded.unfold(0, 4, 4).unfold(1, 4, 4).flatten(2)
        assert int((cells.amax(dim=2) > 0).sum()) == 3
        whole = cells[:3]  # the last row of cells is cut by the border
        assert bool(((whole.mean(dim=2) == 0) | (whole.mean(dim=2) == 1)).all())
    assert len({tuple(mask.flatten().tolist()) for mask in kept}) > 1  # each image has its own draw
    assert torch.equal(ablate(images, keep=20, block=4), images)


@pytest.mark.parametrize(("side", "block"), [(1, 4), (2, 4), (5, 4), (8, 8), (9, 8), (10, 8), (3, 1)])
def test_the_cells_of_a_patch(side, block):
    """Every place is tried."""
    touched = [(start + side - 1) // block - start // block + 1 for start in range(5 * block)]
    assert patch_cells(side, block) == max(touched) ** 2


def test_the_probability_that_a_draw_shows_a_changed_cell():
    image, changed, keep = picture(), torch.zeros(1, 1, 16, 16), 3
    changed[..., :8, :8] = 1  # four cells of 16
    drawn = ablate((1 - changed).expand(4000, -1, -1, -1), keep=keep, block=4, fill=1.0, generator=generator())
    seen = float((drawn.amin(dim=(1, 2, 3)) == 0).double().mean())
    exact = certified_count(Brightness().eval(), image, changed=4, keep=keep, block=4, generator=generator()).seen
    assert exact == pytest.approx(1 - math.comb(12, 3) / math.comb(16, 3))
    assert exact == pytest.approx(float(hypergeom(16, 4, 3).sf(0)))
    assert abs(seen - exact) < 4 * math.sqrt(exact * (1 - exact) / 4000)


OPTIONS = {"keep": 3, "block": 2}


def test_no_attack_leaves_the_certified_interval_in_a_thousand_tries():
    """Patches at every kind of place: random ones, white and black ones, and ones that the gradient chose."""
    model, image = Brightness().eval(), picture(3)
    draw, changed = generator(1), patch_cells(3, 2)
    certified = certified_count(model, image, changed=changed, samples=101, generator=draw, **OPTIONS)
    assert 0 < certified.low < certified.answer < certified.high < math.inf
    points, over, under = [torch.zeros(1, 2)], counting("over"), counting("under")
    answers = []
    for number in range(1000):
        if number % 10 < 2:
            task = (over, under)[number % 10]
            moved = patch_attack(model, image, points, 3, steps=2, step_size=1.0, seed=number, task=task)
        else:
            moved = image.clone()
            top, left = torch.randint(14, (2,), generator=draw).tolist()
            values = torch.rand(3, 3, 3, generator=draw) if number % 10 < 6 else float(number % 2)
            moved[0, :, top : top + 3, left : left + 3] = values
        answers.append(smoothed_count(model, moved, samples=101, generator=draw, **OPTIONS))
    violations = [answer for answer in answers if not certified.low <= answer <= certified.high]
    assert violations == []
    # The interval is not wide for nothing: an attack on all of the image leaves it
    everywhere = pgd(model, image, points, 1.0, task=over)
    assert smoothed_count(model, everywhere, samples=101, generator=draw, **OPTIONS) > certified.high


class Steps(nn.Module):
    """One person where the first cell is shown and white, as the worst attack has it."""

    def forward(self, x):
        return (x[:, :1, :1, :1] > 0.9).to(x.dtype)


def test_the_bound_moves_as_it_should():
    model, image = Brightness().eval(), picture(2)
    rows = [certified_count(model, image, changed=c, samples=301, generator=generator(), **OPTIONS) for c in (0, 1, 4)]
    assert [row.seen for row in rows] == sorted(row.seen for row in rows)
    assert rows[0].seen == 0
    for inner, outer in itertools.pairwise(rows):
        assert outer.low <= inner.low
        assert inner.high <= outer.high
    surer = certified_count(model, image, changed=1, samples=301, confidence=0.99999, generator=generator(), **OPTIONS)
    assert surer.low <= rows[1].low
    assert surer.high >= rows[1].high
    more = certified_count(model, image, changed=1, samples=1001, generator=generator(1), **OPTIONS)
    assert more.high - more.low < rows[1].high - rows[1].low
    # where half of the draws or more show the attack, nothing is known
    lost = certified_count(model, image, changed=16, samples=101, generator=generator(), **OPTIONS)
    assert (lost.low, lost.high) == (0, math.inf)


def test_the_interval_is_needed():
    """A model that reads one cell: where more than half of the draws show it, an attack decides the median."""
    black, white = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    options = {"block": 2, "samples": 101}
    for keep, moves in ((1, False), (3, True)):
        certified = certified_count(Steps().eval(), black, changed=1, keep=keep, generator=generator(), **options)
        answer = smoothed_count(Steps().eval(), white, keep=keep, generator=generator(1), **options)
        assert (answer > 0) == moves
        assert certified.low <= answer <= certified.high


def test_the_clean_count_lies_within_its_own_interval_as_often_as_promised():
    """Without a change the interval is of fresh medians only: at 80 % it holds in 80 % of the cases or more."""
    image, draw, inside = picture(5), generator(), 0
    counts = ablated_counts(Brightness().eval(), image, samples=2001, generator=draw, **OPTIONS)

    class Drawn(nn.Module):  # the same distribution, without the drawing of images
        def forward(self, x):
            return counts[torch.randint(2001, (len(x),), generator=draw)].view(-1, 1, 1, 1)

    tries, drawn = 300, Drawn().eval()
    for _ in range(tries):
        certified = certified_count(
            Drawn().eval(), image, changed=0, samples=51, confidence=0.8, generator=draw, **OPTIONS
        )
        again = smoothed_count(drawn, image, samples=51, generator=draw, **OPTIONS)
        inside += certified.low <= again <= certified.high
    assert inside / tries >= 0.8


def test_a_patch_stays_in_its_square_and_does_harm():
    model, x = Brightness().eval(), torch.cat([picture(seed) for seed in range(3)])
    points = [torch.zeros(5, 2)] * 3
    moved = patch_attack(model, x, points, 4, task=counting("over"))
    for before, after in zip(x, moved, strict=True):
        rows, columns = (before != after).any(dim=0).nonzero().unbind(dim=1)
        assert int(rows.max() - rows.min()) < 4
        assert int(columns.max() - columns.min()) < 4
    gained = model(moved).sum(dim=(1, 2, 3)) - model(x).sum(dim=(1, 2, 3))
    assert bool((gained > 0).all())
    more = patch_attack(model, x, points, 4, places=4, task=counting("over"))
    assert bool((model(more).sum(dim=(1, 2, 3)) >= model(moved).sum(dim=(1, 2, 3)) - 1e-4).all())
    assert torch.equal(moved, patch_attack(model, x, points, 4, task=counting("over")))


@pytest.mark.bad_input
def test_bad_input_is_named():
    model, image = Brightness().eval(), picture()
    for options, message in [
        ({"keep": 65}, "keep is 65, expected at most 64, the cells"),
        ({"changed": 65}, "changed is 65, expected at most 64"),
        ({"changed": -1}, "changed is -1"),
        ({"samples": 100}, "samples is 100, expected an odd number"),
        ({"confidence": 1.0}, "1 - confidence"),
        ({"block": 0}, "block is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            certified_count(model, image, **{"changed": 1, **OPTIONS, **options})
    with pytest.raises(ValueError, match="image has 2 images, expected one"):
        smoothed_count(model, image.expand(2, -1, -1, -1), **OPTIONS)
    with pytest.raises(ValueError, match="side is 17, expected at most 16"):
        patch_attack(model, image, [torch.zeros(1, 2)], 17, task=counting())
