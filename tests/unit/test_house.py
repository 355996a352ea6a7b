"""The house itself: who imports whom, what an import costs, what the committed files look like."""

import ast
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.pipeline

PACKAGE = Path(__file__).parents[2] / "workbench"
# The house from the top floor down: a room may import the rooms after it. The files beside them lie below all rooms.
ROOMS = (
    *("explore", "commands", "study", "exercises", "reports", "adversarial", "sweeps", "training", "sampling"),
    *("data", "plots", "losses", "localization", "transport", "models", "runs", "io"),
)
FOUNDATION = {"points", "density", "metrics", "checks", "tensor_checks", "registry"}
STRANGERS = [("data", "models"), ("data", "losses"), ("sampling", "models"), ("sampling", "losses")]


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "workbench":
                names = [f"workbench.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("workbench."):
                yield name


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py" or path.parent != PACKAGE]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    here = room(path)
    below = ROOMS[ROOMS.index(here) + 1 :] if here in ROOMS else []
    for there in {name.split(".")[1] for name in imports(path)} - {here, "__version__"}:
        assert there in below or there in FOUNDATION, f"{here} imports {there}, which stands above it"
        assert (here, there) not in STRANGERS


def test_the_house_has_these_rooms_and_no_loose_files():
    entries = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert entries == {*ROOMS, *FOUNDATION, "__init__", "py.typed"}


def test_no_two_modules_import_each_other():
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES}
    graph = {name: [other for other in imports(path) if other in modules] for name, path in modules.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


# Names that several modules define on purpose.
TWINS = {
    "EXERCISES": "the exercises of each module, which workbench.exercises reads by this name",
    "Result": "the type variable of what a function returns",
}


def test_a_public_class_or_constant_has_one_home():
    homes = defaultdict(set)
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].add(path)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for name in (part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)):
                    homes[name.id].add(path)
    several = {name for name, paths in homes.items() if len(paths) > 1 and not name.startswith("_")}
    assert several == set(TWINS)


def test_importing_the_package_costs_next_to_nothing():
    code = "import torch, time; t = time.perf_counter(); import workbench; print(time.perf_counter() - t)"
    seconds = min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(2))
    assert seconds < 0.2


def test_importing_the_losses_does_not_import_plotting_or_the_lab():
    code = "import sys, workbench.losses, workbench.models; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not loaded & {"matplotlib", "pandas", "IPython", "papermill", "torchvision", "lightning_fabric"}


def test_what_starts_notebooks_and_sweeps_does_not_import_torch():
    code = (
        "import sys, workbench.commands.cli, workbench.sweeps.notebooks, workbench.runs.worker, workbench.sweeps.engine"
    )
    loaded = set(subprocess.check_output([sys.executable, "-c", f"{code}; print(*sys.modules)"], text=True).split())
    assert "papermill" in loaded
    assert "torch" not in loaded
