"""The notebooks under nbval, as somebody else's CI would run them."""

import os
import subprocess
import sys
from pathlib import Path

import papermill
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nbval_lax(path, tmp_path):
    for name in ("pyproject.toml", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    prepared = tmp_path / "notebooks" / path.name
    prepared.parent.mkdir()
    parameters = {"preset": "smoke", "run_dir": str(tmp_path / "run")}
    papermill.execute_notebook(path, prepared, parameters, prepare_only=True, progress_bar=False)
    command = [sys.executable, "-m", "pytest", "-q", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(tmp_path), str(prepared)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "record.json").is_file()
