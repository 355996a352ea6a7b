"""Exercises with checked answers: each notebook ends with a few.

    >>> from workbench import check
    >>> check("000.1", 7)
    Right. ...

The right answer is computed by the package when an answer is checked, so it agrees with what the notebook does. A new
exercise is one entry in the table of its module.
"""

from importlib import import_module
from typing import Any

from workbench.exercises.exercise import Exercise, Feedback

MODULES = {
    **dict.fromkeys(("000", "010", "140"), "basics"),
    **dict.fromkeys(("100", "105", "110", "120", "130"), "transport"),
    **dict.fromkeys(("200", "210", "220"), "locality"),
    "300": "adversarial",
    **dict.fromkeys(("400", "410"), "experts"),
}
"""Notebook -> the module that holds its exercises."""


def exercises(notebook: str) -> dict[str, Exercise]:
    """The exercises of a notebook ("100"), by name ("100.1"), in order.

    Raises:
        ValueError: a notebook without exercises; the message lists the others.
    """
    if notebook not in MODULES:
        raise ValueError(f"no exercises for notebook {notebook!r}, expected one of {', '.join(MODULES)}")
    found: dict[str, Exercise] = import_module(f"workbench.exercises.{MODULES[notebook]}").EXERCISES
    return {name: exercise for name, exercise in found.items() if name.startswith(f"{notebook}.")}


def check(name: str, answer: Any = None) -> Feedback:
    """Check an answer to an exercise; without an answer, pose the question.

    Args:
        name: for instance "100.2": the notebook's number, a dot, the exercise's number.
        answer: a number (anything with one element), or one of the choices that the question names.

    Returns:
        Feedback, shown as a sentence in a notebook; it is true if the answer is right.

    Raises:
        ValueError: an unknown name or choice, where the message lists the known ones; a number that is not finite.
        TypeError: an answer of the wrong kind.
    """
    known = exercises(str(name).partition(".")[0])
    if name not in known:
        raise ValueError(f"unknown exercise {name!r}, expected one of {', '.join(known)}")
    return known[name].judge(name, answer)
