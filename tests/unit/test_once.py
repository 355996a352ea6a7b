import pytest

from workbench.runs.once import once
from workbench.runs.record import Record, Timing, now

CODE = "workbench.runs.once"


@pytest.fixture
def calls():
    return []


@pytest.fixture
def run(calls):
    def execute(folder):
        calls.append(folder)
        record = Record(name=folder.name, metrics={"number": len(calls)}, timing=Timing(started=now(), seconds=0))
        record.write(folder / "record.json")
        return record

    return execute


def test_a_run_is_executed_once_and_then_read(run, calls, tmp_path):
    first = once("a", "one", tmp_path, run, code=CODE)
    assert once("a", "one", tmp_path, run, code=CODE) == first
    assert calls == [first[1]]
    assert first[1].parent == tmp_path
    assert first[1].name.startswith("a-")


def test_another_configuration_and_other_code_are_other_runs(run, calls, tmp_path, monkeypatch):
    folders = {once("a", identity, tmp_path, run, code=CODE)[1] for identity in ("one", "two")}
    monkeypatch.setattr("workbench.runs.once.source_digest", lambda _: "other code")
    folders.add(once("a", "one", tmp_path, run, code=CODE)[1])
    assert len(folders) == len(calls) == 3


def test_a_run_that_failed_is_executed_again(run, calls, tmp_path):
    def fail(folder):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        once("a", "one", tmp_path, fail, code=CODE)
    assert once("a", "one", tmp_path, run, code=CODE)[0].metrics == {"number": 1}


def test_a_run_may_be_asked_for_by_a_run_that_owns_its_folder(run, calls, tmp_path):
    def nested(folder):
        return once("a", "one", tmp_path, run, code=CODE)[0]

    assert once("a", "one", tmp_path, nested, code=CODE)[0].metrics == {"number": 1}
    assert len(calls) == 1
