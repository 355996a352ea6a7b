"""Exercises: their answers against hand-typed ones, and what is said of right, wrong and impossible answers."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

import workbench
from workbench.exercises import MODULES, check, exercises

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
ANSWERS = {
    "000.1": 1, "000.2": 20, "000.3": 20,
    "010.1": 0.1818, "010.2": 4, "010.3": 3,
    "100.1": 0.02, "100.2": 0.608, "105.1": 347,
    "110.1": 0.1, "110.2": 1 / 3,
    "120.1": 1, "120.2": 0.02, "120.3": 0.7,
    "130.1": 1, "130.2": 0.6,
    "140.1": 0.8, "140.2": 3,
    "200.1": 2, "200.2": 0.3687, "200.3": 2,
    "210.1": "in", "210.2": 4 / 3,
    "220.1": 49,
    "300.1": 0.2, "300.2": 1, "300.3": "yes",
    "400.1": 6, "400.2": 7, "400.3": 0.5,
    "410.1": 3, "410.2": 7,
}  # fmt: skip
ALL = [name for notebook in MODULES for name in exercises(notebook)]


def test_every_exercise_has_a_hand_typed_answer():
    assert sorted(ALL) == sorted(ANSWERS)
    assert workbench.check is check


@pytest.mark.parametrize("name", ALL)
def test_right_wrong_and_open(name):
    exercise, answer = exercises(name[:3])[name], ANSWERS[name]
    assert check(name, answer)
    assert check(name, answer)._repr_markdown_().endswith(f"Right. {exercise.reason}")
    others = [choice for choice in exercise.choices if choice != answer] or [2.1 * answer + 0.3, -answer]
    for other in others:
        verdict = check(name, other)
        assert (verdict.state, bool(verdict)) == ("wrong", False)
        assert exercise.hint in repr(verdict)
    assert check(name).state == "open"
    assert exercise.question in repr(check(name))


@pytest.mark.parametrize("answer", [1, 1.0, np.float32(1), np.ones(1), torch.ones(()), torch.ones(1, 1)])
def test_numbers_of_every_kind(answer):
    assert check("000.1", answer)


def test_choices_are_read_kindly():
    assert check("210.1", " In ")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "answer", "error", "words"),
    [
        ("999.1", 1, ValueError, "no exercises for notebook '999'"),
        ("000.9", 1, ValueError, "expected one of 000.1, 000.2"),
        ("000.1", "seven", TypeError, "answer is a str, expected a number"),
        ("000.1", True, TypeError, "answer is a bool"),
        ("000.1", float("nan"), ValueError, "expected a finite number"),
        ("000.1", torch.ones(2), ValueError, "more than one element"),
        ("210.1", 3, TypeError, "expected one of 'in', 'out', 'left'"),
        ("210.1", "up", ValueError, "expected one of 'in', 'out', 'left'"),
    ],
)
def test_what_is_no_answer(name, answer, error, words):
    with pytest.raises(error, match=re.escape(words)):
        check(name, answer)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_pose_their_exercises(path):
    number = path.stem[:3]
    if number not in MODULES:
        pytest.skip("a notebook without exercises")
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert re.findall(r'check\("([0-9.]+)"', code) == list(exercises(number))
    for name, exercise in exercises(number).items():
        assert f"**{name}** {exercise.question}" in prose
