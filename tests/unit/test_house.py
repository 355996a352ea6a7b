"""The house itself: who imports whom, what an import costs, what the committed files look like."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.pipeline

PACKAGE = Path(__file__).parents[2] / "workbench"
# Imports run downwards only: a room may import rooms of a lower floor, and its own.
FLOORS = [
    {"checks", "tensor_checks", "registry", "files", "project", "published", "source"},
    {"points"},
    {"density"},
    {"transport", "noise"},
    {"metrics"},
    {"plots", "plots_adversarial", "plots_hmode", "plots_locality", "plots_proximal", "plots_transport"},
    {"losses", "models", "data", "localization", "matching"},
    {"sampling", "adversarial", "noisy", "localization_files"},
    {"evaluation", "descent", "experts", "localization_scores", "objectives"},
    {"training", "records"},
    {"predict", "plots_localization", "epoch_timing"},
    {"configuration", "runs"},
    {"adversarial_experiment", "experiment"},
    {"benchmark", "comparison", "localize", "strategies", "variants", "notebook_parameters", "notebook_status"},
    {"notebook_worker"},
    {"notebooks"},
    {"exercises", "explore", "sweeps"},
    {"reports"},
    {"commands"},
    {"cli"},
]
STRANGERS = [("models", "losses"), ("data", "models"), ("data", "losses"), ("sampling", "models"), ("losses", "models")]


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
                yield name.split(".")[1]


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py" or path.parent != PACKAGE]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    here = room(path)
    for there in set(imports(path)) - {here, "__version__"}:
        assert floor[there] <= floor[here], f"{here} imports {there}, which stands above it"
        assert (here, there) not in STRANGERS


def test_importing_the_package_costs_next_to_nothing():
    code = "import torch, time; t = time.perf_counter(); import workbench; print(time.perf_counter() - t)"
    seconds = min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(2))
    assert seconds < 0.2


def test_importing_the_losses_does_not_import_plotting_or_the_lab():
    code = "import sys, workbench.losses, workbench.models; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not loaded & {"matplotlib", "pandas", "IPython", "papermill", "torchvision", "lightning_fabric"}


def test_what_starts_notebooks_and_sweeps_does_not_import_torch():
    code = "import sys, workbench.cli, workbench.notebooks, workbench.notebook_worker, workbench.sweeps.engine"
    loaded = set(subprocess.check_output([sys.executable, "-c", f"{code}; print(*sys.modules)"], text=True).split())
    assert "papermill" in loaded
    assert "torch" not in loaded
