"""The command line: what it prints, where, and with which exit code; it starts without the heavy imports."""

import io
import json
import subprocess
import sys

import pytest
from layouts import write_shanghaitech
from PIL import Image
from typer.testing import CliRunner

from workbench import __version__
from workbench.commands.cli import app
from workbench.commands.output import LiveLine, assignments, parse
from workbench.data import DATASETS
from workbench.losses import LOSSES
from workbench.models import MODELS
from workbench.runs.settings import nested, read_yaml
from workbench.sampling import SAMPLERS

pytestmark = pytest.mark.pipeline


def call(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def complaint(result) -> str:
    """The one line on stderr of a call that was refused."""
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def test_help_names_every_command():
    help_text = call("--help").stdout
    for command in ("run", "report", "train", "predict", "lab", "data"):
        assert f"  {command} " in help_text
    assert "check" in call("data", "--help").stdout
    assert call("--version").stdout.strip() == __version__


def test_help_lists_what_the_registries_know(monkeypatch):
    monkeypatch.setitem(LOSSES, "mine", "somewhere:Mine")

    def words(*arguments):
        text = " ".join(call(*arguments, "--help").stdout.split())
        assert "{" not in text.replace("{NAME}", "").replace("{WEIGHTS}", "")
        return text

    text = words("train")
    for table in (DATASETS, LOSSES, MODELS, SAMPLERS):
        assert ", ".join(sorted(table)) in text
    assert "mine" in text
    for command in (["data", "check"], ["data", "prepare"], ["evaluate"]):
        assert ", ".join(sorted(DATASETS)) in words(*command)


def test_nothing_heavy_is_imported_before_a_command_runs():
    heavy = "('torch', 'numpy', 'matplotlib', 'pandas', 'papermill', 'pydantic')"
    code = f"import sys, workbench.commands.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_mistake_is_one_line_without_a_traceback(tmp_path):
    assert "nothing names no notebook" in complaint(call("run", "nothing"))
    assert "none.yaml" in complaint(call("train", "--out", tmp_path, "--config", tmp_path / "none.yaml"))
    assert "unknown key 'modell'" in complaint(call("train", "--out", tmp_path, "-p", "modell=mcnn"))
    assert "none.pt" in complaint(call("predict", "a.jpg", "--weights", tmp_path / "none.pt"))


def test_debug_shows_where_it_comes_from():
    result = call("--debug", "run", "nothing")
    assert isinstance(result.exception, FileNotFoundError)


def test_an_interruption_has_the_shells_exit_code(monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.commands.notebooks.find_notebook", interrupt)
    result = call("run", "000_quickstart")
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"


def test_wrong_usage_says_what_there_is():
    result = call("run")
    assert result.exit_code == 2
    assert "Missing argument 'NOTEBOOK'" in result.stderr
    assert call("rum").exit_code == 2


def test_data_sets_are_listed():
    rows = json.loads(call("data", "list", "--json").stdout)
    assert "scenes" in {row["name"] for row in rows}
    assert all(row["about"] for row in rows)
    assert "scenes" in call("data", "list").stdout


def test_data_check_says_what_is_wrong_and_exits_with_it(tmp_path, monkeypatch):
    root = tmp_path / "copy"
    write_shanghaitech(root, "A")
    result = call("data", "check", "shanghaitech_a", "--root", root, "--json", "--overlay", tmp_path / "sheet.png")
    assert result.exit_code == 1  # a copy this small has not the published totals
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert report["measured"]["train"]["images"] < report["published"]["train"]["images"]
    assert {finding["level"] for finding in report["findings"]} == {"error"}
    assert "points drawn on" in result.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"

    monkeypatch.setattr("workbench.data.readers.shanghaitech.ShanghaiTechA.published", {})
    result = call("data", "check", "shanghaitech_a", "--root", root)
    assert result.exit_code == 0
    assert "0 errors" in result.stdout


def test_data_check_of_nothing_is_one_line(tmp_path):
    assert "nowhere" in complaint(call("data", "check", "shanghaitech_a", "--root", tmp_path / "nowhere"))
    assert "unknown dataset 'mall2'" in complaint(call("data", "check", "mall2", "--root", tmp_path))
    assert "built in" in complaint(call("data", "check", "scenes", "--root", tmp_path))


def test_train_then_predict(tmp_path):
    (tmp_path / "config.yaml").write_text("model: mcnn\nepochs: 3\ndataset_options: {preset: small, length: 8}\n")
    settings = ["-p", "epochs=1", "-p", "batch_size=4", "-p", "learning_rate=1e-4", "-p", "model_options.width=0.25"]
    out = tmp_path / "run"
    result = call("train", "--config", tmp_path / "config.yaml", "--out", out, *settings, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["config"]["epochs"] == 1
    assert record["config"]["model_options"] == {"width": 0.25}
    assert "mae" in record["metrics"]

    picture = tmp_path / "grey.png"
    Image.new("L", (70, 50), 128).save(picture)
    result = call("predict", picture, "--weights", out / "weights.pt", "--overlay", tmp_path / "drawn", "--json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert row["count"] >= 0
    with Image.open(row["overlay"]) as overlay:
        assert overlay.format == "PNG"
    plain = call("predict", picture, "--weights", out / "weights.pt").stdout
    assert plain.startswith(f"{picture}: {row['count']:.1f} people")

    (tmp_path / "no.png").write_text("not a picture")
    assert "no.png" in complaint(call("predict", tmp_path / "no.png", "--weights", out / "weights.pt"))


def test_a_configuration_joins_file_and_command_line(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("loss: l2\nloss_options: {sigma: 4, kernel: fixed}\n")
    given = ["loss_options.sigma=1e-1", "flip=false", "root=null", "weights=a.pt", "sizes=[1, 2]"]
    assert nested(read_yaml(file, "configuration") | assignments(given, parse)) == {
        "loss": "l2",
        "loss_options": {"sigma": 0.1, "kernel": "fixed"},
        "flip": False,
        "root": None,
        "weights": "a.pt",
        "sizes": [1, 2],
    }


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("[1, 2]", "holds a list"),
        ("a: [", "is not YAML"),
        ("[" * 20_000, "is nested too deeply, expected a configuration"),
        ("1: x", "has the key 1, expected text"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, content, found):
    (tmp_path / "c.yaml").write_text(content)
    assert f"c.yaml {found}" in complaint(call("train", "--out", tmp_path / "run", "--config", tmp_path / "c.yaml"))


def test_options_lead_only_into_options(tmp_path):
    said = complaint(call("train", "--out", tmp_path / "run", "-p", "loss=l2", "-p", "loss.sigma=4"))
    assert said == "loss.sigma: loss is 'l2', expected options"


def test_assignments_split_at_the_first_equals():
    assert assignments(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    for texts, found in ((["a"], "'a' found"), (["=1"], "'=1' found"), (["a=1", "a=2"], "a is given twice")):
        with pytest.raises(ValueError, match=found):
            assignments(texts)
    with pytest.raises(ValueError, match="GPU is 'one': could not convert"):
        assignments(["GPU=one"], float)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_live_line_is_written_over_on_a_terminal_and_told_now_and_then_elsewhere(monkeypatch):
    for stream, shown in (
        (Terminal(), "\r\x1b[K1\r\x1b[K2\r\x1b[Klost\n\r\x1b[K3\r\x1b[K4\n"),
        (io.StringIO(), "1\nlost\n4\n"),
    ):
        monkeypatch.setattr("sys.stderr", stream)
        line = LiveLine(err=True, every=60.0)
        line.show(lambda: "1")
        line.show(lambda: "2")
        line.print("lost", err=True)
        line.show(lambda: "3")
        line.show(lambda: "4", last=True)
        assert stream.getvalue() == shown


def test_a_new_clone_renders_the_reference_records(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "reports" / "runs"))
    asked = []
    monkeypatch.setattr("workbench.reports.site.write_site", lambda runs, page: asked.append((runs.is_dir(), page)))
    assert call("report", "--render-only").exit_code == 0
    assert asked == [(True, tmp_path / "reports" / "index.html")]


def test_the_laboratory_opens_the_notebook_that_is_named(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("os.execve", lambda program, command, environment: started.append(command))

    def first(*arguments):
        started.clear()
        assert call("lab", *arguments).exit_code == 0
        (command,) = started
        return next(word for word in command if "default_url" in word)

    assert first().endswith("=/lab/tree/notebooks/README.md")
    assert first("100").endswith("=/lab/tree/notebooks/100_transport.ipynb")
    (tmp_path / "mine.ipynb").write_text("{}")
    assert "expected a notebook of this project" in complaint(call("lab", tmp_path / "mine.ipynb"))
