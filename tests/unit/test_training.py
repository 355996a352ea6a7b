import errno
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest
import torch
from layouts_sets import write_nwpu_crowd

from workbench.data import open_dataset
from workbench.data.patches import TrainingPatches
from workbench.data.sample import Draw, collate
from workbench.io.lock import FolderInUseError, own_folder
from workbench.losses import CrowdLoss, build_loss
from workbench.models import build_model
from workbench.models.state_files import read_state, write_state
from workbench.sampling import build_sampler
from workbench.study.launches import Launches
from workbench.training.checkpoint import random_state, restore_random_state
from workbench.training.config import patch_size
from workbench.training.evaluation import evaluate, scores
from workbench.training.experiment import build_config, run_experiment
from workbench.training.loop import (
    build_optimizer,
    build_schedule,
    fit,
    mean_density,
)
from workbench.training.scoring import score_images

pytestmark = pytest.mark.pipeline

CONFIG = {
    "dataset_options": {"preset": "small", "length": 12, "validation": 0.25},
    "model": "mcnn",
    "model_options": {"width": 0.25, "norm": "batch"},
    "crop": 64,
    "batch_size": 4,
    "epochs": 3,
    "accelerator": "cpu",
    "checkpoint_steps": 1,
}


class Stop(Exception):
    """Somebody pulls the plug."""


def train(folder, *, stop_at=None, **changes):
    """Run to the end, or until ``stop_at`` steps have been made; gives the weights that were chosen."""
    made = 0

    def on_step(step):
        nonlocal made
        made += 1
        if made == stop_at:
            raise Stop

    record = run_experiment(build_config(**(CONFIG | changes)), folder, on_step=on_step)
    return record, torch.load(folder / "weights.pt", weights_only=True)["model"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("stop_at", [1, 3, 5, 7])
def test_a_stopped_run_ends_as_one_that_was_not(undisturbed, tmp_path, stop_at):
    with pytest.raises(Stop):
        train(tmp_path, stop_at=stop_at)
    assert (tmp_path / "checkpoint.pt").exists() == (stop_at > 1)  # on_step comes before the step's checkpoint
    record, weights = train(tmp_path)
    assert same(weights, undisturbed[1])
    assert record.metrics == undisturbed[0].metrics
    assert record.history == undisturbed[0].history


def test_a_run_stopped_many_times(undisturbed, tmp_path):
    for _ in range(4):
        with pytest.raises(Stop):
            train(tmp_path, stop_at=2)
    assert same(train(tmp_path)[1], undisturbed[1])


def test_loading_in_worker_processes_changes_nothing(undisturbed, tmp_path):
    record, weights = train(tmp_path, workers=2)
    assert same(weights, undisturbed[1])
    assert record.history == undisturbed[0].history


def test_another_seed_gives_another_run(undisturbed, tmp_path):
    assert not same(train(tmp_path, seed=1)[1], undisturbed[1])


def test_a_finished_run_is_not_run_again(undisturbed, tmp_path):
    train(tmp_path)
    again, _ = train(tmp_path, stop_at=1)
    assert again.metrics == undisturbed[0].metrics


def test_kill_9(undisturbed, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    folder = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "workbench.commands.cli", "train"),
        *("--config", str(tmp_path / "config.json"), "--out", str(folder)),
    ]
    # one thread here as there, else sums may differ in their last bit
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint.pt").exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (folder / "record.json").exists()
    assert same(train(folder)[1], undisturbed[1])
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["config.json", "record.json", "weights.pt"]


def pieces(**options):
    data = open_dataset("scenes", preset="small", length=8)
    patches = TrainingPatches(data, 64)
    torch.manual_seed(0)
    model = build_model("mcnn", width=0.25, norm=options.pop("norm", "none"))
    model.calibrate(mean_density(patches, model.stride))
    optimizer = build_optimizer(model, "adam", learning_rate=options.pop("learning_rate", 1e-3))
    return {
        "model": model,
        "loss": build_loss("l2", stride=model.stride),
        "patches": patches,
        "sampler": build_sampler("random", samples=len(patches), batch_size=4),
        "optimizer": optimizer,
        "schedule": build_schedule(optimizer, "constant", epochs=2),
        "epochs": 2,
        "validate": lambda network: scores(evaluate(network, data)),
    } | options


