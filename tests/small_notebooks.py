"""Small notebooks that the tests write for themselves."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat

PARAMETERS = (
    'preset: str = "smoke"  # how much\nrun_dir: str = ""  # where\nlr: float = 0.1  # a = b in the help\nn: int = 2'
)


def write_notebook(path: Path, *cells: str, parameters: str | None = PARAMETERS, title: str = "") -> Path:
    """A notebook with a heading, a parameters cell and ``cells`` of code."""
    v4 = nbformat.v4
    tagged = [] if parameters is None else [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    notebook = v4.new_notebook(
        cells=[v4.new_markdown_cell(f"# {title or path.stem}"), *tagged, *map(v4.new_code_cell, cells)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, path)
    return path


def check_by_nbval(path: Path, folder: Path) -> None:
    """Hold the notebook at ``path`` against nbval, run in ``folder`` with this environment's kernel."""
    command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(folder), str(path)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
