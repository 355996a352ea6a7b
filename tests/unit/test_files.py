import errno
import json
import os

import pytest

from workbench.io.files import atomic_write, write_bytes, write_json, write_text


def test_content_arrives_and_nothing_else_stays(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "größe\n")
    write_bytes(tmp_path / "new" / "b.bin", b"\x00\xff")
    write_json(tmp_path / "new" / "c.json", {"count": 3, "name": "α"})
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "größe\n"
    assert (tmp_path / "new" / "b.bin").read_bytes() == b"\x00\xff"
    assert json.loads((tmp_path / "new" / "c.json").read_text(encoding="utf-8")) == {"count": 3, "name": "α"}
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.txt", "b.bin", "c.json"]


def test_readers_see_the_old_file_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "state"
    write_text(path, "old")
    with atomic_write(path, "w") as file:
        file.write("new, but not yet")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new, but not yet"


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "weights.pt"
    write_bytes(path, b"old")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write():
        with atomic_write(path) as file:
            file.write(b"new")
            if call == "write":
                full()

    if call != "write":
        monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"cannot write .*weights\.pt: No space left on device") as caught:
        write()
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["weights.pt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_the_systems_own_full_device_reads_the_same(tmp_path, monkeypatch):
    import builtins

    path = tmp_path / "weights.pt"
    write_bytes(path, b"old")
    real_open = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda name, *a, **k: real_open("/dev/full" if ".part" in str(name) else name, "wb")
    )
    with pytest.raises(OSError, match=r"cannot write .*weights\.pt: No space left on device"):
        write_bytes(path, b"x" * 100_000)
    assert path.read_bytes() == b"old"


def test_an_error_while_writing_leaves_the_old_file_and_is_not_renamed(tmp_path):
    path = tmp_path / "log"
    write_text(path, "old")

    def fail():
        with atomic_write(path, "w") as file:
            file.write("half")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    with pytest.raises(FileNotFoundError, match=r"other\.txt"), atomic_write(path, "w"):
        (tmp_path / "other.txt").read_text()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["log"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*file/inner/a\.txt"):
        write_text(tmp_path / "file" / "inner" / "a.txt", "x")


@pytest.mark.bad_input
@pytest.mark.parametrize("content", [float("nan"), {"x": float("inf")}, {1, 2}])
def test_what_json_does_not_know_is_refused_before_anything_is_written(tmp_path, content):
    with pytest.raises((TypeError, ValueError), match=r"cannot write .*a\.json as JSON"):
        write_json(tmp_path / "a.json", content)
    assert not list(tmp_path.iterdir())


@pytest.mark.bad_input
def test_other_modes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="mode is 'ab'"), atomic_write(tmp_path / "a", "ab"):
        pass
