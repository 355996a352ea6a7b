"""An output folder has one owner at a time, whoever that is, and is free again when its owner is gone."""

import os
import socket
import subprocess
import sys
import time

import pytest

from workbench.io.lock import FolderInUseError, own_folder

HOLD = """
import sys, time
from workbench.io.lock import own_folder
with own_folder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path, holder):
    with pytest.raises(FolderInUseError) as refused, own_folder(tmp_path):
        pass
    year = time.strftime("%Y-", time.gmtime())
    for part in (str(tmp_path), f"process {holder.pid} on {socket.gethostname()} since {year}"):
        assert part in str(refused.value)


def test_a_lock_dies_with_its_process(tmp_path, holder):
    holder.kill()
    holder.wait()
    with own_folder(tmp_path) as folder:
        assert folder == tmp_path.resolve()


def test_one_process_does_not_own_a_folder_twice(tmp_path):
    with own_folder(tmp_path):
        with pytest.raises(FolderInUseError, match=f"process {os.getpid()} "), own_folder(tmp_path):
            pass
        with pytest.raises(FolderInUseError), own_folder(tmp_path, wait=0.1):
            pass
    with own_folder(tmp_path):  # free again
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock"]


def test_calls_that_set_again_may_wait_for_different_times(tmp_path):
    with own_folder(tmp_path, wait=None, again=True), own_folder(tmp_path, again=True):
        pass
    with own_folder(tmp_path):
        pass


def test_an_owner_that_cannot_be_read_is_still_refused(tmp_path, holder):
    (tmp_path / ".owner.json").write_text("[")
    with pytest.raises(FolderInUseError, match="in use by another process"), own_folder(tmp_path):
        pass


def test_the_owner_removes_what_killed_writes_left(tmp_path):
    (tmp_path / ".record.json.0123.part").write_text("{")
    (tmp_path / "mine.part").write_text("not ours")
    with own_folder(tmp_path):
        assert {path.name for path in tmp_path.glob("*.part")} == {"mine.part"}
