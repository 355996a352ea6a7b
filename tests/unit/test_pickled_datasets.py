"""Every data set of the registry goes to worker processes that are spawned or forkserved: it can be pickled."""

import pickle

import numpy as np
import pytest
import torch
from layouts import write_picture, write_shanghaitech
from layouts_pictures import write_cifar10, write_stl10
from layouts_sets import WRITERS, painted
from torch.utils.data import DataLoader

from workbench.data import DATASETS, collate, open_dataset
from workbench.data.noise import NoisyAnnotations
from workbench.data.patches import ImagePatches, TrainingPatches

BUILT_IN = ("digits", "scenes")
OPTIONS = {"resize": "longest:96,multiple:16,none,shortest:32-512,exact:64x96"}


def write_folder(root):
    for number in range(5):
        points = np.array([[9.5, 9.5 + number]])
        write_picture(root / f"{number}.jpg", painted((40, 60), points))
        (root / f"{number}.csv").write_text(f"x,y\n9.5,{9.5 + number}\n")


def opened(name, root, monkeypatch, split="train"):
    """The data set of this name, on a small copy of its layout, with every option that it has to keep in mind."""
    if name in BUILT_IN:
        return open_dataset(name, split=split)
    if name in ("cifar10", "stl10"):
        (write_cifar10 if name == "cifar10" else write_stl10)(root, monkeypatch)
        return open_dataset(name, root, split)
    if name.startswith("shanghaitech_") and name not in WRITERS:
        write_shanghaitech(root, name[-1].upper())
    else:
        WRITERS.get(name, write_folder)(root)
    return open_dataset(name, root, split, prepared=root.parent / "prepared", **OPTIONS)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_pickled_data_set_gives_the_same_samples(name, tmp_path, monkeypatch):
    data = opened(name, tmp_path / "set", monkeypatch)
    again = pickle.loads(pickle.dumps(data))
    assert len(again) == len(data) > 0
    for before, after in ((data[0], again[0]), (again[len(data) - 1], data[len(data) - 1])):
        assert torch.equal(before.image, after.image)
        if hasattr(before, "points"):
            assert before.name == after.name
            assert torch.equal(before.points, after.points)
        else:
            assert before.label == after.label


def test_patches_and_noise_over_a_data_set_too(tmp_path, monkeypatch):
    data = opened("shanghaitech_a", tmp_path / "set", monkeypatch)
    for wrapped in (
        TrainingPatches(data, 48),
        ImagePatches(data, (48, 48)),
        TrainingPatches(NoisyAnnotations(data, "uniform", amount=0.1), 48),
    ):
        again = pickle.loads(pickle.dumps(wrapped))
        assert torch.equal(again[1].image, wrapped[1].image)
        assert torch.equal(again[1].points, wrapped[1].points)


@pytest.mark.slow
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_workers_that_are_started_anew_give_the_same_batches(context, tmp_path, monkeypatch):
    patches = TrainingPatches(opened("ucf_qnrf", tmp_path / "set", monkeypatch), 48)
    alone = list(DataLoader(patches, batch_size=2, collate_fn=collate))
    shared = DataLoader(patches, batch_size=2, collate_fn=collate, num_workers=2, multiprocessing_context=context)
    for before, after in zip(alone, shared, strict=True):
        assert before.names == after.names
        assert torch.equal(before.images, after.images)
