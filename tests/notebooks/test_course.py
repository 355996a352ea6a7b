"""The dashboards of the explorers as notebooks: papermill, nbval, and a picture where no kernel runs."""

from pathlib import Path

import nbformat
import papermill
import pytest
from small_notebooks import check_by_nbval

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "notebooks" / "course").glob("*.ipynb"))


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("pyproject.toml", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].source.startswith("# ")
    assert all(cell.outputs == [] for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.notebook
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem == "transport" else pytest.mark.slow) for path in DASHBOARDS],
    ids=lambda path: path.stem,
)
def test_an_executed_dashboard_shows_widgets_and_a_picture(path, project):
    executed = project / "notebooks" / path.name
    papermill.execute_notebook(path, executed, progress_bar=False)
    outputs = nbformat.read(executed, as_version=4).cells[-1].outputs
    (shown,) = [output.data for output in outputs if output.output_type == "execute_result"]
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert shown["image/png"].startswith("iVBORw0KGgo")


@pytest.mark.slow
@pytest.mark.notebook
def test_nbval_lax(project):
    path = project / "notebooks" / "transport.ipynb"
    path.write_bytes((ROOT / "notebooks" / "course" / "transport.ipynb").read_bytes())
    check_by_nbval(path, project)
