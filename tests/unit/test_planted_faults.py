"""Faults that the tests must catch: planted one by one into a copy of the package, beside the tests that must fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import workbench

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class Fault(NamedTuple):
    """A text of a file, what stands there instead, and the tests that must notice."""

    file: str
    old: str
    new: str
    tests: str


LOSSES = [
    Fault("losses/l2.py", "return (density - target).square().sum()", "return (density - target).abs().sum()", "l2"),
    Fault("losses/bayesian.py", "-squared / (2 * sigma**2)", "-squared / sigma**2", "bayesian"),
    Fault("losses/bayesian.py", "evidence = likelihood + dummy", "evidence = likelihood", "bayesian"),
    Fault("losses/dm_count.py", "(density.sum() - people).abs()", "(density.sum() - people).square()", "dm_count"),
    Fault("losses/dm_count.py", ".abs().sum() / 2", ".abs().sum()", "dm_count"),
    Fault("losses/generalized_terms.py", "(moved - given).abs().sum()", "(moved - given).sum().abs()", "generalized"),
    Fault("losses/proximal_forms.py", "count = tau / (2 * patches.cells)", "count = tau / patches.cells", "proximal"),
    Fault("losses/noise.py", "middle = alpha + beta / 2", "middle = alpha + beta", "noise"),
    Fault("losses/characteristic.py", "_smooth(t, bandwidth**2 / 2)", "_smooth(t, bandwidth**2)", "characteristic"),
    Fault("losses/zero_inflated.py", "filled - rates)", "filled + rates)", "zero_inflated"),
]
SAMPLERS = [
    Fault("sampling/zoom.py", "expit(-steepness * alpha)", "expit(steepness * alpha)", "zoom"),
    Fault("sampling/zoom.py", "np.maximum(truth, 1)", "(truth + 1)", "zoom"),
    Fault("sampling/partition.py", "(codes - least) / (most - least)", "codes / most", "partition"),
    Fault("sampling/groups.py", "length // len(kinds) + (rank", "length // len(kinds) - (rank", "sampling"),
    Fault("sampling/base.py", "if epoch != self._known_in:", "if False:", "sampling_training sampling zoom"),
]
READERS = [
    Fault("data/files/coco.py", "(corners[0] + corners[2]) / 2", "corners[0]", "folder_reader"),
    Fault("data/files/cvat.py", "(box[1] + box[3]) / 2", "box[3]", "folder_exports"),
    Fault("data/files/label_studio.py", "x + right * cos - lower * sin", "x + right", "folder_exports"),
    Fault("data/files/marks.py", "label in labels]", "label]", "folder_mistakes"),
    Fault(
        "data/files/entries.py", "torch.minimum(points.clamp(min=0),", "torch.maximum(points.clamp(min=0),", "readers"
    ),
]
SWEEPS = [
    Fault("sweeps/search.py", "study.enqueue_trial(trial.params)", "pass", "search"),
    Fault("sweeps/search.py", "TrialState.PRUNED if pruned else TrialState.FAIL", "TrialState.FAIL", "search"),
    Fault("sweeps/cell.py", '"result" if status.completed else "failed"', '"result"', "search"),
    Fault("sweeps/plan.py", "json.dumps([identity, code], sort_keys=True)", "json.dumps([code])", "sweep_plan"),
    Fault("sweeps/grid.py", "if first & second:", "if False:", "sweep_plan"),
]
FAULTS = [*LOSSES, *SAMPLERS, *READERS, *SWEEPS]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package, in which one fault at a time is planted."""
    copy = tmp_path_factory.mktemp("planted") / "workbench"
    shutil.copytree(Path(workbench.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def outcome(package: Path, names: str) -> int:
    """What pytest ends with on the tests of these names: 0 where all pass, 1 where some fail."""
    files = [str(ROOT / "tests" / "unit" / f"test_{name}.py") for name in names.split()]
    command = [sys.executable, "-P", "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    chosen = os.environ | {"PYTHONPATH": str(package.parent)}
    done = subprocess.run(
        [*command, "-m", "not slow"], cwd=ROOT, env=chosen, capture_output=True, text=True, check=False
    )
    print(done.stdout[-2000:])
    return done.returncode


@pytest.mark.parametrize("names", sorted({fault.tests for fault in FAULTS}))
def test_the_tests_pass_without_a_fault(package, names):
    assert outcome(package, names) == 0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file}: {fault.new}")
def test_a_fault_is_caught(package, fault):
    path = package / fault.file
    whole = path.read_text()
    assert fault.old in whole, "the text is not there any more: plant the fault where it is now"
    path.write_text(whole.replace(fault.old, fault.new, 1))
    try:
        assert outcome(package, fault.tests) == 1
    finally:
        path.write_text(whole)
