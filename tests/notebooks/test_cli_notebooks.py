"""The commands that start kernels and servers."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from small_notebooks import write_notebook
from typer.testing import CliRunner

from workbench.commands.cli import app
from workbench.io.project import PROJECT

RECORD = """\
from workbench.runs import start_run
run = start_run("{0}", preset=preset, run_dir=run_dir)
run.metric("lr", lr)
run.finish()"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project elsewhere with a notebook that completes and one that fails."""
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "{PROJECT}"\n')
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "data").symlink_to(Path(__file__).parents[2] / "data")  # the report shows the published tables
    write_notebook(tmp_path / "notebooks" / "000_good.ipynb", RECORD.format("000_good"))
    write_notebook(tmp_path / "notebooks" / "010_bad.ipynb", "raise RuntimeError('no luck')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str):
    return CliRunner().invoke(app, arguments)


def test_report_runs_all_and_says_that_one_failed(project):
    result = call("report", "--preset", "smoke", "--workers", "2")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert sorted(line[:6] for line in lines[:2]) == ["[1/2] ", "[2/2] "]
    assert sorted(tuple(line.split()[1:3]) for line in lines[:2]) == [("000_good", "completed"), ("010_bad", "failed")]
    assert lines[2] == "reports/index.html"
    assert "010_bad: RuntimeError in cell 3: no luck" in result.stderr
    page = (project / "reports" / "index.html").read_text()
    assert "1 of 2 notebooks completed" in page
    assert "no luck" in page

    (project / "reports" / "index.html").unlink()
    assert call("report", "--render-only").exit_code == 0
    assert (project / "reports" / "index.html").read_text().count("<section") == 2


def test_report_of_some_completes(project):
    result = call("report", "--only", "000", "--json")
    assert result.exit_code == 0
    assert [row["state"] for row in json.loads(result.stdout)["notebooks"]] == ["completed"]
    assert "[1/1] 000_good" in result.stderr


def test_run_takes_parameters_and_prints_the_metrics(project):
    result = call("run", "000_good", "-p", "lr=1e-4", "--preset", "default", "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert (answer["state"], answer["preset"], answer["metrics"]) == ("completed", "default", {"lr": 1e-4})
    assert answer["parameters"] == {"lr": 1e-4}
    assert (project / "reports" / "runs" / "000_good" / "record.json").is_file()

    result = call("run", "000_good", "-p", "lr=fast")
    assert result.exit_code == 2
    assert result.stderr == "error: parameter lr is 'fast', expected float\n"


def test_run_of_one_that_fails_explains_on_stderr(project):
    result = call("run", "notebooks/010_bad.ipynb", "--out", "elsewhere")
    assert result.exit_code == 1
    assert "RuntimeError in cell 3: no luck" in result.stderr
    assert (project / "elsewhere" / "status.json").is_file()


def test_a_project_without_notebooks_is_an_error(project):
    for notebook in (project / "notebooks").iterdir():
        notebook.unlink()
    result = call("report")
    assert result.exit_code == 2
    assert "holds no notebook" in result.stderr


def ask(url: str, token: str = "") -> int:
    """The status with which a server answers; 0 while there is none."""
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"} if token else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def check_that_no_other_user_finds_a_key(server, home: Path, kernels: str) -> None:
    """Keys lie in files and folders of the user's own, not in a command line, and a kernel's traffic is encrypted."""
    start = urllib.request.Request(kernels, data=b"{}", headers={"Authorization": "token the-token"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(start, timeout=60) as answer:
        kernel = json.loads(answer.read())["id"]
    runtime = home / ".local" / "share" / "jupyter" / "runtime"
    assert not runtime.stat().st_mode & 0o077
    for name in (f"kernel-{kernel}.json", f"jpserver-{server.pid}.json"):
        assert stat.S_IMODE((runtime / name).stat().st_mode) == 0o600
    connection = json.loads((runtime / f"kernel-{kernel}.json").read_text())
    assert connection["curve_secretkey"]
    lines = Path(f"/proc/{server.pid}/cmdline").read_text()
    assert not [key for key in ("the-token", connection["key"], connection["curve_secretkey"]) if key in lines]


def test_the_lab_wants_its_token_and_serves_this_machine_alone(project):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "workbench.commands.cli", "lab", "--no-browser", "--port", str(port)]
    environment = os.environ | {"JUPYTER_TOKEN": "the-token", "HOME": str(project), "JUPYTER_CONFIG_DIR": str(project)}
    environment.pop("JUPYTER_RUNTIME_DIR", None)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            deadline = time.monotonic() + 120
            url = f"http://127.0.0.1:{port}/api/contents/notebooks"
            while not (answer := ask(url)):
                assert server.poll() is None, server.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert answer == 403
            assert ask(url, "the-token") == 200
            sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
            listening = {address for _, address, _, state, *_ in sockets[1:] if state == "0A"}
            assert {address for address in listening if address.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}
            check_that_no_other_user_finds_a_key(server, project, f"http://127.0.0.1:{port}/api/kernels")
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)
