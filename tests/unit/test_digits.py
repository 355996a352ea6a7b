import pytest
import torch
from torch.utils.data import DataLoader

from workbench.data import open_dataset

SPLITS = ("train", "val", "test", "trainval")


def rows(data) -> set[tuple[float, ...]]:
    return {tuple(image.flatten().tolist()) for image in data.images}


def test_an_item_is_a_digit_and_a_loader_stacks_them():
    data = open_dataset("digits")
    image, label = data[3]
    assert image.shape == (1, 8, 8)
    assert image.dtype == torch.float32
    assert label == int(data.labels[3])
    assert float(data.images.min()) == 0
    assert float(data.images.max()) == 1
    batch = next(iter(DataLoader(data, batch_size=5)))
    assert batch.image.shape == (5, 1, 8, 8)
    assert batch.label.tolist() == data.labels[:5].tolist()
    assert sum(1 for _ in data) == len(data)  # iterating ends


def test_splits_are_disjoint_whole_and_keep_the_classes():
    train, val, test, both = (open_dataset("digits", split=split) for split in SPLITS)
    assert len(train) + len(val) + len(test) == 1797
    assert len(both) == len(train) + len(val)
    # the set itself holds no image twice, so disjoint rows are disjoint indices
    assert len(rows(train) | rows(val) | rows(test)) == 1797
    assert rows(both) == rows(train) | rows(val)
    shares = torch.stack([torch.bincount(data.labels, minlength=10) / len(data) for data in (train, val, test)])
    assert float((shares - shares[0]).abs().max()) < 0.01
    assert 0.24 < len(test) / 1797 < 0.26


def test_the_seed_chooses_validation_and_never_the_test_part():
    assert torch.equal(open_dataset("digits").images, open_dataset("digits").images)
    assert rows(open_dataset("digits", split="val")) != rows(open_dataset("digits", split="val", seed=1))
    assert rows(open_dataset("digits", split="test")) == rows(open_dataset("digits", split="test", seed=1))
    assert len(open_dataset("digits", split="val", validation=0.0)) == 0


def test_the_classes_can_be_told_apart():
    train, test = open_dataset("digits"), open_dataset("digits", split="test")
    nearest = torch.cdist(test.images.flatten(1), train.images.flatten(1)).argmin(dim=1)
    assert float((train.labels[nearest] == test.labels).float().mean()) > 0.97


@pytest.mark.bad_input
def test_bad_options_are_named():
    for options, message in [
        ({"split": "dev"}, "split is 'dev'"),
        ({"seed": -1}, "seed is -1"),
        ({"validation": -0.1}, "validation is -0.1"),
        ({"length": 5}, "dataset 'digits' has no option 'length', expected one of split, validation, seed"),
    ]:
        with pytest.raises(ValueError, match=message):
            open_dataset("digits", **options)
