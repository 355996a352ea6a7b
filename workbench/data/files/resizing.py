"""Rules for the size that images are brought to, by name."""

import re
from dataclasses import dataclass

from workbench.data.sample import Size

RULES = {
    "none": "the image's own size",
    "longest:N": "the longer side at most N pixels",
    "shortest:N": "the shorter side at least N pixels",
    "shortest:N-M": "the shorter side brought into [N, M] pixels",
    "qnrf": "shortest:512-2048, as is common for UCF-QNRF",
    "multiple:N": "each side the nearest multiple of N pixels, at least N",
    "scale:F": "each side times F, a number such as 0.5",
    "exact:HxW": "H x W pixels, whatever the shape was",
}
"""What each rule does; rules joined by "," are followed one after the other: ``longest:1920,multiple:16``."""

ALIASES = {"qnrf": "shortest:512-2048"}
FORM = re.compile(
    r"(?P<single>longest|multiple):(\d{1,6})|(?P<ranged>shortest):(\d{1,6})(?:-(\d{1,6}))?|exact:(\d{1,6})x(\d{1,6})"
    r"|(?P<factor>scale):(\d{1,3}(?:\.\d{1,9})?)"
)


@dataclass(frozen=True)
class ResizeRule:
    """Rules followed one after the other: called with an image's (H, W) it gives the new one.

    Attributes:
        steps: for each rule its kind ("longest", "shortest", "multiple", "scale" or "exact") and its numbers.
    """

    steps: tuple[tuple[str, tuple[float, ...]], ...]

    def __call__(self, size: Size) -> Size:
        """(H, W) of the resized image of ``size``."""
        for kind, numbers in self.steps:
            size = _follow(kind, numbers, size)
        return size


def resize_rule(spec: str) -> ResizeRule:
    """The rule that ``spec`` names.

    The aspect ratio is kept by "longest" and "shortest" up to rounding to whole pixels; points move with the image
    (:func:`workbench.data.transforms.resize_sample`).

    Args:
        spec: one of ``RULES``, or several joined by ",".

    Raises:
        ValueError: an unknown rule; the message lists the known ones.
    """
    parts = [part.strip() for part in spec.split(",")] if isinstance(spec, str) else [repr(spec)]
    return ResizeRule(tuple(_parse(part) for part in parts if part != "none"))


def _parse(spec: str) -> tuple[str, tuple[float, ...]]:
    """Kind and numbers of one rule."""
    found = FORM.fullmatch(ALIASES.get(spec, spec))
    numbers = tuple(float(text) for text in found.groups() if text and text[0].isdecimal()) if found else ()
    if found is None or min(numbers) <= 0 or (found["ranged"] and numbers[0] > numbers[-1]):
        raise ValueError(f"resize is {spec!r}, expected one of {', '.join(RULES)}, or several joined by ','")
    return str(found["single"] or found["ranged"] or found["factor"] or "exact"), numbers


def _follow(kind: str, numbers: tuple[float, ...], size: Size) -> Size:
    """(H, W) after one rule."""
    if kind == "exact":
        return int(numbers[0]), int(numbers[1])
    if kind == "multiple":
        step = int(numbers[0])
        height, width = (max(step, int(side / step + 0.5) * step) for side in size)
        return height, width
    if kind == "scale":
        factor = numbers[0]
    elif kind == "longest":
        factor = min(1.0, numbers[0] / max(size))
    else:  # the shorter side at least the first number, at most the second where there is one
        side = min(size)
        factor = max(numbers[0], min(side, numbers[1]) if len(numbers) == 2 else side) / side
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
