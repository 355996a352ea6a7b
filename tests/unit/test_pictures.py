"""CIFAR-10 and STL-10: torchvision reads small copies whose digests the test declares published."""

import os
import pickle

import pytest
import torch
from layouts_pictures import LABELS, NAMES, write_cifar10, write_stl10

from workbench.data import open_dataset


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    return tmp_path, write_cifar10(tmp_path, monkeypatch)


def test_cifar10(cifar10):
    root, pixels = cifar10
    test = open_dataset("cifar10", root, "test")
    assert len(test) == 20
    assert test.classes == NAMES
    for index in range(20):
        image, label = test[index]
        assert label == index % 10
        torch.testing.assert_close(image, torch.from_numpy(pixels["test_batch"][index]) / 255)
    parts = {split: open_dataset("cifar10", root, split, validation=0.2) for split in ("train", "val", "trainval")}
    assert [len(data) for data in parts.values()] == [80, 20, 100]
    assert torch.bincount(parts["val"].labels).tolist() == [2] * 10
    both = torch.cat([parts["train"].images, parts["val"].images]).flatten(1).tolist()
    assert sorted(both) == sorted(parts["trainval"].images.flatten(1).tolist())


def test_stl10(tmp_path, monkeypatch):
    stored = write_stl10(tmp_path, monkeypatch)
    for split, part in (("test", "test"), ("trainval", "train")):
        data = open_dataset("stl10", tmp_path, split)
        assert torch.equal(data.images, torch.from_numpy(stored[part]))
        assert data.labels.tolist() == LABELS
    assert data[3].image.shape == (3, 96, 96)
    assert data.classes == NAMES


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.bad_input
def test_missing_and_changed_files_are_named_and_not_opened(cifar10, tmp_path):
    root, _ = cifar10
    (root / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps(Trap(str(tmp_path / "sprung"))))
    with pytest.raises(FileNotFoundError, match=r"does not hold CIFAR-10 whole: .*nothing is downloaded here"):
        open_dataset("cifar10", root)
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(FileNotFoundError, match="does not hold STL-10 whole"):
        open_dataset("stl10", root)
    with pytest.raises(ValueError, match="root is None, expected the folder that holds CIFAR-10"):
        open_dataset("cifar10")
    with pytest.raises(ValueError, match="validation is 2"):
        open_dataset("cifar10", root, validation=2)
