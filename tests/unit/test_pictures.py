"""CIFAR-10 and STL-10: torchvision reads small copies whose digests the test declares published."""

import hashlib
import os
import pickle

import numpy as np
import pytest
import torch
import torchvision

from workbench.data import open_dataset

NAMES = [f"kind {number}" for number in range(10)]


def digest(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = {}
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        data = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        pixels[name] = data.reshape(20, 3, 32, 32)
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": [n % 10 for n in range(20)]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}))
    files = torchvision.datasets.CIFAR10
    monkeypatch.setattr(
        files, "train_list", [(f"data_batch_{n}", digest(folder / f"data_batch_{n}")) for n in range(1, 6)]
    )
    monkeypatch.setattr(files, "test_list", [("test_batch", digest(folder / "test_batch"))])
    monkeypatch.setattr(files, "meta", files.meta | {"md5": digest(folder / "batches.meta")})
    return tmp_path, pixels


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
    both = torch.cat([parts["train"].pixels, parts["val"].pixels]).flatten(1).tolist()
    assert sorted(both) == sorted(parts["trainval"].pixels.flatten(1).tolist())


def test_stl10(tmp_path, monkeypatch):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    rng = np.random.default_rng(0)
    stored = {}
    for part in ("train", "test"):
        data = rng.integers(0, 256, (20, 3, 96, 96), dtype=np.uint8)
        stored[part] = data
        data.transpose(0, 1, 3, 2).tofile(folder / f"{part}_X.bin")  # column by column, as MATLAB does
        np.array([1 + n % 10 for n in range(20)], dtype=np.uint8).tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("\n".join(NAMES))
    (folder / "unlabeled_X.bin").write_bytes(b"")
    (folder / "fold_indices.txt").write_text("")
    files = torchvision.datasets.STL10
    for name in ("train_list", "test_list"):
        listed = [[file, digest(folder / file)] for file, _ in getattr(files, name)]
        monkeypatch.setattr(files, name, listed)
    for split, part in (("test", "test"), ("trainval", "train")):
        data = open_dataset("stl10", tmp_path, split)
        assert torch.equal(data.pixels, torch.from_numpy(stored[part]))
        assert data.labels.tolist() == [n % 10 for n in range(20)]
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
