"""A sweep runs each cell once, whoever calls it how often, and loses nothing to a kill."""

import json
import random
import signal
import stat
import time
from pathlib import Path

import psutil
import pytest
from small_notebooks import write_notebook
from sweeping import CELL, PARAMETERS, Place, records

from workbench.io.project import PROJECT
from workbench.runs.record import read_record
from workbench.runs.status import read_status
from workbench.sweeps.cell import cell_state, run_cell
from workbench.sweeps.grid import Grid
from workbench.sweeps.plan import Cell, plan
from workbench.sweeps.process import Worker

pytestmark = pytest.mark.pipeline

PATIENCE = 300


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_each_cell_runs_once_and_a_failed_one_again_on_request(place, monkeypatch):
    grid = place.grid("grid: {n: [1, 13]}", "seeds: [4]")
    code, stdout, stderr = place.sweep(grid, "--workers", 1)
    assert code == 1
    assert sorted(place.ran()) == ["1 4", "13 4"]
    assert "KeyError in cell 3: 'unlucky'" in stdout
    assert "2 of 2 cells to run" in stdout
    assert "1 failed" in stderr
    found = records(place.out)
    assert [(name.rpartition("-")[0], record["metrics"]) for name, record in found.items()] == [
        ("tiny-1-4", {"product": 12.0})
    ]
    (failed,) = place.out.glob("cells/tiny-13-4-*/failed")
    assert "raise KeyError" in read_status(failed).error.traceback

    code, stdout, _ = place.sweep(grid, "--json")
    assert code == 1
    assert len(place.ran()) == 2
    assert json.loads(stdout)["ran"] == []

    (cell,) = (
        Cell(**json.loads(path.read_text()), folder=path.parent)
        for path in place.out.glob("cells/*/cell.json")
        if "-13-" in str(path)
    )
    monkeypatch.setattr("workbench.sweeps.cell.code_digest", lambda *_: cell.code)
    with Worker() as worker:
        assert not run_cell(cell, False, worker.run).ran
        again = run_cell(cell, True, worker.run)
    assert (again.ran, again.state, again.message) == (True, "failed", "KeyError in cell 3: 'unlucky'")
    assert place.ran()[2:] == ["13 4"]
    assert failed.is_dir()


def test_two_shells_share_a_grid_and_run_no_cell_twice(place):
    grid = place.grid("grid: {n: [0, 1, 2]}", seconds=1.0)
    shells = [place.start(grid, "--workers", 1) for _ in range(2)]
    for shell in shells:
        shell.communicate(timeout=PATIENCE)
        assert shell.returncode == 0
    assert sorted(place.ran()) == ["0 0", "1 0", "2 0"]
    assert len(records(place.out)) == 3


@pytest.mark.slow
def test_the_report_runs_the_sweep_before_the_notebooks(place):
    (place.folder / "pyproject.toml").write_text(f'[project]\nname = "{PROJECT}"\n')
    (place.folder / "data").symlink_to(Path(__file__).parents[2] / "data")
    (place.folder / "notebooks").mkdir()
    seen = [
        "import glob",
        "from workbench.runs import start_run",
        "run = start_run('900_last', preset=preset, run_dir=run_dir)",
        "run.metric('cells', len(glob.glob('reports/runs/sweeps/grid/cells/*/result')))",
        "run.finish()",
    ]
    write_notebook(place.folder / "notebooks" / "900_last.ipynb", "\n".join(seen))
    report = place.call("report", "--sweep", place.grid("seeds: 2"), "--preset", "smoke")
    stdout, stderr = report.communicate(timeout=PATIENCE)
    assert report.returncode == 0, stderr
    assert "grid: 2/2 done" in stdout
    runs = place.folder / "reports" / "runs"
    assert read_record(runs / "900_last" / "record.json").metrics == {"cells": 2.0}
    assert "2 of 2 done" in (place.folder / "reports" / "site" / "sweeps.html").read_text()


@pytest.fixture
def execute():
    """What runs a job, as an engine has it."""
    with Worker() as worker:
        yield worker.run


@pytest.fixture
def cell(tmp_path):
    """One cell of a tiny notebook."""
    write_notebook(tmp_path / "tiny.ipynb", CELL, parameters=PARAMETERS)
    grid = Grid(name="g", run="tiny.ipynb", fixed={"log": str(tmp_path / "log")})
    (cell,) = plan(grid, tmp_path / "out", beside=tmp_path)
    return cell


def test_what_a_killed_attempt_left_is_no_result(cell, execute, monkeypatch):
    monkeypatch.setattr("workbench.sweeps.cell.code_digest", lambda *_: cell.code)
    torn = cell.folder / "work-torn"
    torn.mkdir(parents=True)
    (torn / "record.json").write_text("{")
    (torn / "status.json").write_text("{")
    assert cell_state(cell.folder) == "missing"
    assert run_cell(cell, False, execute).state == "done"
    assert not torn.exists()
    assert not run_cell(cell, False, execute).ran
    assert sorted(path.name for path in (cell.folder / "result").iterdir()) == [
        "record.json",
        "status.json",
        "tiny.ipynb",
    ]


