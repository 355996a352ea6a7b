"""A loss, a model, a sampler and a data set of somebody's own, in a file outside the package."""

import os
import subprocess
import sys

import pytest
import torch

from workbench.losses import LOSSES, CrowdLoss, build_loss, register_loss
from workbench.registry import build, names, register

MINE = """
import torch
from torch import nn
from workbench.data import CrowdDataset, CrowdSample, register_dataset
from workbench.losses import LOSSES, CrowdLoss, register_loss
from workbench.models import CountingModel, register_model
from workbench.sampling import register_sampler
from workbench.sampling.batches import RandomBatches


class Huber(CrowdLoss):
    def __init__(self, *, stride=8, convention="paper", delta=1.0):
        super().__init__(stride=stride, convention=convention)
        self.delta = delta

    def image_terms(self, density, points, weights):
        return {"huber": nn.functional.huber_loss(density.sum(), weights.sum(), delta=self.delta)}


class Tiny(CountingModel):
    def __init__(self):
        super().__init__(stride=8, activation="abs")
        self.head = nn.Conv2d(3, 1, 8, stride=8)

    def features_to_map(self, images):
        return self.head(images)


class Blank(CrowdDataset):
    def __init__(self, *, split="train", images=3):
        super().__init__()
        self.images = images

    def __len__(self):
        return self.images

    def __getitem__(self, index):
        return CrowdSample(torch.zeros(3, 16, 16), torch.tensor([[4.0, 4.0]]), str(index))


register_loss("huber", Huber)
register_model("tiny", Tiny)
register_dataset("blank", Blank)
register_sampler("mine", RandomBatches)
"""
USE = """
import torch
from workbench.data import open_dataset
from workbench.losses import build_loss
from workbench.models import build_model
from workbench.sampling import build_sampler

data = open_dataset("blank", images=2)
model, loss = build_model("tiny"), build_loss("huber", delta=2.0)
print(len(data), model.stride, loss)
for batch in build_sampler("mine", samples=2, batch_size=2):
    value = loss(model(torch.stack([data[k].image for k in batch])), [data[k].points for k in batch])
    value.backward()
    print(bool(value.isfinite()), model.head.weight.grad is not None)
for build, name in ((build_loss, "hubert"), (build_model, "tinny"), (open_dataset, "blanc")):
    try:
        build(name)
    except ValueError as error:
        print(error)
"""


def run(code, **environment):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("way", ["imported", "WORKBENCH_EXTENSIONS"])
def test_a_file_outside_the_package(way, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    if way == "imported":
        printed = run(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import mine\n{USE}")
    else:
        printed = run(USE, WORKBENCH_EXTENSIONS=str(tmp_path / "mine.py"))
    lines = printed.splitlines()
    assert lines[0] == "2 8 Huber(stride=8, convention='paper', delta=2.0)"
    assert lines[1] == "True True"
    assert lines[2] == f"unknown loss 'hubert', expected one of {', '.join(sorted([*LOSSES, 'huber']))}"
    assert lines[3].startswith("unknown model 'tinny', expected one of")
    assert "tiny" in lines[3]
    assert lines[4].startswith("unknown dataset 'blanc', expected one of blank, ")


def test_an_extension_is_imported_once_and_named_if_it_is_not_there(tmp_path, monkeypatch):
    first, second = tmp_path / "counted_extension.py", tmp_path / "no_such_extension.py"
    first.write_text("import os\nos.environ['COUNTED'] = os.environ.get('COUNTED', '') + '*'\n")
    monkeypatch.setenv("COUNTED", "")
    monkeypatch.setenv("WORKBENCH_EXTENSIONS", str(first))
    assert names({"b": "m:b", "a": "m:a"}) == names({"b": "m:b", "a": "m:a"}) == ["a", "b"]
    assert os.environ["COUNTED"] == "*"
    monkeypatch.setenv("WORKBENCH_EXTENSIONS", str(second))
    with pytest.raises(FileNotFoundError, match=r"WORKBENCH_EXTENSIONS names .*no_such_extension\.py"):
        build_loss("unheard of")
    monkeypatch.delitem(sys.modules, "counted_extension")


def test_registering_by_reference_twice_and_over_another():
    table = {"l2": "workbench.losses.l2:L2Loss"}
    register(table, "again", "workbench.losses.l2:L2Loss", "loss")
    assert type(build(table, "again", "loss", sigma=4.0)).__name__ == "L2Loss"

    class Mine(CrowdLoss):
        def image_terms(self, density, points, weights):
            return {"sum": density.sum()}

    for _ in range(2):  # as where a notebook's cell is run again
        register(table, "mine", Mine, "loss")
    assert build(table, "mine", "loss")(torch.ones(1, 1, 2, 2), [torch.zeros(0, 2)]) == 4


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "builder", "error", "message"),
    [
        (
            "l2",
            "mine:Loss",
            ValueError,
            "loss 'l2' is already workbench.losses.l2:L2Loss, expected a name that is free",
        ),
        ("mine", "mine", TypeError, "loss is 'mine', expected a class, a function or 'module:attribute'"),
        ("mine", 3, TypeError, "loss is 3"),
    ],
)
def test_what_cannot_be_registered(name, builder, error, message):
    with pytest.raises(error, match=message):
        register_loss(name, builder)
