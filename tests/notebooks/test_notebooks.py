"""Every notebook keeps to notebooks/README.md and runs from beginning to end at its smoke preset."""

import re
from pathlib import Path

import nbformat
import pytest
from papermill.inspection import inspect_notebook

from workbench.runs.parameters import read_parameters
from workbench.runs.record import read_record
from workbench.sweeps.notebooks import run_notebook

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXACT = "# NBVAL_CHECK_OUTPUT"

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