def test_a_cell_that_is_no_longer_what_was_planned_is_refused(cell, execute, monkeypatch):
    monkeypatch.setattr("workbench.sweeps.cell.code_digest", lambda *_: "other")
    outcome = run_cell(cell, False, execute)
    assert (outcome.state, outcome.ran) == ("refused", False)
    assert "code changed" in outcome.message
    monkeypatch.setattr("workbench.sweeps.cell.code_digest", lambda *_: cell.code)
    write_notebook(cell.notebook, "x = 1", parameters=PARAMETERS)
    assert "tiny.ipynb changed" in run_cell(cell, False, execute).message


def test_a_notebook_without_a_record_has_failed(tmp_path, execute, monkeypatch):
    monkeypatch.setattr("workbench.sweeps.cell.code_digest", lambda *_: cell.code)
    write_notebook(tmp_path / "silent.ipynb", "x = 1")
    (cell,) = plan(Grid(name="g", run="silent.ipynb"), tmp_path / "out", beside=tmp_path)
    outcome = run_cell(cell, False, execute)
    assert outcome.state == "failed"
    assert "wrote no record" in outcome.message
    assert not (cell.folder / "result").exists()


def processes(command: psutil.Process, kind: str) -> list[psutil.Process]:
    """The command itself, its workers, or their kernels."""
    if kind == "command":
        return [command] if command.is_running() else []
    sign = {"worker": "workbench.sweeps.process", "kernel": "ipykernel_launcher"}[kind]
    found = []
    try:
        for child in command.children(recursive=True):
            try:
                if sign in " ".join(child.cmdline()):
                    found.append(child)
            except psutil.Error:
                continue
    except psutil.Error:
        return []
    return found


def test_nobody_else_reaches_a_sweep(place):
    """No port is open, no connection file can be read by others, and no command line holds a key."""
    grid = place.grid("seeds: 1", seconds=600.0)
    with place.start(grid) as shell:
        root = psutil.Process(shell.pid)
        try:
            deadline = time.monotonic() + PATIENCE
            while not place.ran():  # the kernel runs its cell
                assert shell.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            family = [root, *root.children(recursive=True)]
            (kernel,) = processes(root, "kernel")
            assert [one for process in family if process != kernel for one in process.net_connections("inet")] == []
            # ipykernel's own: takes the output of forked processes, and drops what lacks the kernel's random key.
            assert len(kernel.net_connections("inet")) <= 1
            file = Path(kernel.cmdline()[kernel.cmdline().index("-f") + 1])
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            connection = json.loads(file.read_text())
            assert Path(connection["ip"]).parent.stat().st_mode & 0o777 == 0o700  # jupyter may add the sticky bit
            assert not [process for process in family if connection["key"] in " ".join(process.cmdline())]
        finally:
            shell.kill()
            shell.communicate()


def sweep_under_fire(place, grid, kills: list[str], seed: int) -> list[str]:
    """Call the sweep until it is done, killing what ``kills`` names at random moments; gives what was killed."""
    rng = random.Random(seed)
    waiting, killed = list(kills), []
    deadline = time.monotonic() + PATIENCE * max(1, len(kills) // 3)
    while True:
        shell = place.start(grid)
        root = psutil.Process(shell.pid)
        while waiting and shell.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(rng.uniform(0.05, 1.5))
            targets = processes(root, waiting[0])
            # A command is killed once it has kernels, lest every other kill comes too early to hit anything.
            if targets and (waiting[0] != "command" or processes(root, "kernel")):
                rng.choice(targets).send_signal(signal.SIGKILL)
                killed.append(waiting.pop(0))
        shell.communicate(timeout=PATIENCE)
        if shell.returncode == 0:
            return killed


def check_nothing_is_left(place):
    assert not list(place.out.glob("cells/*/failed"))
    assert not list(place.out.glob("cells/*/work-*"))


def test_kills_of_kernel_worker_and_command_lose_nothing(place):
    grid = place.grid("grid: {n: [0, 1, 2, 3]}", seconds=0.5)
    kills = ["kernel", "worker", "command"]
    assert sweep_under_fire(place, grid, kills, seed=1) == kills
    assert sorted(record["metrics"]["product"] for record in records(place.out).values()) == [2, 4, 6, 8]
    check_nothing_is_left(place)


@pytest.mark.slow
def test_twenty_kills_lose_nothing(place):
    grid = place.grid(f"grid: {{n: {list(range(6))}}}", "seeds: 2", seconds=0.5)
    kills = ["command", "worker", "kernel", "worker", "kernel"] * 4
    assert sweep_under_fire(place, grid, kills, seed=2) == kills
    undisturbed = place.folder / "undisturbed"
    assert place.sweep(grid, out=undisturbed)[0] == 0
    assert len(records(undisturbed)) == 12
    assert records(place.out) == records(undisturbed)
    check_nothing_is_left(place)


@pytest.mark.slow
def test_a_scheduler_reached_by_address_gives_the_same(place, tmp_path):
    from distributed import LocalCluster

    from workbench.sweeps.engine import open_engine

    grid = place.grid("grid: {n: [0, 1, 2, 3]}")
    assert place.sweep(grid)[0] == 0
    other = tmp_path / "other"
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0") as cluster:
        # These workers import the package that the tests run; the copy has the same source.
        code, _, stderr = place.sweep(grid, "--scheduler", cluster.scheduler_address, out=other)
    assert code == 0, stderr
    assert records(other) == records(place.out)
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as wide,
        pytest.raises(ValueError, match="has 2 threads, expected 1"),
        open_engine(scheduler=wide.scheduler_address),
    ):
        pass
