"""Text and JSON files: regular, in bounds, each key once."""

import json
import os
import threading
import tracemalloc

import pytest

from workbench.io import text
from workbench.io.text import is_number, read_json, read_object, read_rows, read_text
from workbench.localization.formats import read_predictions

MANY = 20_000


@pytest.mark.bad_input
@pytest.mark.parametrize("read", [read_text, read_json, read_predictions, lambda path: read_rows(path, 2)])
def test_what_is_not_a_regular_file_is_refused(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "is a pipe, socket or device"), (".", "is a folder")):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name)
    (tmp_path / "zeros").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="zeros is a pipe, socket or device"):
        read(tmp_path / "zeros")
    assert threading.active_count() < 50  # nothing waits for the pipe


WIDE = [
    "[" + "[]," * MANY + "[]]",
    "[" + "{}," * MANY + "{}]",
    "[" + "[1.5]," * MANY + "[]]",
    "[" + '{"a":{"b":1}},' * MANY + "{}]",
    "[" + '"ab",' * MANY + "1]",
    "{" + ",".join(f'"{number}":1' for number in range(MANY)) + "}",
    '["\U0001f600",' + "[]," * MANY + "[]]",
]


@pytest.mark.parametrize("content", WIDE, ids=range(len(WIDE)))
def test_json_takes_no_more_memory_than_the_bound_says(tmp_path, monkeypatch, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    memory = content.__sizeof__() + sum(cost * content.count(letter) for letter, cost in text.JSON_COSTS.items())
    monkeypatch.setattr(text, "MOST_MEMORY", memory)
    tracemalloc.start()
    read_json(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.75 * memory
    monkeypatch.setattr(text, "MOST_MEMORY", memory - 1)
    with pytest.raises(ValueError, match=rf"a\.json takes about {memory:,} bytes .*, expected at most {memory - 1:,}"):
        read_json(path)


@pytest.mark.parametrize("line", ["1 1\n", "12.5 13.25\n", "1\t\u20032\n"])
def test_tables_take_no_more_memory_than_the_bound_says(tmp_path, monkeypatch, line):
    path, content = tmp_path / "a.txt", line * MANY
    path.write_text(content)
    memory = content.__sizeof__() + sum(cost * content.count(letter) for letter, cost in text.TABLE_COSTS.items())
    monkeypatch.setattr(text, "MOST_MEMORY", memory)
    tracemalloc.start()
    assert len(read_rows(path, 2)) == MANY
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * memory
    monkeypatch.setattr(text, "MOST_MEMORY", memory - 1)
    with pytest.raises(ValueError, match="bytes when it is decoded"):
        read_rows(path, 2)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "is not JSON: an object has the key 'a' 2 times, expected once"),
        ('{"a": [{"b": 1, "b": 1}]}', "the key 'b' 2 times"),
        ("[" * 100_000, "it nests too deeply"),
        ("[" * 100_000 + "]" * 100_000, "it nests too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
    ],
)
def test_json_that_is_not_sound_is_named(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=rf"a\.json {message}|a\.json .*{message}"):
        read_object(tmp_path / "a.json")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("12,5 20,25", "; write decimals with a point: 12.5"),
        ("1 2 3", ""),
        ("1_0 2", ""),
        ("\u0661 2", ""),
        ("1", ""),
    ],
)
def test_rows_that_are_not_numbers_are_named(tmp_path, line, hint):
    (tmp_path / "a.txt").write_text(f"1 2\n\n{line}\n")
    with pytest.raises(ValueError, match=r"a\.txt holds .* in line 3, expected 2 numbers") as caught:
        read_rows(tmp_path / "a.txt", 2)
    assert str(caught.value).endswith(f"expected 2 numbers{hint}")


def test_numbers_are_what_files_write():
    assert all(map(is_number, ["1", "-1.5", "+.5", "1.", "1e-3", "2E5", "nan", "-inf"]))
    assert not any(map(is_number, ["", ".", "1_0", "0x10", "1,5", "\u0661", "1e", "e5", " 1", "--1"]))
    assert json.loads("1e-3") == float("1e-3")
