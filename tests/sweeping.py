"""Sweeps in processes of their own, over a copy of the package that nobody edits meanwhile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from small_notebooks import write_notebook

import workbench
from workbench.runs.record import read_record

PARAMETERS = 'preset: str = "smoke"\nrun_dir: str = ""\nn: int = 0\nseed: int = 0\nseconds: float = 0.0\nlog: str = ""'
CELL = """\
import time
from workbench.runs import start_run
run = start_run("tiny", preset=preset, run_dir=run_dir, parameters={"n": n, "seed": seed})
with open(log, "a") as file:
    print(n, seed, file=file)
time.sleep(seconds)
if n == 13:
    raise KeyError("unlucky")
run.metric("product", (n + 1) * (seed + 2))
run.finish()"""


class Place:
    """A folder with a copy of the package, a tiny notebook and a grid."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.out = folder / "out"
        package = Path(workbench.__file__).parent
        shutil.copytree(package, folder / "code" / "workbench", ignore=shutil.ignore_patterns("__pycache__"))
        self.notebook = write_notebook(folder / "tiny.ipynb", CELL, parameters=PARAMETERS)

    def grid(self, *lines: str, seconds: float = 0.0) -> Path:
        """Write the grid: fixed parameters, and these lines."""
        head = ["run: tiny.ipynb", f"fixed: {{log: {self.log}, seconds: {seconds}}}"]
        path = self.folder / "grid.yaml"
        path.write_text("\n".join([*head, *lines]))
        return path

    def start(self, grid: Path, *options: object, out: Path | None = None) -> subprocess.Popen[str]:
        """Begin `workbench sweep`."""
        return self.call("sweep", grid, "--out", out or self.out, *options)

    def call(self, *arguments: object) -> subprocess.Popen[str]:
        """Begin any command of `workbench`."""
        return subprocess.Popen(
            [sys.executable, "-m", "workbench.commands.cli", *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.folder / "code")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sweep(self, grid: Path, *options: object, out: Path | None = None) -> tuple[int, str, str]:
        """`workbench sweep`: its exit code and what it prints."""
        process = self.start(grid, *options, out=out)
        stdout, stderr = process.communicate(timeout=500)
        return process.returncode, stdout, stderr

    def ran(self) -> list[str]:
        """The cells that began, in their order; one that was killed early is not among them."""
        return self.log.read_text().splitlines() if self.log.exists() else []


def records(out: Path) -> dict[str, dict[str, Any]]:
    """What the cells found, by their names: all but the time it took and the state of the code's repository."""
    return {
        path.parents[1].name: read_record(path).model_dump(exclude={"timing", "versions"})
        for path in sorted(out.glob("cells/*/result/record.json"))
    }
