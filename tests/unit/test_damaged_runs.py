"""A damaged run folder says what is wrong with it, and the rest of the report renders."""

import json
import os
import random
import struct
import time
import zlib

import pytest
from test_reports import Page, add_run

from workbench.reports.entry import MOST_FIGURE_PIXELS, file_inside, png_size, read_entry
from workbench.reports.page import collect_runs, write_report
from workbench.reports.site import write_site


def bomb(width, height):
    """A PNG whose header promises ``width`` x ``height`` pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0" * 64


def change(folder, **values):
    path = folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def png_bomb(folder):
    (folder / "line plot.png").write_bytes(bomb(200_000, 200_000))


def no_png(folder):
    (folder / "line plot.png").write_bytes(b"")


def missing(folder):
    (folder / "line plot.png").unlink()


def pipe(folder):
    (folder / "line plot.png").unlink()
    os.mkfifo(folder / "line plot.png")


def nul(folder):
    change(folder, figures=[{"name": "a\0b", "file": "a\0b.png"}])


def long_name(folder):
    change(folder, figures=[{"name": "a" * 5000, "file": "a" * 5000 + ".png"}])


def empty_name(folder):
    change(folder, figures=[{"name": "", "file": ""}])


def traversal(folder):
    (folder.parent.parent / "secret.png").write_bytes(bomb(1, 1))
    change(folder, figures=[{"name": "secret", "file": "../../secret.png"}])


def absolute(folder):
    (folder.parent.parent / "secret.png").write_bytes(bomb(1, 1))
    change(folder, figures=[{"name": "secret", "file": str(folder.parent.parent / "secret.png")}])


def symlink(folder):
    (folder.parent.parent / "secret.png").write_bytes(bomb(1, 1))
    (folder / "line plot.png").unlink()
    (folder / "line plot.png").symlink_to(folder.parent.parent / "secret.png")


def loop(folder):
    (folder / "line plot.png").unlink()
    (folder / "line plot.png").symlink_to("line plot.png")


def record_elsewhere(folder):
    os.replace(folder / "record.json", folder.parent.parent / "other.json")
    (folder / "record.json").symlink_to(folder.parent.parent / "other.json")


def notebook_elsewhere(folder):
    (folder.parent.parent / "secret.ipynb").write_text('{"cells": []}')
    path = folder / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"notebook": "../../secret.ipynb"}))


def notebook_of_numbers(folder):
    next(folder.glob("*.ipynb")).write_text('{"cells": [{"cell_type": "markdown"}, 3]}')


def notebook_too_deep(folder):
    next(folder.glob("*.ipynb")).write_text("[" * 200_000)


def ragged(folder):
    change(folder, tables=[{"name": "scores", "columns": ["a", "b"], "rows": [[1, 2], [1]]}])


def record_too_deep(folder):
    (folder / "record.json").write_text('{"config": ' + "[" * 100_000)


def binary_record(folder):
    (folder / "record.json").write_bytes(bytes(range(256)))


DAMAGES = {
    png_bomb: "'line' cannot be shown: line plot.png has 200,000 x 200,000 pixels",
    no_png: "'line' cannot be shown: line plot.png is not a PNG file",
    missing: "'line' cannot be shown: there is no file",
    pipe: "is a pipe, socket or device",
    nul: r"'a\x00b.png' is not the name of a file",
    long_name: "(5,000 letters)' cannot be shown: 'aaaa",
    empty_name: "'' is not the name of a file",
    traversal: "'../../secret.png' lies outside the run's folder",
    absolute: "lies outside the run's folder",
    symlink: "'line plot.png' lies outside the run's folder",
    loop: "Figure 'line' cannot be shown",
    record_elsewhere: "'record.json' lies outside the run's folder",
    notebook_elsewhere: "'../../secret.ipynb' lies outside the run's folder",
    notebook_of_numbers: "is not a notebook (KeyError",
    notebook_too_deep: "is not a notebook (RecursionError",
    ragged: "Table 'scores' cannot be shown: row 2 has 1 cells, expected 2",
    record_too_deep: "record.json is not a record",
    binary_record: "record.json is not a record",
}


@pytest.mark.bad_input
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_the_entry_says_what_is_wrong_and_the_rest_renders(tmp_path, damage):
    runs = tmp_path / "runs"
    damage(add_run(runs, "000_damaged", title="Damaged"))
    add_run(runs, "010_sound", title="A sound run")
    begun = time.monotonic()
    damaged, sound = write_report(runs, tmp_path / "index.html")
    assert time.monotonic() - begun < 2
    assert len(damaged.problems) == 1
    assert DAMAGES[damage] in damaged.problems[0]
    assert len(damaged.problems[0]) < 400
    assert sound.problems == []
    text = (tmp_path / "index.html").read_text()
    page = Page(text)
    assert page.open == []
    assert damaged.problems[0] in page.texts
    assert not [link for link in page.links if "secret" in link or "other" in link]
    assert "A sound run" in text


def test_what_is_sound_in_a_damaged_run_is_shown(tmp_path):
    folder = add_run(tmp_path / "runs", "000_damaged")
    ragged(folder)
    (entry,) = collect_runs(tmp_path / "runs")
    assert entry.record is not None
    assert [picture.figure.name for picture in entry.pictures] == ["line"]
    assert entry.tables == []


def test_a_link_within_the_folder_is_no_way_out(tmp_path):
    folder = add_run(tmp_path / "runs", "000_linked")
    os.replace(folder / "line plot.png", folder / "drawn.png")
    (folder / "line plot.png").symlink_to("drawn.png")
    assert read_entry(folder).problems == []
    assert file_inside(folder, "line plot.png") == folder / "line plot.png"


def test_the_size_of_a_png_is_read_without_decoding_it(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(bomb(5000, MOST_FIGURE_PIXELS // 5000))
    assert png_size(path) == (5000, MOST_FIGURE_PIXELS // 5000)
    path.write_bytes(bomb(0, 1))
    with pytest.raises(ValueError, match="0 x 1 pixels"):
        png_size(path)


def test_names_that_are_no_utf8_stop_nothing(tmp_path):
    folder = add_run(tmp_path / "runs", "000_sound")
    os.rename(os.fsencode(folder), os.fsencode(folder.parent) + b"/\xff")
    (entry,) = write_report(tmp_path / "runs", tmp_path / "index.html")
    assert entry.name == r"\udcff"
    assert "%FF/record.json" in (tmp_path / "index.html").read_text()


def test_warnings_of_a_run_are_shown(tmp_path):
    change(add_run(tmp_path / "runs", "000_dead"), warnings=["The map is zero <nearly> everywhere."])
    write_report(tmp_path / "runs", tmp_path / "index.html")
    assert "The map is zero <nearly> everywhere." in Page((tmp_path / "index.html").read_text()).texts


def test_any_damage_to_a_network_leaves_the_site_whole(tmp_path):
    """Values of a record, one by one, replaced by others that JSON knows; truncations; changed bytes."""
    draw = random.Random(0)
    runs = tmp_path / "runs"
    config = {"dataset": "scenes", "model": "mcnn", "loss": "l2", "seed": 0, "epochs": 3, "dataset_options": {}}
    config |= {"loss_options": {}, "sampler": "random", "model_options": {"width": 0.5}}
    timing = {"started": "2026-01-02T03:04:05+00:00", "seconds": 1.0}
    record = {"name": "n", "config": config, "metrics": {"mae": 1.0}, "timing": timing}
    odd = [None, "x", -1, 1e300, [], [[]], {}, {"a": 1}, True, "\ud800", "9" * 5000]
    for number in range(200):
        damaged = json.loads(json.dumps(record))
        damaged["config"][draw.choice(list(config))] = draw.choice(odd)
        if number % 2:
            damaged[draw.choice(list(record))] = draw.choice(odd)
        folder = runs / "experiments" / f"n{number}"
        folder.mkdir(parents=True)
        content = json.dumps(damaged).encode()
        (folder / "record.json").write_bytes(content[: draw.randrange(len(content))] if number % 5 == 0 else content)
        (runs / f"n{number}").mkdir()
        (runs / f"n{number}" / "record.json").write_bytes(content)
    found = write_site(runs, tmp_path / "index.html")
    assert found["runs"] == 200
    assert found["damaged"] > 50
    assert (tmp_path / "site" / "tables.html").is_file()
