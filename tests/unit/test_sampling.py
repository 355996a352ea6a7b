from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from workbench.data import open_dataset
from workbench.data.patches import ImagePatches, TrainingPatches
from workbench.data.sample import collate
from workbench.sampling import SAMPLERS, build_sampler
from workbench.sampling.batches import probabilities
from workbench.sampling.groups import count_groups
from workbench.sampling.lsh import draw_projection, hash_codes
from workbench.sampling.partition import partition_samples
from workbench.sampling.zoom import zoom_rates


class Kept(ImagePatches):
    """Patches whose counts and pixels are worked out once for all tests."""

    def counts(self, zoom=1.0):
        memory = self.__dict__.setdefault("memory", {})
        if zoom not in memory:
            memory[zoom] = super().counts(zoom)
        return memory[zoom]

    def __getitem__(self, item):
        memory = self.__dict__.setdefault("items", {})
        if item not in memory:
            memory[item] = super().__getitem__(item)
        return memory[item]


PATCHES = Kept(open_dataset("scenes", preset="imbalanced", length=20, seed=1), (32, 32), per_image=4, seed=0, flip=True)
COUNTS = PATCHES.counts()
N = len(PATCHES)
strategies = pytest.mark.parametrize("name", sorted(SAMPLERS))


def sampler_of(name, *, patches=PATCHES, batch_size=24, seed=0, **options):
    return build_sampler(name, samples=len(patches), batch_size=batch_size, seed=seed, patches=patches, **options)


def epoch_of(sampler, epoch, step=0):
    sampler.start(epoch, step)
    return list(sampler)


def teach(sampler, epoch, predict):
    """Go through an epoch; ``predict`` says what is counted in samples of some indices."""
    for step, batch in enumerate(epoch_of(sampler, epoch)):
        truth = np.array([PATCHES[draw].count for draw in batch], dtype=float)
        sampler.observe(step, truth, predict(np.array([draw.index for draw in batch]), truth))


@strategies
def test_an_epoch_follows_from_the_seed_and_can_be_taken_up_at_any_step(name):
    sampler = sampler_of(name)
    batches = epoch_of(sampler, 3)
    assert len(batches) == len(sampler)
    assert all(0 <= draw.index < N and draw.zoom > 0 for batch in batches for draw in batch)
    assert epoch_of(sampler_of(name), 3) == batches
    assert epoch_of(sampler_of(name), 3, step=2) == batches[2:]
    assert epoch_of(sampler, 4) != batches
    assert epoch_of(sampler_of(name, seed=1), 3) != batches
    seeds = [draw.seed for batch in batches for draw in batch]
    assert len(set(seeds)) == len(seeds)


