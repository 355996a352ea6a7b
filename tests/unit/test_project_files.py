"""Dependencies, pins, conda's file, Makefile and the checks of shapes: what is declared once holds everywhere."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import jaxtyping
import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from workbench.io import extras
from workbench.points import flip

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {name: list(map(Requirement, texts)) for name, texts in PROJECT["optional-dependencies"].items()}
CORE = [Requirement(text) for text in PROJECT["dependencies"]]
DECLARED = [*CORE, *(one for extra in EXTRAS.values() for one in extra if one.name != PROJECT["name"])]
CONDA_NAMES = {"torch": "pytorch"}
# torch's own wheels ask for exact builds of these, on the systems that have them.
LEFT_TO_TORCH = ("nvidia-", "cuda-", "triton")


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line) for line in lines)  # no address, no path
    pairs = [line.split("==") for line in lines]
    assert len({canonicalize_name(name) for name, _ in pairs}) == len(pairs)
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def needed() -> set[str]:
    """Every package that the project asks for on this system, and what those ask for in turn."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [(requirement.name, frozenset(requirement.extras)) for requirement in DECLARED]
    while waiting:
        name, extras = waiting.pop()
        name = canonicalize_name(name)
        if (name, extras) in found:
            continue
        found.add((name, extras))
        try:
            wants = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, wants):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return {name for name, _ in found}


def test_everything_that_is_needed_is_pinned():
    pinned = pins()
    missing = {name for name in needed() - set(pinned) if not name.startswith(LEFT_TO_TORCH)}
    assert missing == set()
    assert canonicalize_name(PROJECT["name"]) not in pinned
    assert not [name for name in pinned if name.startswith(LEFT_TO_TORCH)]


def test_the_pins_satisfy_what_is_declared():
    pinned = pins()
    for requirement in DECLARED:
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def conda() -> tuple[dict[str, Requirement], list[str]]:
    """What environment.yml asks conda and pip for, by conda's names."""
    content = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in content if isinstance(entry, dict)]
    asked = [Requirement(entry) for entry in [*(e for e in content if isinstance(e, str)), *pip] if entry != "-e ."]
    return {canonicalize_name(requirement.name): requirement for requirement in asked}, pip


def test_the_test_extra_brings_every_other_one():
    brought, waiting = set(), ["test"]
    while waiting:
        extra = waiting.pop()
        brought.add(extra)
        waiting += [name for one in EXTRAS[extra] if one.name == PROJECT["name"] for name in one.extras - brought]
    assert brought == set(EXTRAS)


def test_the_extras_bring_the_modules_that_the_rooms_ask_for():
    modules = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn", "yaml": "pyyaml"}
    for extra, names in extras.EXTRAS.items():
        brought = {canonicalize_name(one.name) for one in EXTRAS[extra]}
        assert {canonicalize_name(modules.get(name, name)) for name in names} <= brought, extra


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "data", ("torch", "no_such_module"))
    with pytest.raises(ModuleNotFoundError, match=r"no_such_module not installed.*extra 'data'.*workbench\[data\]"):
        extras.need("data")


def test_conda_asks_for_the_same():
    asked, pip = conda()
    expected = {
        CONDA_NAMES.get(requirement.name, canonicalize_name(requirement.name)): requirement.specifier
        for requirement in DECLARED
    }
    assert {name: requirement.specifier for name, requirement in asked.items() if name in expected} == expected
    assert set(asked) - set(expected) == {"python", "pip", "make"}
    assert asked["python"].specifier == Requirement(f"python{PROJECT['requires-python']}").specifier
    assert pip[-1] == "-e ."


def test_this_python_is_one_that_is_supported():
    assert (
        f"{sys.version_info.major}.{sys.version_info.minor}" in Requirement(f"x{PROJECT['requires-python']}").specifier
    )


def test_ci_calls_what_the_readme_tells_people_to_run():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1].endswith("exec make test")
    readme = (ROOT / "README.md").read_text()
    assert "make test" in readme
    assert "make report" in readme


def test_every_target_that_is_documented_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text() + (ROOT / "README.md").read_text()
    targets = sorted(set(re.findall(r"`make ([a-z-]+)", text)))
    assert {"test", "report", "lab"} <= set(targets)
    for target in targets:
        done = subprocess.run(["make", "-n", "-C", str(ROOT), target], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_wrong_shape_is_caught_at_the_call_in_the_second_run():
    checked = os.environ.get("WORKBENCH_TYPECHECK") == "1"
    with pytest.raises(jaxtyping.TypeCheckError if checked else ValueError):
        flip(torch.zeros(3), 5.0)
