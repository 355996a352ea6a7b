from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench.data import open_dataset
from workbench.data.scenes.dataset import SCENE_PRESETS
from workbench.data.scenes.layout import Camera, Layout
from workbench.data.scenes.painting import MIN_VISIBLE, paint, placed_people, seen
from workbench.data.scenes.sprites import TRAINING_FACES, body, faces, head, texture

SIZE = (96, 96)


def crowd(*heads: tuple[int, int, int]) -> Layout:
    """People given as (column, row, size) of their heads, from far to near."""
    left, top, size = np.array(heads, dtype=int).reshape(-1, 3).T
    count = len(size)
    return Layout(
        camera=Camera(horizon=-40.0, rise=8.0, focal=100.0, first_row=0.0),
        left=left,
        top=top,
        size=size,
        face=np.arange(count),
        mirrored=np.zeros(count, dtype=bool),
        pose=np.zeros(count, dtype=int),
    )


def test_somebody_behind_another_is_not_annotated():
    # the second stands before the first, whose head ends up behind the chest; the third stands aside
    layout = crowd((44, 32, 10), (43, 20, 14), (10, 20, 10))
    assert seen(layout, SIZE).tolist() == [False, True, True]
    # the other way about nobody is hidden
    assert seen(crowd((43, 20, 14), (44, 50, 10), (10, 20, 10)), SIZE).tolist() == [True, True, True]


def test_a_head_half_hidden_counts_down_to_the_documented_share():
    cover = head(0, False, 20).cover > 0.5
    found = {}
    for shift in range(21):
        # a second, equally large head is pushed over the first from the right; its body begins below the first head
        layout = crowd((40, 20, 20), (40 + shift, 20, 20))
        overlay = np.zeros((20, 60), dtype=bool)
        overlay[:, shift : shift + cover.shape[1]] = cover
        share = (cover & ~overlay[:, : cover.shape[1]]).sum() / cover.sum()
        found[share] = bool(seen(layout, SIZE)[0])
    assert min(found) < MIN_VISIBLE < max(found)
    assert all(annotated == (share >= MIN_VISIBLE) for share, annotated in found.items())


