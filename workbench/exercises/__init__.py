"""Exercises with checked answers: each notebook ends with a few.

    >>> from workbench import check
    >>> check("000.1", 7)
    Right. ...

An answer is computed from the package itself when it is checked, so that what is called right is what the notebook
does. Adding one is one entry in the table of its module.
"""

from importlib import import_module
from typing import Any

from workbench.exercises.exercise import Exercise, Verdict

# notebook -> the module that holds its exercises
MODULES = {
    "000": "basics",
    "010": "basics",
    "100": "transport",
    "110": "transport",
    "120": "transport",
    "130": "transport",
    "140": "basics",
    "200": "locality",
    "210": "locality",
    "220": "locality",
    "300": "adversarial",
    "400": "experts",
    "410": "experts",
}


def exercises(notebook: str) -> dict[str, Exercise]:
    """The exercises of a notebook ("100"), by name ("100.1"), in order.

    Raises:
        ValueError: a notebook without exercises; the message lists the others.
    """
    if notebook not in MODULES:
        raise ValueError(f"no exercises for notebook {notebook!r}, expected one of {', '.join(MODULES)}")
    found: dict[str, Exercise] = import_module(f"workbench.exercises.{MODULES[notebook]}").EXERCISES
    return {name: exercise for name, exercise in found.items() if name.startswith(f"{notebook}.")}


def check(name: str, answer: Any = None) -> Verdict:
    """Check an answer to an exercise; without one, pose the question.

    Args:
        name: "100.2": the notebook's number, a dot, the exercise's.
        answer: a number (anything with one element), or one of the choices that the question names.

    Returns:
        A verdict, shown as a sentence in a notebook; true where the answer is right.

    Raises:
        ValueError: an unknown name, a number that is not finite, a choice that is none; the message lists the known.
        TypeError: an answer of the wrong kind.
    """
    known = exercises(str(name).partition(".")[0])
    if name not in known:
        raise ValueError(f"unknown exercise {name!r}, expected one of {', '.join(known)}")
    return known[name].judge(name, answer)
