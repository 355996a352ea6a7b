"""The runner says truthfully how each notebook ended, whatever became of its kernel."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from small_notebooks import write_notebook

from workbench.io.lock import FolderInUseError
from workbench.runs import start_run
from workbench.runs.record import read_record
from workbench.runs.status import Status, read_status
from workbench.sweeps.notebooks import run_notebook, run_notebooks

GOOD = """\
import os
from workbench.runs import start_run
run = start_run("good", preset=preset, run_dir=run_dir, parameters={"lr": lr, "n": n})
run.metric("threads", int(os.environ["OMP_NUM_THREADS"]))
run.metric("twice", 2 * lr)
run.finish()
"""


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Five notebooks in one go, of which one completes; what the runner told as each ended."""
    folder = tmp_path_factory.mktemp("batch {with} braces")
    paths = [
        write_notebook(folder / "good.ipynb", GOOD),
        write_notebook(folder / "fails.ipynb", "x = 1", "raise KeyError('boom')", "x = 2"),
        write_notebook(folder / "dies.ipynb", "x = 1", "import os; os._exit(3)", "x = 2"),
        write_notebook(folder / "untyped.ipynb", parameters="n = 1"),
        folder / "absent.ipynb",
    ]
    told: list[Status] = []
    runs = folder / "runs"
    (runs / "good").mkdir(parents=True)
    (runs / "good" / "record.json").write_text("of an earlier run")
    statuses = run_notebooks(paths, runs, workers=2, preset="default", threads=3, on_done=told.append)
    return runs, {status.name: status for status in statuses}, told


def test_every_notebook_ends_and_is_told_once(batch):
    runs, statuses, told = batch
    assert list(statuses) == ["good", "fails", "dies", "untyped", "absent"]
    assert sorted(status.name for status in told) == sorted(statuses)
    for name, status in statuses.items():
        assert read_status(runs / name) == status
        assert status.preset == "default"


def test_one_that_completes_leaves_record_and_outputs(batch):
    runs, statuses, _ = batch
    assert statuses["good"].state == "completed"
    assert statuses["good"].error is None
    assert statuses["good"].seconds > 0
    record = read_record(runs / "good" / "record.json")
    assert record.preset == "default"
    assert record.metrics == {"threads": 3, "twice": 0.2}
    executed = nbformat.read(runs / "good" / "good.ipynb", as_version=4)
    assert executed.cells[-1].execution_count is not None
    assert not (runs / "good" / "kernel.log").exists()


def test_one_that_fails_says_where_and_why(batch):
    _, statuses, _ = batch
    error = statuses["fails"].error
    assert statuses["fails"].state == "failed"
    assert (error.type, error.message, error.cell) == ("KeyError", "'boom'", 3)
    assert "raise KeyError('boom')" in error.traceback
    assert "\x1b" not in error.traceback


def test_a_kernel_that_dies_is_not_called_completed(batch):
    _, statuses, _ = batch
    assert statuses["dies"].state == "died"
    assert (statuses["dies"].error.type, statuses["dies"].error.cell) == ("DeadKernelError", 3)


def test_what_cannot_start_fails_and_stops_nobody(batch):
    _, statuses, _ = batch
    assert statuses["untyped"].state == statuses["absent"].state == "failed"
    assert "expected 'name: type = default" in statuses["untyped"].error.message
    assert "absent.ipynb does not exist" in statuses["absent"].error.message


def test_a_cell_that_takes_too_long_is_not_called_completed(tmp_path):
    path = write_notebook(tmp_path / "slow.ipynb", "x = 1", "import time; time.sleep(600)", "x = 2")
    status = run_notebook(path, tmp_path / "run", timeout=3)
    assert status.state == "timeout"
    assert status.error.cell == 3
    assert "longer than 3 s" in status.error.message
    assert status.seconds < 120


