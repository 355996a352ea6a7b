"""Every notebook keeps to notebooks/README.md and runs from beginning to end at its smoke preset."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from papermill.inspection import inspect_notebook
from PIL import Image

from workbench.runs.parameters import read_parameters
from workbench.runs.record import read_record
from workbench.sweeps.notebooks import run_notebook

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXACT = "# NBVAL_CHECK_OUTPUT"

METHODS = ("110", "120", "200", "210", "300", "400", "410")
"""Notebooks that compute their method beside its equation and hold the package against it."""

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def texts(cell) -> list[str]:
    """The text of a cell's outputs; an output that is not text alone is refused."""
    found = []
    for output in cell.outputs:
        if output.output_type == "stream":
            assert output.name == "stdout"
            found.append(output.text)
        else:
            assert output.output_type == "execute_result"
            found.append(output.data["text/plain"])
    return found


def test_there_are_notebooks():
    assert (ROOT / "notebooks" / "000_quickstart.ipynb") in NOTEBOOKS


def test_the_start_page_links_every_notebook():
    page = (ROOT / "notebooks" / "README.md").read_text()
    linked = set(re.findall(r"\(([\w/]+\.ipynb)\)", page))
    explorers = sorted((ROOT / "notebooks" / "course").glob("*.ipynb"))
    assert linked == {path.relative_to(ROOT / "notebooks").as_posix() for path in [*NOTEBOOKS, *explorers]}


@each
def test_form(path):
    assert re.fullmatch(r"\d{3}_[a-z0-9_]+", path.stem)
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem[:3] in METHODS], ids=lambda path: path.stem)
def test_the_method_is_computed_and_compared(path):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert any(re.search(r"^\s*assert ", source, re.MULTILINE) for source in cells)


@each
def test_parameters(path):
    parameters = read_parameters(path)
    assert (parameters["preset"].type, parameters["run_dir"].type) == ("str", "str")
    assert parameters["run_dir"].default == ""
    assert parameters["preset"].default in ("smoke", "default", "paper")
    # Whoever uses papermill itself finds the same ones, each with its comment.
    seen = inspect_notebook(path)
    assert list(seen) == list(parameters)
    assert all(parameter["help"] for parameter in seen.values())


@each
def test_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        if cell.source.startswith(EXACT):
            assert texts(cell)
            assert cell.execution_count  # nbval takes an output without one for a mistake
        else:
            assert cell.outputs == []
        assert not {"execution", "papermill", "ExecuteTime"} & set(cell.metadata)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The project with nothing in its reports: whatever a notebook keeps between runs, it has to make here."""
    for name in ("pyproject.toml", "notebooks", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Of six pictures one is a test image. Groups of patches that share a bin need more of them.
PICTURES = {"200_partition": 12}


@pytest.mark.slow
@each
def test_pictures_of_ones_own(path, project):
    known = read_parameters(path)
    if "dataset" not in known or known["dataset"].default != "scenes":
        pytest.skip("it opens no crowd pictures")
    rng = np.random.default_rng(0)
    (project / "mine").mkdir()
    for index in range(PICTURES.get(path.stem, 6)):
        file = project / "mine" / f"im_{index}.png"
        Image.fromarray(rng.integers(0, 256, (80, 96, 3), dtype=np.uint8)).save(file)
        rows = rng.uniform(2, 78, (rng.integers(1, 10), 2))
        file.with_suffix(".csv").write_text("x,y\n" + "".join(f"{x:.1f},{y:.1f}\n" for x, y in rows))
    own = {"dataset": "folder", "root": str(project / "mine")}
    status = run_notebook(path, project / "run", own, preset="smoke", timeout=600)
    assert status.completed, f"{status.error.message}\n{status.error.traceback}"


@pytest.mark.notebook
@each
def test_smoke(path, project):
    folder = project / "reports" / "runs" / path.stem
    status = run_notebook(path, folder, preset="smoke", timeout=600, threads=1)  # beside other tests
    assert status.completed, f"{status.error.message}\n{status.error.traceback}"
    record = read_record(folder / "record.json")
    assert (record.name, record.preset, record.kind) == (path.stem, "smoke", "notebook")
    assert set(record.config) >= set(read_parameters(path)) - {"preset", "run_dir"}
    assert record.figures or record.tables or record.metrics
    for figure in record.figures:
        assert (folder / figure.file).is_file()
        assert figure.caption
    executed = {cell.id: cell for cell in nbformat.read(folder / path.name, as_version=4).cells}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and cell.source.startswith(EXACT):
            assert texts(executed[cell.id]) == texts(cell)