def test_training_learns_and_keeps_the_best_weights():
    torch.manual_seed(0)
    parts = pieces(epochs=15, learning_rate=3e-3, norm="batch")
    before = scores(evaluate(parts["model"], parts["patches"].dataset))["mae"]
    history = fit(**parts)
    best = min(row["val_mae"] for row in history)
    assert best < 0.8 * before
    assert scores(evaluate(parts["model"], parts["patches"].dataset))["mae"] == pytest.approx(best, abs=1e-4)


def test_schedules():
    optimizer = build_optimizer(torch.nn.Linear(1, 1), "sgd", learning_rate=1.0)
    schedule = build_schedule(optimizer, "exponential", epochs=11)
    rates = []
    for _ in range(11):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1] * 5 + [0.95] * 5 + [0.95**2])


def test_random_state_goes_round():
    import random

    import numpy as np

    state = random_state()
    first = random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    restore_random_state(state)
    assert first == (random.random(), np.random.rand(), torch.rand(1))  # noqa: NPY002


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_checkpoint(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    fit(**pieces(epochs=1, checkpoint=checkpoint))
    before = checkpoint.read_bytes()
    with pytest.raises(RuntimeError, match=r"the loss became .* at epoch 2, step"):
        fit(**pieces(epochs=2, checkpoint=checkpoint, loss=Poisoned(stride=4)))
    assert checkpoint.read_bytes() == before


class Poisoned(CrowdLoss):
    def image_terms(self, density, points, weights):
        return {"pixel": density.sum() * float("nan")}


@pytest.mark.bad_input
def test_a_checkpoint_of_another_run_or_model_is_refused(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    fit(**pieces(epochs=1, checkpoint=checkpoint, identity="one"))
    with pytest.raises(ValueError, match="belongs to another run"):
        fit(**pieces(checkpoint=checkpoint, identity="other"))
    state = torch.load(checkpoint, weights_only=True)
    del state["sha256"]
    write_state(checkpoint, state | {"model": build_model("mcnn", width=0.5).state_dict()})
    with pytest.raises(ValueError, match=r"is another model's: .* another shape"):
        fit(**pieces(checkpoint=checkpoint, identity="one"))
    torch.save({"model": {}}, checkpoint)
    with pytest.raises(ValueError, match="is not a checkpoint of a training run"):
        fit(**pieces(checkpoint=checkpoint))
    checkpoint.write_bytes(b"half a file")
    with pytest.raises(ValueError, match="cannot be read"):
        fit(**pieces(checkpoint=checkpoint))


@pytest.mark.bad_input
def test_a_full_disk_is_one_error_and_the_old_checkpoint_stays(tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint.pt"
    fit(**pieces(epochs=1, checkpoint=checkpoint))
    before = checkpoint.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"cannot write .*checkpoint\.pt: No space left on device"):
        fit(**pieces(checkpoint=checkpoint))
    assert checkpoint.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epohs": 3}, "unknown key 'epohs', expected one of dataset,"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"loss_options": {"blur": 1}}, "loss 'l2' has no option 'blur'"),
        ({"model": "unet"}, "unknown model 'unet'"),
        ({"dataset": "crowd"}, "unknown dataset 'crowd'"),
        ({"sampler": "lucky"}, "unknown sampler 'lucky'"),
        ({"sampler": "la_batch", "per_image": 4, "batch_size": 20}, "batch_size is 20 with 6 groups of 3 bins"),
        ({"sampler": "la_batch", "per_image": 4, "batch_size": 24, "sampler_options": {"share": 2}}, "share is 2"),
        ({"sampler": "lada"}, "needs the same patches in every epoch, found TrainingPatches"),
        ({"loss_options": {"stride": 4}}, "loss_options.stride found, .* it is set by model"),
        ({"sampler_options": {"seed": 1}}, "sampler_options.seed found, .* it is set by seed"),
        ({"dataset_options": {"split": "val"}}, "dataset_options.split found, .* it is set by the training"),
        ({"model_options": {"name": "mcnn"}}, "model_options.name found, .* it is set by model"),
        ({"loss_options": {1: 2}}, "loss_options is .* valid string"),
        ({"learning_rate": 1e30}, "learning_rate is 1e"),
        ({"clip_norm": float("inf")}, "clip_norm is inf"),
        ({"seed": 2**40}, "seed is 1099511627776"),
        ({"evaluate_on": "val"}, "images of 'val' choose the weights.*dataset_options.evaluate_on=val"),
        ({"weights": "none.pt"}, "no file none.pt"),
    ],
)
def test_bad_configurations_are_named_before_anything_is_read(tmp_path, monkeypatch, options, message):
    monkeypatch.setattr("workbench.training.experiment.open_split", None)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run_experiment(build_config(**(CONFIG | options)), tmp_path / "run")
    assert not (tmp_path / "run" / "record.json").exists()