@strategies
def test_every_sample_is_reached(name):
    sampler = sampler_of(name)
    most = max(map(len, sampler.partition.members)) if hasattr(sampler, "partition") else 0
    epochs = max(40, -(-most // len(sampler)))  # balanced ones come to the common samples seldom
    seen = {draw.index for epoch in range(epochs) for batch in epoch_of(sampler, epoch) for draw in batch}
    if name == "offline":  # a set made once: it holds what it holds
        assert seen == set(sampler.chosen.tolist())
    else:
        assert seen == set(range(N))


@strategies
def test_processes_share_each_batch(name):
    whole = epoch_of(sampler_of(name, batch_size=24), 0)
    for ranks in (2, 3):
        shares = []
        for rank in range(ranks):
            sampler = sampler_of(name)
            sampler.divide(rank, ranks)
            assert len(sampler) == len(whole)
            shares.append(epoch_of(sampler, 0))
        for step, batch in enumerate(whole):
            assert sorted(draw for share in shares for draw in share[step]) == sorted(batch)
            sizes = [len(share[step]) for share in shares]
            assert max(sizes) - min(sizes) <= 1


def test_a_batch_smaller_than_the_processes_leaves_none_idle():
    shares = []
    for rank in range(4):
        sampler = build_sampler("random", samples=9, batch_size=7)
        sampler.divide(rank, 4)
        shares.append(epoch_of(sampler, 0)[-1])
    assert [len(share) for share in shares] == [1] * 4
    assert len(set().union(*shares)) == 2


@strategies
def test_workers_change_nothing(name):
    def loaded(workers):
        sampler = sampler_of(name)
        if sampler.learns:
            teach(sampler, 0, lambda indices, truth: truth * (1 + 0.3 * np.sin(indices)))
        sampler.start(1)
        loader = DataLoader(PATCHES, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
        return [(batch.names, batch.images.double().sum(), batch.counts.tolist()) for batch in loader]

    assert loaded(0) == loaded(2)


def test_ladp_takes_one_of_each_bin_at_every_step():
    sampler = sampler_of("ladp", groups=6, bins=4)
    images = torch.stack([PATCHES[index].image for index in range(N)])
    codes = hash_codes(images, draw_projection((32, 32), seed=0))
    assert sampler.codes == pytest.approx(codes.numpy(), abs=1e-4)
    partition = partition_samples(COUNTS, sampler.codes, groups=6, bins=4)
    cell = partition.group * 4 + partition.bin
    filled = sorted(set(cell.tolist()))
    assert 6 < len(filled) < 24  # some are empty
    assert sampler.summary() == {"bins": 24, "bins_filled": len(filled)}
    assert len(sampler) == -(-N // len(filled))
    for epoch in range(3):
        for batch in epoch_of(sampler, epoch):
            assert [cell[draw.index] for draw in batch] == filled


def test_ladp_shows_none_of_a_bin_twice_before_all():
    sampler = sampler_of("ladp")
    order = np.concatenate([sampler.order(epoch) for epoch in range(6)])
    for column, members in zip(order.T, sampler.partition.members, strict=True):
        for start in range(0, len(column) - len(members) + 1, len(members)):
            assert sorted(column[start : start + len(members)]) == members.tolist()


def test_another_projection_bins_otherwise_but_groups_alike():
    one, other = (sampler_of("ladp", projection=seed).partition for seed in (0, 1))
    assert (one.group == other.group).all()
    assert (one.bin != other.bin).any()


def test_balanced_shows_each_group_as_often():
    shown = Counter(
        count_groups(COUNTS, 4)[draw.index] for batch in epoch_of(sampler_of("balanced", groups=4), 0) for draw in batch
    )
    assert max(shown.values()) - min(shown.values()) <= 1
    assert len(shown) == 4


def test_offline_makes_a_set_uniform_over_the_counts():
    sampler = sampler_of("offline", groups=4, zooms=[0.75, 1.0, 1.25])
    first = sorted((draw.index, draw.zoom) for batch in epoch_of(sampler, 0) for draw in batch)
    assert first == sorted((draw.index, draw.zoom) for batch in epoch_of(sampler, 1) for draw in batch)
    shown = [PATCHES[draw].count for batch in epoch_of(sampler, 0) for draw in batch]
    most = max(count for zoom in (0.75, 1.0, 1.25) for count in PATCHES.counts(zoom))
    sizes = np.bincount(np.minimum(np.array(shown) // -(-most // 4), 3))
    assert sizes.max() - sizes.min() <= 1


def test_adaptive_draws_the_worst_oftener():
    sampler = sampler_of("adaptive")
    worst = np.arange(N) % 10 == 0
    first = Counter(draw.index for batch in epoch_of(sampler, 0) for draw in batch)
    assert set(first.values()) == {1}  # nothing is known: uniform
    teach(sampler, 0, lambda indices, truth: truth + 9.0 * worst[indices] + 1)
    # |e| = 10 for a tenth, 1 for the rest, half of the draws uniform
    expected = 0.5 + 0.5 * np.where(worst, 10, 1) / 1.9
    times = Counter(draw.index for batch in epoch_of(sampler, 1) for draw in batch)
    for index in range(N):
        assert np.floor(expected[index]) <= times[index] <= np.ceil(expected[index])


def test_probabilities():
    nan = float("nan")
    assert probabilities(np.array([nan, nan]), 0.5).tolist() == [0.5, 0.5]
    assert probabilities(np.array([3.0, 1.0, nan, 0.0]), 0.2) == pytest.approx(
        0.05 + 0.8 * np.array([3, 1, 4 / 3, 0]) / (16 / 3)
    )
    assert probabilities(np.zeros(4), 0.5).tolist() == [0.25] * 4


@pytest.mark.parametrize("name", ["lada", "la_batch"])
def test_zooms_follow_the_errors_of_the_epoch_before(name):
    sampler = sampler_of(name, share=1.0)
    assert {draw.zoom for batch in epoch_of(sampler, 0) for draw in batch} == {1.0}
    seen = {draw.index for batch in epoch_of(sampler, 0) for draw in batch}
    teach(sampler, 0, lambda indices, truth: truth * np.where(indices % 2, 3.0, 0.0))
    for draw in (draw for batch in epoch_of(sampler, 1) for draw in batch):
        if draw.index not in seen or not COUNTS[draw.index]:
            assert draw.zoom == 1
        else:  # alpha is 2 or -1
            assert draw.zoom == pytest.approx(2 / 3 if draw.index % 2 else 4 / 3, abs=1e-3)


def test_an_epoch_does_not_change_while_it_runs():
    sampler = sampler_of("la_batch", share=1.0)
    teach(sampler, 0, lambda indices, truth: 2 * truth)
    before = epoch_of(sampler, 1)
    teach(sampler, 1, lambda indices, truth: 0 * truth)
    assert epoch_of(sampler, 1) == before
    assert epoch_of(sampler, 2) != before


def test_half_of_the_draws_are_zoomed_by_default():
    sampler = sampler_of("lada")
    teach(sampler, 0, lambda indices, truth: 2 * truth + 1)
    occupied = [draw.zoom < 1 for batch in epoch_of(sampler, 1) for draw in batch if COUNTS[draw.index]]
    assert 0.3 < np.mean(occupied) < 0.7


def test_cumulative_zooms_multiply_within_bounds():
    sampler = sampler_of("lada", share=1.0, cumulative=True)
    for epoch in range(3):
        teach(sampler, epoch, lambda indices, truth: truth * 1.05)  # alpha = .05, r = .918
    zooms = [draw.zoom for batch in epoch_of(sampler, 3) for draw in batch]
    assert min(zooms) == pytest.approx(zoom_rates([0.05])[0] ** 3)
    for epoch in range(3, 9):
        teach(sampler, epoch, lambda indices, truth: truth * 1.05)
    assert min(draw.zoom for batch in epoch_of(sampler, 9) for draw in batch) == pytest.approx(2 / 3)


@strategies
def test_the_state_goes_round_in_the_middle_of_an_epoch(name, tmp_path):
    sampler, wrong = sampler_of(name), lambda indices, truth: truth * (1 + 0.2 * np.cos(indices))
    teach(sampler, 0, wrong)
    sampler.start(1)
    sampler.observe(0, np.ones(len(sampler.batches[0])), np.full(len(sampler.batches[0]), 4.0))
    torch.save(sampler.state_dict(), tmp_path / "state.pt")
    other = sampler_of(name)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert epoch_of(other, 1, step=1) == epoch_of(sampler, 1, step=1)
    assert epoch_of(other, 2) == epoch_of(sampler, 2)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build_sampler("lucky", samples=4, batch_size=2), "unknown sampler 'lucky', expected one of adaptive"),
        (lambda: sampler_of("lada", bins=3), "sampler 'lada' has no option 'bins'"),
        (lambda: sampler_of("ladp", batch_size=25), "batch_size is 25 with 6 groups of 4 bins"),
        (lambda: sampler_of("ladp", batch_size=24, bins=5), "batch_size is 24 with 6 groups of 5 bins"),
        (lambda: sampler_of("la_batch", strength=2.5), r"strength is 2\.5"),
        (lambda: sampler_of("la_batch", batch_size=3), "batch_size is 3 with 6 groups of 0 bins"),
        (lambda: sampler_of("lada", share=1.5), r"share is 1\.5, expected one in \[0, 1\]"),
        (lambda: sampler_of("adaptive", uniform=0.0), r"uniform is 0\.0"),
        (lambda: sampler_of("adaptive", uniform=1.5), r"uniform is 1\.5, expected a share"),
        (lambda: sampler_of("offline", zooms=[]), "zooms is empty"),
        (lambda: sampler_of("offline", zooms=[0.0]), r"zooms is 0\.0"),
        (lambda: sampler_of("random").divide(2, 2), "ranks is 2, expected a whole number >= 3"),
        (lambda: build_sampler("ladp", samples=4, batch_size=24), "the same patches in every epoch, found none"),
        (lambda: sampler_of("lada", patches=TrainingPatches(PATCHES.dataset, 32)), "found TrainingPatches"),
        (lambda: build_sampler("ladp", samples=4, batch_size=24, patches=PATCHES), "samples is 4, but there are 80"),
        (lambda: sampler_of("lada").load_state_dict(sampler_of("lada", patches=HALF).state_dict()), "state is of 40"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


HALF = ImagePatches(PATCHES.dataset, (32, 32), per_image=2)
