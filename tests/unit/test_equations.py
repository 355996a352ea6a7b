"""Every equation, algorithm and lemma of the papers has exactly one home, and grep finds it."""

import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import equations  # noqa: E402

PACKAGE = list(equations.in_package())
NOTEBOOKS = list(equations.in_notebooks())
EVERY = [f"{paper} {number}" for paper, (_, numbers) in equations.PAPERS.items() for number in numbers]


@pytest.mark.parametrize("tag", EVERY)
def test_one_home(tag):
    homes = [home for home in PACKAGE if home.tag == tag] or [home for home in NOTEBOOKS if home.tag == tag]
    assert len(homes) == 1, f"[{tag}] has {len(homes)} homes: {[home.name for home in homes]}"


@pytest.mark.parametrize("tag", [tag for tag in EVERY if any(home.tag == tag for home in PACKAGE)])
def test_grep_finds_nothing_else_in_the_package(tag):
    """The tag stands in no comment and no second docstring: the first hit of grep is the home."""
    hits = Counter()
    for path in (ROOT / "workbench").rglob("*.py"):
        hits[path.name] += path.read_text(encoding="utf-8").count(f"[{tag}]")
    assert sum(hits.values()) == 1, f"[{tag}] stands in {dict(+hits)}"


def test_no_tag_names_an_equation_that_does_not_exist():
    assert {home.tag for home in [*PACKAGE, *NOTEBOOKS] if "p." not in home.tag} <= set(EVERY)


def test_the_index_lists_every_equation():
    page = equations.page()
    assert all(f"[{tag}]" in page for tag in EVERY)
