"""Some rows of the reference records are measured again and compare."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from workbench.commands.cli import app

RECORDS = Path(__file__).parents[2] / "reports" / "reference"

pytestmark = pytest.mark.pipeline


@pytest.mark.slow
@pytest.mark.skipif(not list(RECORDS.glob("*.jsonl")), reason="reports/reference holds no records")
def test_three_rows_are_as_recorded(monkeypatch):
    monkeypatch.chdir(RECORDS)  # inside the clone
    result = CliRunner().invoke(app, ["reference", "check", "--rows", "3"])
    assert result.exit_code == 0, result.output
    assert "3 of 3 as recorded" in result.output