@pytest.mark.bad_input
def test_a_folder_of_another_run_is_refused(tmp_path):
    with pytest.raises(Stop):
        train(tmp_path, stop_at=1)
    with pytest.raises(
        ValueError, match="another configuration: batch_size is 4 there and 6 here; seed is 0 there and 5 h"
    ):
        train(tmp_path, seed=5, batch_size=6)


def test_resume_ignores_what_cannot_change_the_result(undisturbed, tmp_path):
    with pytest.raises(Stop):
        train(tmp_path, stop_at=3)
    changes = {"checkpoint_steps": 2, "workers": 1, "accelerator": "auto"}
    record, weights = train(tmp_path, **(changes if not torch.cuda.is_available() else {"checkpoint_steps": 2}))
    assert same(weights, undisturbed[1])
    assert record.history == undisturbed[0].history


def test_a_relative_root_is_the_absolute_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = build_config(root="set", devices=2, strategy="ddp"), build_config(root=str(tmp_path / "set"))
    assert one.identity == other.identity
    assert one.differences(build_config(root="set2"))[0].startswith("root is ")
    assert one.differences(build_config(root="set", precision="bf16-mixed")) == [
        "precision is '32-true' there and 'bf16-mixed' here"
    ]


@pytest.mark.bad_input
@pytest.mark.parametrize("content", ["{", "[1]", '{"epochs": 0}', '{"1": 2}'])
def test_a_damaged_configuration_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json is not the configuration of a run"):
        train(tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "field", [{"step": 99}, {"epoch": 7}, {"history": []}, {"seconds": float("nan")}, {"images": -1}, {"best": None}]
)
def test_fields_that_fit_no_run_are_refused(tmp_path, field):
    checkpoint = tmp_path / "checkpoint.pt"
    fit(**pieces(epochs=1, checkpoint=checkpoint))
    write_state(checkpoint, read_state(checkpoint) | field)
    with pytest.raises(ValueError, match=f"is damaged: its {next(iter(field))}.* fits no run of 2 epochs"):
        fit(**pieces(checkpoint=checkpoint))


