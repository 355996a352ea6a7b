"""Small copies of CIFAR-10 and STL-10, whose digests the test declares published."""

import hashlib
import pickle

import numpy as np
import torchvision

NAMES = [f"kind {number}" for number in range(10)]
LABELS = [number % 10 for number in range(20)]


def digest(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar10(root, monkeypatch):
    """Write five training files and a test file of 20 pictures each; returns the pixels of each file."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng, pixels = np.random.default_rng(0), {}
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        data = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        pixels[name] = data.reshape(20, 3, 32, 32)
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": LABELS}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}))
    files = torchvision.datasets.CIFAR10
    listed = [(name, digest(folder / name)) for name in pixels]
    monkeypatch.setattr(files, "train_list", listed[:5])
    monkeypatch.setattr(files, "test_list", listed[5:])
    monkeypatch.setattr(files, "meta", files.meta | {"md5": digest(folder / "batches.meta")})
    return pixels


def write_stl10(root, monkeypatch):
    """Write 20 pictures of each part; returns the pixels of each part."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    rng, pixels = np.random.default_rng(0), {}
    for part in ("train", "test"):
        pixels[part] = rng.integers(0, 256, (20, 3, 96, 96), dtype=np.uint8)
        pixels[part].transpose(0, 1, 3, 2).tofile(folder / f"{part}_X.bin")  # column by column, as MATLAB does
        (np.array(LABELS, dtype=np.uint8) + 1).tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("\n".join(NAMES))
    (folder / "unlabeled_X.bin").write_bytes(b"")
    (folder / "fold_indices.txt").write_text("")
    files = torchvision.datasets.STL10
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(files, name, [[file, digest(folder / file)] for file, _ in getattr(files, name)])
    return pixels
