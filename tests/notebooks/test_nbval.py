"""The notebooks under nbval, as somebody else's CI would run them."""

from pathlib import Path

import papermill
import pytest
from small_notebooks import check_by_nbval

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
    check_by_nbval(prepared, tmp_path)
    assert (tmp_path / "run" / "record.json").is_file()