def test_parameters_arrive_typed(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", "assert (lr, n) == (1e-4, 7) and isinstance(lr, float)")
    status = run_notebook(path, tmp_path / "run", {"lr": "1e-4", "n": 7})
    assert status.completed
    assert status.parameters == {"lr": 1e-4, "n": 7}
    assert status.preset is None


@pytest.mark.parametrize("spec", [None, {"name": "crowd", "display_name": "crowd (3.11.2)", "language": "python"}])
def test_the_kernel_is_this_interpreter_whatever_the_notebook_calls_it(tmp_path, monkeypatch, spec):
    other = tmp_path / "jupyter" / "kernels" / "python3"  # somebody's own kernel of the usual name
    other.mkdir(parents=True)
    (other / "kernel.json").write_text(json.dumps({"argv": ["/nowhere/python", "{connection_file}"]}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    path = write_notebook(tmp_path / "a.ipynb", f"import sys; assert sys.executable == {sys.executable!r}")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {} if spec is None else {"kernelspec": spec}
    nbformat.write(notebook, path)
    status = run_notebook(path, tmp_path / "run")
    assert status.completed, status.error


SLEEPS = """\
import os, time
from pathlib import Path
Path("pid.part").write_text(f"{os.getpid()} {os.getppid()}")
os.rename("pid.part", "pid")
time.sleep(600)"""


@pytest.fixture
def sleeping(tmp_path):
    """A process that runs a notebook that sleeps, beside one that waits.

    Also the pids of its kernel and worker, and the folder for its temporary files.
    """
    write_notebook(tmp_path / "sleeps.ipynb", SLEEPS)
    # what a shell starts in the background ignores Ctrl-C, and hands that down
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from workbench.sweeps.notebooks import run_notebooks\n"
        "run_notebooks(['sleeps.ipynb', 'waits.ipynb'], 'runs', workers=1)"
    )
    with (
        TemporaryDirectory() as temporary,
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"TMPDIR": temporary},
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "pid").exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert read_status(tmp_path / "runs" / "sleeps").state == "running"
            yield process, [int(pid) for pid in (tmp_path / "pid").read_text().split()], Path(temporary)
        finally:
            process.kill()


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT], [signal.SIGINT, signal.SIGINT], [signal.SIGHUP], [signal.SIGKILL], [signal.SIGTERM]],
    ids=lambda signals: "-".join(one.name for one in signals),
)
def test_kernel_and_worker_end_with_their_parent_and_leave_the_truth(tmp_path, sleeping, signals):
    process, pids, temporary = sleeping
    assert list(temporary.rglob("*.json"))  # the kernel's keys
    for one in signals:
        process.send_signal(one)
        time.sleep(0.05)
    assert process.wait(60) != 0
    deadline = time.monotonic() + 10
    while any(map(alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert read_status(tmp_path / "runs" / "sleeps").state == "interrupted"
    assert not (tmp_path / "runs" / "waits").exists()  # it never began
    assert not list(tmp_path.rglob("*.part"))
    assert not list(temporary.iterdir())


def test_a_second_run_in_the_same_folder_is_refused_and_spoils_nothing(tmp_path, sleeping):
    _, (_, worker), _ = sleeping
    other = write_notebook(tmp_path / "other.ipynb", "x = 1")
    with pytest.raises(FolderInUseError, match=f"is in use by process {worker} on "):
        run_notebook(other, tmp_path / "runs" / "sleeps")
    (tmp_path / "again").mkdir()
    path = write_notebook(tmp_path / "again" / "sleeps.ipynb", "x = 1")
    (status,) = run_notebooks([path], tmp_path / "runs")
    assert (status.state, status.error.type) == ("failed", "FolderInUseError")
    assert read_status(tmp_path / "runs" / "sleeps").state == "running"
    assert not (tmp_path / "runs" / "sleeps" / "other.ipynb").exists()


def test_an_open_notebook_holds_its_folder_until_it_is_finished(tmp_path):
    path = write_notebook(tmp_path / "good.ipynb", GOOD)
    run = start_run("good", run_dir=tmp_path / "run")
    run = start_run("good", run_dir=tmp_path / "run")  # all its cells once more
    with pytest.raises(FolderInUseError, match=f"process {os.getpid()} "):
        run_notebook(path, tmp_path / "run")
    run.finish()
    assert run_notebook(path, tmp_path / "run").completed


def test_a_worker_that_is_killed_is_not_called_running_and_leaves_no_kernels_folder(tmp_path, monkeypatch):
    kill = "import os, signal; os.kill(os.getppid(), signal.SIGKILL); import time; time.sleep(600)"
    with TemporaryDirectory() as temporary:
        monkeypatch.setattr("tempfile.tempdir", temporary)
        status = run_notebook(write_notebook(tmp_path / "kills.ipynb", kill), tmp_path / "run")
        assert status.state == "died"
        assert "ended with code -9" in status.error.message
        assert list(Path(temporary).iterdir()) == []


def test_a_notebook_runs_where_the_temporary_folder_has_a_name_too_long_for_a_socket(tmp_path, monkeypatch):
    temporary = tmp_path / ("long" * 25)
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert run_notebook(write_notebook(tmp_path / "good.ipynb", GOOD), tmp_path / "run").completed


@pytest.mark.bad_input
def test_bad_arguments_are_refused_before_anything_runs(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match="unknown parameter 'x', expected one of preset, run_dir, lr, n"):
        run_notebook(path, tmp_path / "run", {"x": 1})
    with pytest.raises(ValueError, match="parameter n is 'abc', expected int"):
        run_notebook(path, tmp_path / "run", {"n": "abc"})
    with pytest.raises(ValueError, match="the folder of the notebook itself"):
        run_notebook(path, tmp_path)
    with pytest.raises(FileNotFoundError):
        run_notebook(tmp_path / "b.ipynb", tmp_path / "run")
    with pytest.raises(ValueError, match="workers is 0"):
        run_notebooks([path], tmp_path / "run", workers=0)
    with pytest.raises(ValueError, match="timeout is -1"):
        run_notebook(path, tmp_path / "run", timeout=-1)
    with pytest.raises(ValueError, match="notebooks of one name"):
        run_notebooks([path, path], tmp_path / "run")
    assert os.listdir(tmp_path) == ["a.ipynb"]


def test_a_status_with_unknown_keys_is_refused(tmp_path):
    status = Status(name="a", state="running", started="2026", notebook="a.ipynb")
    status.write(tmp_path)
    content = json.loads((tmp_path / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps(content | {"state": "fine"}))
    with pytest.raises(ValueError, match=r"status\.json is not a status: state"):
        read_status(tmp_path)