@pytest.mark.bad_input
def test_a_folder_has_one_owner(tmp_path):
    with own_folder(tmp_path), pytest.raises(FolderInUseError, match="is in use by process"):
        train(tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_the_other_processes_of_a_run_do_not_ask_for_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.training.experiment.is_first_process", lambda: False)
    with own_folder(tmp_path):
        record, _ = train(tmp_path, epochs=1)
    assert len(record.history) == 1


@pytest.mark.parametrize(
    ("dataset", "sides", "crop", "size"),
    [
        ("scenes", (300, 400), None, (128, 128)),
        ("scenes", (64, 96), None, (96, 96)),
        ("folder", (300, 400), None, (256, 256)),
        ("folder", (60, 90), None, (96, 96)),
        ("folder", (300, 400), 64, (64, 64)),
        ("folder", (300, 400), (64, 96), (64, 96)),
    ],
)
def test_patches_without_a_crop_fit_the_images(dataset, sides, crop, size):
    class Images:
        def __len__(self):
            return 1

        def size_of(self, index):
            return sides

    assert patch_size(Images(), build_config(dataset=dataset, crop=crop)) == size


def test_no_scored_image_chooses_the_weights(tmp_path, monkeypatch):
    """NWPU-Crowd, whose test images have no labels: the official validation images are scored."""
    written = write_nwpu_crowd(tmp_path / "nwpu")
    seen = []

    def listening(function):
        def listened(model, images, **options):
            seen.append(set(images.names))
            return function(model, images, **options)

        return listened

    for function in (evaluate, score_images):
        monkeypatch.setattr(f"workbench.training.experiment.{function.__name__}", listening(function))
    settings = {"dataset": "nwpu_crowd", "root": str(tmp_path / "nwpu"), "model": "mcnn", "accelerator": "cpu"}
    settings |= {"model_options": {"width": 0.125}, "crop": 64, "epochs": 2}
    with pytest.raises(ValueError, match=r"dataset_options\.evaluate_on=val"):
        run_experiment(build_config(**settings), tmp_path / "without labels")
    options = {"evaluate_on": "val", "validation": 0.4}
    record = run_experiment(build_config(**settings, dataset_options=options), tmp_path / "run")
    *chosen_by, scored = seen
    assert scored == set(written["val"]) == {row[0] for row in record.tables[0].rows}
    assert len(chosen_by) == 2
    for names in chosen_by:
        assert names
        assert names < set(written["train"])


class Ready:
    """Patches that are there already: reading them waits for nothing."""

    def __init__(self, patches):
        self.patches, self.shown = patches, {}

    def __getitem__(self, draw):
        if draw.index not in self.shown:
            self.shown[draw.index] = self.patches[draw]
        return self.shown[draw.index]


def waits(**changes):
    """The waits for a device in each step after the first epoch, from one call of ``on_step`` to the next."""
    given, seen = pieces(epochs=3, **changes), []
    given["patches"] = Ready(given["patches"])
    given["optimizer"] = build_optimizer(given["model"], "sgd", learning_rate=1e-5)  # Adam's counters are on the host
    given["schedule"] = build_schedule(given["optimizer"], "constant", epochs=3)
    with Launches() as count:
        fit(**given, on_step=lambda step: seen.append((step.epoch, count.waits)))
    return [after - before for (former, before), (epoch, after) in pairwise(seen) if epoch == former > 1]


def test_a_step_waits_for_the_device_at_most_twice():
    assert waits() == [2, 2]  # the check of the values, and what the history needs
    assert max(waits(clip_norm=1.0)) <= 3  # and whether the gradient is finite
    assert waits(read_every=1000) == [0, 0]


def test_losses_that_are_read_seldom_are_the_same(tmp_path):
    every = fit(**pieces(epochs=2))
    seldom = fit(**pieces(epochs=2, read_every=2, checkpoint=tmp_path / "checkpoint.pt", checkpoint_steps=1))
    for one, other in zip(every, seldom, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    with pytest.raises(RuntimeError, match=r"the loss became .* at epoch 1, step 1:"):
        fit(**pieces(epochs=1, read_every=2, loss=Poisoned(stride=4)))


def test_a_compiled_model_trains_as_it_is(monkeypatch):
    used, plain = [], torch.nn.Module.compile

    def compiled(model, **options):
        used.append(options)
        plain(model, **options)

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    one, other = fit(**pieces(epochs=1)), fit(**pieces(epochs=1, compiler="eager"))
    assert used == [{"backend": "eager"}]
    assert other[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-5)
    assert other[0]["val_mae"] == pytest.approx(one[0]["val_mae"], rel=1e-4)


def test_a_batch_for_another_device_is_the_same():
    samples = [Ready(pieces()["patches"])[Draw(k, k)] for k in range(3)]
    batch = collate(samples)
    assert batch.to("cpu") is batch
    moved = batch.to("meta")
    assert [tuple(points.shape) for points in moved.points] == [tuple(points.shape) for points in batch.points]
    assert moved.images.is_meta
