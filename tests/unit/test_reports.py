"""The page shows every run as it ended, escapes what it shows, and needs neither network nor scripts."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from PIL import Image
from small_notebooks import write_notebook

from workbench.reports.page import collect_runs, duration, numeric, render, shown, write_report
from workbench.runs.record import Figure, Record, Table, Timing
from workbench.runs.status import Failure, Status

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """What a browser would find: tags, links, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.links += [value for key, value in attributes if key in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def add_run(runs, name, *, state="completed", error=None, record=True, title=""):
    folder = runs / name
    folder.mkdir(parents=True)
    write_notebook(folder / f"{name}.ipynb", title=title)
    status = Status(name=name, state=state, started="2026-01-02T03:04:05+00:00", seconds=75, notebook=f"{name}.ipynb")
    status.model_copy(update={"error": error}).write(folder)
    if record:
        Image.new("RGB", (288, 144)).save(folder / "line plot.png")
        Record(
            name=name,
            preset="smoke",
            config={"lr": 1e-4},
            versions={"torch": "2.15.0"},
            metrics={"test_mae": 2.0 / 3},
            figures=[Figure(name="line", file="line plot.png", caption="A <b>line</b>")],
            tables=[
                Table(name="t", columns=["model", "mae"], rows=[["mcnn", 1.23456], ["mean", None]], caption="Scores")
            ],
            timing=Timing(started="2026-01-02T03:04:05+00:00", seconds=70),
        ).write(folder / "record.json")
    return folder


@pytest.fixture
def page(tmp_path):
    """A page over four runs."""
    runs = tmp_path / "runs"
    add_run(runs, "000_good", title="Quick <start> & more")
    failure = Failure(type="ValueError", message="<script>alert(1)</script>", cell=4, traceback="line 1\nline 2")
    add_run(runs, "010_bad", state="failed", error=failure, record=False)
    add_run(runs, "020_silent", record=False)
    by_hand = add_run(runs, "030_by_hand")
    (by_hand / "status.json").unlink()
    (runs / "not_a_run").mkdir()
    write_report(runs, tmp_path / "index.html")
    return tmp_path / "index.html"


def test_every_run_is_on_the_page_as_it_ended(page):
    text = page.read_text()
    parsed = Page(text)
    assert parsed.open == []
    sections = [attributes["id"] for tag, attributes in parsed.tags if tag == "section"]
    assert sections == ["000_good", "010_bad", "020_silent", "030_by_hand"]
    words = re.sub(r"\s+", " ", " ".join(parsed.texts))
    assert "2 of 4 notebooks completed" in words
    assert "run by hand" in words
    assert "ValueError in cell 5: <script>alert(1)</script>" in words
    assert "The notebook wrote no record." in words
    assert "test mae 0.6667" in words
    assert "mcnn 1.235 mean –" in words
    assert "Quick <start> & more" in words
    assert "1 min 15 s" in words


def test_nothing_needs_a_network_or_a_script(page):
    parsed = Page(page.read_text())
    assert not {"script", "link", "iframe"} & {tag for tag, _ in parsed.tags}
    assert not any(key.startswith("on") for _, attributes in parsed.tags for key in attributes)
    assert not [link for link in parsed.links if "//" in link]
    assert "@import" not in page.read_text()
    assert "url(" not in page.read_text()


def test_every_link_leads_to_a_file_or_a_section(page):
    parsed = Page(page.read_text())
    places = {attributes.get("id") for _, attributes in parsed.tags}
    assert len(parsed.links) > 10
    for link in parsed.links:
        if link.startswith("#"):
            assert link[1:] in places
        else:
            assert (page.parent / unquote(link)).is_file()


def test_pictures_have_a_text_and_the_size_they_were_drawn_at(page):
    pictures = [attributes for tag, attributes in Page(page.read_text()).tags if tag == "img"]
    assert [picture["alt"] for picture in pictures] == ["A <b>line</b>"] * 2
    assert {(picture["width"], picture["height"]) for picture in pictures} == {("192", "96")}  # 2 x 1 inches


def test_columns_of_numbers_are_told_from_others():
    rows = [[1, None, "a", True, None], [2.5, 3, 1, False, None]]
    assert numeric(Table(name="t", columns=list("abcde"), rows=rows)) == [True, True, False, False, False]
    assert numeric(Table(name="t", columns=["a", "b"], rows=[])) == [False, False]


def test_what_cannot_be_read_is_said_and_stops_nothing(tmp_path):
    runs = tmp_path / "runs"
    torn = add_run(runs, "000_torn")
    (torn / "record.json").write_text("{")
    gone = add_run(runs, "010_gone")
    (gone / "line plot.png").unlink()
    (add_run(runs, "020_lost") / "status.json").write_text("[]")
    problems = {entry.name: "\n".join(entry.problems) for entry in collect_runs(runs)}
    assert "record.json is not a record" in problems["000_torn"]
    assert problems["010_gone"] == f"Figure 'line' cannot be shown: there is no file {gone / 'line plot.png'}"
    assert "status.json is not a status" in problems["020_lost"]
    assert problems["000_torn"].split(":")[0] in render(collect_runs(runs), tmp_path)


def test_a_page_over_nothing_says_so(tmp_path):
    (tmp_path / "runs").mkdir()
    assert write_report(tmp_path / "runs", tmp_path / "index.html") == []
    assert "No notebook was run here yet" in (tmp_path / "index.html").read_text()
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        collect_runs(tmp_path / "none")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (3, "3"),
        (3.0, "3"),
        (1.23456, "1.235"),
        (1e-7, "1e-07"),
        ("a", "a"),
        ("inf", "inf"),
        (True, "True"),
    ],
)
def test_values_are_short(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.87, "9.9 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (75, "1 min 15 s"), (7260, "2 h 1 min")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text
