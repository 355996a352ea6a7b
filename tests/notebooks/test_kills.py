"""`run`, `report` and `train` under kill -9 at random moments: nothing keeps running, and a next call ends it all."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest
from small_notebooks import write_notebook

from workbench.io.project import PROJECT
from workbench.runs.record import read_record
from workbench.runs.status import Job, read_status

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
CELL = """\
import time
from workbench.runs import start_run
run = start_run("a", preset=preset, run_dir=run_dir)
time.sleep(0.5)
run.metric("x", 3)
run.finish()"""
TRAINING = ("model=mcnn", "model_options.width=0.125", "dataset_options.preset=small", "dataset_options.length=12")
SMALL = ("crop=64", "epochs=150", "batch_size=4", "checkpoint_steps=1", "accelerator=cpu")
COMMANDS = {
    "run": ["run", "000", "--out", "out"],
    "report": ["report", "--preset", "smoke"],
    "train": ["train", "--out", "out", *(part for setting in TRAINING + SMALL for part in ("-p", setting))],
    "unkilled": ["train", "--out", "unkilled", *(part for setting in TRAINING + SMALL for part in ("-p", setting))],
}


class Marked:
    """A command in a process group of its own, as a shell starts it; whatever it starts bears the same mark."""

    def __init__(self, folder: Path, command: str) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workbench.commands.cli", *COMMANDS[command]],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "MARK": self.mark},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    def family(self) -> list[psutil.Process]:
        """The command and what it started, as far as they run."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("MARK") == self.mark:
                    found.append(process)
            except psutil.Error:  # it has just ended, or is another user's
                continue
        return found

    def kill(self, target: str, rng: random.Random) -> bool:
        """Kill the command, its process group, or a process that it started, and wait for the end of all.

        Returns:
            Whether the command still ran.
        """
        others = [process for process in self.family() if process.pid != self.process.pid]
        ran = self.process.poll() is None
        if target == "group" and ran:
            os.killpg(self.process.pid, signal.SIGKILL)
        elif target == "other" and others:
            rng.choice(others).kill()
        else:
            self.process.kill()
        self.process.wait(120)
        deadline = time.monotonic() + 10
        while self.family():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return ran


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "report"])
def test_after_kills_at_random_a_next_call_ends_it_all(tmp_path, command):
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "{PROJECT}"\n')
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "notebooks").mkdir()
    for name in ("000_a", "010_b"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", CELL)
    rng = random.Random(5)
    killed = 0
    while killed < 20:
        marked = Marked(tmp_path, command)
        time.sleep(rng.uniform(0.5, 8.0))
        if marked.kill(("command", "group", "other")[killed % 3], rng):
            killed += 1
        else:  # it had ended before: begin again, so that no kill hits a command that has nothing left to do
            assert marked.process.returncode == 0
            shutil.rmtree(tmp_path / ("reports" if command == "report" else "out"))
    last = Marked(tmp_path, command)
    assert last.process.wait(300) == 0
    assert last.family() == []
    assert list(tmp_path.rglob("*.part")) == []
    records = [read_record(path) for path in tmp_path.rglob("record.json")]
    assert len(records) == (2 if command == "report" else 1)
    assert [record.metrics for record in records] == [{"x": 3.0}] * len(records)
    assert {read_status(path.parent).state for path in tmp_path.rglob("status.json")} == {"completed"}


@pytest.mark.slow
def test_a_training_killed_in_twenty_of_its_steps_ends_as_one_that_was_not(tmp_path):
    rng = random.Random(6)
    checkpoint = tmp_path / "out" / "checkpoint.pt"
    for _ in range(20):
        begun = time.time()
        marked = Marked(tmp_path, "train")
        while not (checkpoint.is_file() and checkpoint.stat().st_mtime > begun):
            assert marked.process.poll() is None
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.2))  # its steps take a few hundredths of a second each
        assert marked.kill("command", rng)
        assert not (tmp_path / "out" / "record.json").exists()
    for command in ("train", "unkilled"):
        assert Marked(tmp_path, command).process.wait(300) == 0
    killed, whole = (read_record(tmp_path / folder / "record.json") for folder in ("out", "unkilled"))
    assert killed.metrics == whole.metrics
    assert [row["epoch"] for row in killed.history] == list(range(1, 151))
    for name in ("loss", "val_mae"):
        assert [row[name] for row in killed.history] == [row[name] for row in whole.history]
    assert list(tmp_path.rglob("*.part")) == []


def test_a_job_that_waits_for_the_worker_is_not_left_at_running(tmp_path):
    notebook = write_notebook(tmp_path / "a.ipynb", CELL)
    job = Job(name="a", notebook=notebook, folder=tmp_path / "run", parameters={})
    job.begin()
    command = [sys.executable, "-m", "workbench.sweeps.process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as worker:
        # The owner is gone while the worker still makes its imports.
        worker.communicate(job.model_dump_json() + "\n", timeout=60)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"
    assert not list(tmp_path.rglob("*.part"))