def test_a_head_cut_by_the_border_counts_while_its_centre_is_inside():
    width = head(0, False, 20).cover.shape[1]
    inside = crowd((-width // 2 + 1, 20, 20), (96 - width // 2 - 1, 20, 20), (40, 96 - 11, 20))
    assert seen(inside, SIZE).all()
    assert not seen(crowd((-width // 2 - 1, 20, 20), (96 - width // 2 + 1, 20, 20), (40, 97 - 10, 20)), SIZE).any()


def test_the_point_is_the_centre_of_the_painted_head():
    layout = crowd((30, 40, 12), (60, 50, 9))
    for index, _, placed in placed_people(layout, SIZE):
        rows, columns = placed.window
        weight = placed.cover / placed.cover.sum()
        x = (weight * (np.arange(columns.start, columns.stop) + 0.5)).sum()
        y = (weight * (np.arange(rows.start, rows.stop) + 0.5)[:, None]).sum()
        np.testing.assert_allclose(layout.centre[index], [x, y], atol=0.2)


def test_moving_somebody_changes_the_picture_there_and_nowhere_else():
    here = crowd((30, 20, 12))
    there = replace(here, left=np.array([60]))
    change = paint(np.random.default_rng(0), here, SIZE).astype(int) - paint(np.random.default_rng(0), there, SIZE)
    rows, columns = np.nonzero(np.abs(change).max(axis=2) > 12)
    for layout in (here, there):
        x, y = layout.centre[0].astype(int)
        assert np.abs(change[y, x]).max() > 12
    # from the top of the head to the shadow at the feet, from one shoulder to the other one's shoulder
    assert rows.min() >= 20
    assert columns.min() >= 30 - 12 * 2
    assert columns.max() <= 60 + 12 * 3


def test_sprites_hold_no_more_light_than_a_little_above_their_cover():
    for sprite in (head(3, True, 11), head(None, False, 7), body(5, 9), body(3, 4)):
        assert sprite.cover.min() >= 0
        assert sprite.cover.max() <= 1 + 1e-6
        assert (sprite.layers.sum(axis=2) <= 1.5 * sprite.cover + 1e-5).all()
        assert sprite.layers.min() >= 0


def test_faces_and_textures_are_the_real_ones():
    assert faces().shape == (100, 25, 25)
    assert len({face.tobytes() for face in faces()}) == 100
    for name in ("grass", "gravel", "brick"):
        assert [len(level) for level in texture(name)] == [512, 256, 128, 64, 32, 16, 8, 4, 2, 1]
        assert all(float(level.mean()) == pytest.approx(1, abs=1e-3) for level in texture(name))


@pytest.mark.parametrize("preset", sorted(SCENE_PRESETS))
def test_a_sample_is_consistent(preset):
    data = open_dataset("scenes", preset=preset, length=8, split="test", seed=3)
    for index in range(8):
        sample = data[index]
        assert sample.image.shape == (3, *SCENE_PRESETS[preset].size)
        assert sample.image.dtype == sample.points.dtype == torch.float32
        assert float(sample.image.min()) >= 0
        assert float(sample.image.max()) <= 1
        assert torch.equal(sample.points, data.points(index))
        assert sample.name == data.names[index]
        column, row = sample.points.long().unbind(1)
        assert sample.roi[row, column].all()
        # a head differs from the perspective by seven per cent and by rounding to whole pixels
        expected = sample.perspective[row, column]
        assert ((sample.head_sizes - expected).abs() <= 0.07 * expected + 1).all()
        if sample.count > 1:
            apart = torch.pdist(sample.points)
            assert float(apart.min()) >= 2


def test_far_heads_are_small_and_people_dense_there():
    data = open_dataset("scenes", preset="dense", length=12)
    ratios, crowded = [], []
    for sample in data:
        y, heads = sample.points[:, 1], sample.head_sizes
        far = y < y.median()
        ratios.append(float(heads[far].mean() / heads[~far].mean()))
        crowded.append(float((y.median() - y.min()) / (y.max() - y.median())))
    assert np.mean(ratios) < 0.75
    assert np.mean(crowded) < 0.8


def test_counts_have_a_long_tail_and_some_scenes_are_empty():
    small = np.array([len(points) for points in map(open_small().points, range(400))])
    assert 14 < small.mean() < 24
    assert small.max() > 3.5 * np.median(small)
    assert 0.005 < (small == 0).mean() < 0.1
    data = open_dataset("scenes", preset="imbalanced", length=400)
    imbalanced = np.sort([len(data.points(index)) for index in range(400)])
    assert np.median(imbalanced) <= 6
    assert imbalanced.max() > 80
    # the fullest tenth of the images holds more people than all the others
    assert imbalanced[-40:].sum() > imbalanced[:-40].sum() * 0.9


def open_small(**options):
    return open_dataset("scenes", preset="small", length=400, **options)


def test_seed_split_and_index_decide_a_scene():
    first, again = open_small(), open_small(cache=False)
    ahead = [again[index].image for index in (5, 2)]
    assert torch.equal(first[2].image, ahead[1])
    assert torch.equal(first[5].image, ahead[0])
    assert torch.equal(first[5].image, first[5].image)
    assert torch.equal(open_dataset("scenes", preset="small", length=7)[5].image, first[5].image)
    others = [open_small(seed=1)[5], open_small(split="test")[5], open_small(split="val")[5], first[6]]
    assert not any(torch.equal(other.image, first[5].image) for other in others)


def test_splits_share_no_scene_and_test_shares_no_face():
    train, val, both, test = (open_small(split=split) for split in ("train", "val", "trainval", "test"))
    assert (len(train), len(val), len(both), len(test)) == (400, 40, 440, 400)
    assert both.names == train.names + val.names
    assert not set(train.names) & set(val.names)
    assert torch.equal(both[401].image, val[1].image)
    for data, cast in ((train, range(TRAINING_FACES)), (val, range(TRAINING_FACES)), (test, range(70, 100))):
        used = {int(face) for index in range(30) for face in data.layout(index)[0].face}
        assert used - {-1} <= set(cast)
        assert len(used) > 20


@pytest.mark.bad_input
def test_bad_options_are_named():
    for options, message in [
        ({"preset": "huge"}, "preset is 'huge', expected one of 'small'"),
        ({"split": "dev"}, "split is 'dev', expected one of 'train'"),
        ({"length": 0}, "length is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"colour": "red"}, "dataset 'scenes' has no option 'colour'"),
        ({"root": "/tmp"}, "dataset 'scenes' has no option 'root'"),
    ]:
        with pytest.raises(ValueError, match=message):
            open_dataset("scenes", **options)
    with pytest.raises(ValueError, match="unknown dataset 'scene', expected one of"):
        open_dataset("scene")
    data = open_dataset("scenes", preset="small", length=2)
    with pytest.raises(IndexError, match="index is 2"):
        data[2]
    with pytest.raises(TypeError, match="index is a str"):
        data.points("0")
