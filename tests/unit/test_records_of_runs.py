"""The run object of notebooks: figures, tables and metrics end in the record and beside it."""

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing
from PIL import Image

from workbench.io.project import PROJECT, find_notebook, project_root, runs_folder
from workbench.runs import start_run
from workbench.runs.record import read_record


def drawing(width: float = 2) -> Drawing:
    figure = Drawing(figsize=(width, 1))
    figure.subplots().plot([1, 2])
    return figure


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project elsewhere, with the working directory in its notebooks."""
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "{PROJECT}"\n')
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    monkeypatch.chdir(notebooks)
    return tmp_path


def test_a_run_leaves_its_record_and_figures(tmp_path):
    run = start_run("010_data", preset="smoke", run_dir=str(tmp_path), parameters={"lr": 0.1, "seed": 4})
    run.figure(drawing(), "curve", caption="A curve")
    run.metric("mae", np.float32(2.5))
    run.log(step=1, loss=math.nan)
    run.table(pd.DataFrame({"n": [1, 2], "share": [0.5, math.nan]}), "counts", caption="Counts")
    run.finish()
    record = read_record(tmp_path / "record.json")
    assert (record.name, record.kind, record.preset, record.seed) == ("010_data", "notebook", "smoke", 4)
    assert record.config == {"lr": 0.1, "seed": 4}
    assert record.metrics == {"mae": 2.5}
    assert record.history == [{"step": 1, "loss": None}]
    assert record.tables[0].columns == ["n", "share"]
    assert record.tables[0].rows == [[1, 0.5], [2, None]]
    assert (record.figures[0].file, record.figures[0].caption) == ("curve.png", "A curve")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.format == "PNG"
        assert picture.getextrema()[0] == (0, 255)  # lines on white, not an empty sheet


def test_the_same_cell_twice_leaves_one_figure(tmp_path):
    run = start_run("a", run_dir=tmp_path)
    for width in (2, 4):
        run.figure(drawing(width), "curve", caption=f"{width} inches")
        run.table(pd.DataFrame({"width": [width]}), "t")
        run.metric("width", width)
    record = run.record()
    assert [figure.caption for figure in record.figures] == ["4 inches"]
    assert [table.rows for table in record.tables] == [[[4]]]
    assert record.metrics == {"width": 4}


def test_figures_of_pyplot_are_closed(tmp_path):
    with mpl.rc_context({"backend": "agg"}):
        import matplotlib.pyplot as plt

        figure = plt.figure()
        start_run("a", run_dir=tmp_path).figure(figure, "curve")
        assert figure.number not in plt.get_fignums()


def test_a_named_index_is_a_column_and_two_headings_are_one(tmp_path):
    run = start_run("a", run_dir=tmp_path)
    run.table(pd.DataFrame({"mae": [1.0]}, index=pd.Index(["mcnn"], name="model")), "named")
    run.table(pd.DataFrame([[1.0]], columns=pd.MultiIndex.from_tuples([("test", "mae")])), "deep")
    named, deep = run.record().tables
    assert (named.columns, named.rows) == (["model", "mae"], [["mcnn", 1.0]])
    assert deep.columns == ["test mae"]


def test_an_earlier_record_is_gone_when_a_run_begins(tmp_path):
    start_run("a", run_dir=tmp_path).finish()
    start_run("a", run_dir=tmp_path)
    assert not (tmp_path / "record.json").exists()


def test_runs_land_in_the_project_wherever_the_kernel_starts(project, monkeypatch):
    expected = project / "reports" / "runs" / "020_x"
    for folder in (project / "notebooks", project):
        monkeypatch.chdir(folder)
        assert start_run("020_x").folder == expected
    assert project_root(project / "notebooks") == project


def test_a_notebook_is_found_by_path_name_or_beginning(project, monkeypatch):
    for name in ("000_quickstart", "000_quickstart_more", "010_data"):
        (project / "notebooks" / f"{name}.ipynb").touch()
    monkeypatch.chdir(project)
    path = project / "notebooks" / "010_data.ipynb"
    assert find_notebook("010") == find_notebook("010_data") == find_notebook("notebooks/010_data.ipynb") == path
    assert find_notebook("000_quickstart").stem == "000_quickstart"
    with pytest.raises(FileNotFoundError, match=r"000 names 2 notebooks.*010_data"):
        find_notebook("000")
    with pytest.raises(FileNotFoundError, match=r"030 names no notebook.*000_quickstart, "):
        find_notebook("030")


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A working directory outside every clone, and a package that was not imported from one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WORKBENCH_ROOT", "WORKBENCH_RUNS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("workbench.io.project.__file__", str(tmp_path / "site-packages" / "workbench" / "project.py"))
    return tmp_path


def test_outside_a_clone_runs_land_in_the_users_own_folder(outside):
    with pytest.raises(FileNotFoundError, match="not inside the project"):
        project_root()
    assert runs_folder() == outside / "home" / ".local" / "share" / PROJECT / "runs"
    assert start_run("a").folder == runs_folder() / "a"


def test_the_packages_own_clone_is_the_project_wherever_one_stands(tmp_path, monkeypatch):
    monkeypatch.delenv("WORKBENCH_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert project_root() == Path(__file__).parents[2]


def test_the_clone_of_the_notebook_goes_before_that_of_the_working_directory(project, outside, monkeypatch):
    monkeypatch.chdir(project)
    other = project / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text(f'[project]\nname = "{PROJECT}"\n')
    assert project_root() == project
    monkeypatch.setenv("WORKBENCH_ROOT", str(other))
    assert project_root() == other
    assert runs_folder() == other / "reports" / "runs"
    monkeypatch.setenv("WORKBENCH_RUNS", str(project / "mine"))
    assert runs_folder() == project / "mine"


def test_a_clone_that_may_not_be_written_gets_no_runs(project, outside, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr("workbench.io.project.os.access", lambda *_: False)  # root may write everywhere
    assert runs_folder() == outside / "home" / ".local" / "share" / PROJECT / "runs"


def test_a_damaged_file_on_the_way_up_is_passed_over(project, monkeypatch):
    folder = project / "notebooks" / "a"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("[[[")
    assert project_root(folder) == project


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["", "a b", "../a", ".hidden", "a.png", None])
def test_names_must_fit_files(tmp_path, name):
    with pytest.raises(ValueError, match="name is"):
        start_run(name, run_dir=tmp_path)
    with pytest.raises(ValueError, match="name is"):
        start_run("a", run_dir=tmp_path).figure(drawing(), name)


@pytest.mark.bad_input
def test_a_table_of_objects_is_refused_by_column(tmp_path):
    with pytest.raises(TypeError, match="column 'when' of table t holds a Timestamp"):
        start_run("a", run_dir=tmp_path).table(pd.DataFrame({"when": [pd.Timestamp(0)]}), "t")
