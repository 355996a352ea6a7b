"""The wheel, as somebody installs it who wants only a loss: no extra, no clone."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from workbench.study.recipes import RECIPES

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
CARRIED = ("data/published/", "notebooks/sweeps/reference/")
"""What links in the package lead to."""
# Only what the core asks for can be imported; everything else of this environment is hidden.
HIDE = """
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {names} else self.finder.find_spec(name, path, target)
sys.meta_path = [Hiding(finder) for finder in sys.meta_path]
"""
EVERY_LOSS = """
import torch, time
begin = time.perf_counter()
from workbench.losses import LOSSES, build_loss, relative_local_counting
for name in LOSSES:
    density = torch.rand(1, 1, 8, 8, requires_grad=True)
    build_loss(name)(density, [torch.tensor([[10.0, 20.0], [40.0, 50.0]])]).backward()
    assert torch.isfinite(density.grad).all()
print(time.perf_counter() - begin)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    files = subprocess.check_output(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT)
    for name in files.decode().split("\0")[:-1]:
        if name.startswith(("workbench/", *CARRIED)) or name in ("pyproject.toml", "README.md", "LICENSE"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_symlink():
                (source / name).symlink_to(os.readlink(ROOT / name))
            elif (ROOT / name).is_file():
                (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run([str(part) for part in command], check=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(wheel, code, tmp_path):
    core = {"torch", "numpy", "scipy", "jaxtyping", "workbench"}
    modules = json.loads(
        subprocess.check_output(
            [sys.executable, "-c", "import json; from workbench.io.extras import EXTRAS; print(json.dumps(EXTRAS))"]
        )
    )
    hidden = {name for names in modules.values() for name in names} - core
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    done = subprocess.run(
        [sys.executable, "-c", HIDE.format(names=hidden) + code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_loss_works_without_an_extra(wheel, tmp_path):
    assert float(run(wheel, EVERY_LOSS, tmp_path).split()[-1]) < 10  # the time itself is measured by a benchmark


def test_a_room_that_needs_an_extra_names_it(wheel, tmp_path):
    rooms = {"data": "data", "training": "train", "commands": "train", "sweeps": "sweeps", "explore": "lab"}
    code = "\n".join(
        f"try:\n    import workbench.{room}\nexcept ModuleNotFoundError as error:\n    print(error)\n" for room in rooms
    )
    lines = run(wheel, code, tmp_path).splitlines()
    assert len(lines) == len(rooms)
    for line, extra in zip(lines, rooms.values(), strict=True):
        assert f"[{extra}]" in line


def test_it_carries_the_published_tables_and_reads_them_outside_a_clone(wheel, tmp_path):
    assert {path.name for path in (wheel / "workbench" / "reports" / "papers").iterdir()} >= {
        "claims.yaml",
        "generalized_loss.csv",
        "readings.yaml",
    }
    code = "from workbench.reports.published import read_published; print(len(read_published('generalized_loss')))"
    done = subprocess.check_output(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(wheel)}, text=True
    )
    assert int(done) > 50


def test_it_carries_the_reference_sweeps_that_the_recipes_are_read_from(wheel, tmp_path):
    code = "from workbench.study.recipes import network_config; print(network_config('GL', seed=0).loss_options)"
    done = subprocess.check_output(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(wheel)}, text=True
    )
    assert str(RECIPES["GL"]["loss_options"]) in done


def test_it_says_one_version(wheel):
    from workbench import __version__

    (folder,) = wheel.glob("*.dist-info")
    assert f"\nVersion: {__version__}\n" in (folder / "METADATA").read_text()
