"""An exercise, and the feedback on an answer."""

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Feedback:
    """The feedback on an answer; it is true if the answer is right.

    ``state`` is "open" (no answer yet), "right" or "wrong"; ``text`` is a sentence or two in Markdown.
    """

    state: str
    text: str

    def __bool__(self) -> bool:
        """Whether the answer is right."""
        return self.state == "right"

    def __repr__(self) -> str:
        """The text as it is."""
        return self.text

    def _repr_markdown_(self) -> str:
        if self.state == "open":
            return "❓ Not answered yet."  # the question stands above, in the notebook
        return f"{'✅' if self else '✏️'} {self.text}"


@dataclass(frozen=True)
class Exercise:
    """A question whose answer the package can compute.

    Attributes:
        question: Markdown.
        solution: computes the answer; a number, or one of ``choices``.
        hint: the feedback on a wrong answer.
        reason: the feedback on a right answer.
        choices: the answers to choose from; none: the answer is a number.
        tolerance: relative error up to which a number is right.
    """

    question: str
    solution: Callable[[], float | str]
    hint: str
    reason: str
    choices: tuple[str, ...] = ()
    tolerance: float = 0.01

    def judge(self, name: str, answer: Any) -> Feedback:
        """The feedback on an answer; None poses the question."""
        if answer is None:
            choose = f" (one of {', '.join(map(repr, self.choices))})" if self.choices else ""
            return Feedback("open", f"**{name}** {self.question}{choose}")
        if self.choices:
            right = self._choice(answer) == self.solution()
        else:
            right = math.isclose(_number(answer), float(self.solution()), rel_tol=self.tolerance, abs_tol=1e-9)
        return Feedback("right", f"Right. {self.reason}") if right else Feedback("wrong", f"Not yet. {self.hint}")

    def _choice(self, answer: Any) -> str:
        expected = f"expected one of {', '.join(map(repr, self.choices))}"
        if not isinstance(answer, str):
            raise TypeError(f"answer is a {type(answer).__name__}, {expected}")
        chosen = answer.strip().lower()
        if chosen not in self.choices:
            raise ValueError(f"answer is {answer!r}, {expected}")
        return chosen


def _number(answer: Any) -> float:
    if hasattr(answer, "item") and getattr(answer, "size", None) is not None:  # a tensor or an array
        try:
            answer = answer.item()
        except (ValueError, RuntimeError) as error:
            raise ValueError("answer has more than one element, expected one number") from error
    if isinstance(answer, bool) or not isinstance(answer, numbers.Real):
        raise TypeError(f"answer is a {type(answer).__name__}, expected a number")
    if not math.isfinite(answer):
        raise ValueError(f"answer is {answer!r}, expected a finite number")
    return float(answer)
