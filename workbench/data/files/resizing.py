"""Rules for the size that images are brought to, by name."""

import re
from collections.abc import Callable

Size = tuple[int, int]
Rule = Callable[[Size], Size]

RULES = {
    "none": "the image's own size",
    "longest:N": "the longer side at most N pixels",
    "shortest:N": "the shorter side at least N pixels",
    "shortest:N-M": "the shorter side brought into [N, M] pixels",
    "qnrf": "shortest:512-2048, as is common for UCF-QNRF",
    "multiple:N": "each side the nearest multiple of N pixels, at least N",
    "exact:HxW": "H x W pixels, whatever the shape was",
}
"""What each rule does; rules joined by "," are followed one after the other: ``longest:1920,multiple:16``."""

ALIASES = {"qnrf": "shortest:512-2048"}
FORM = re.compile(r"(longest|multiple):(\d{1,6})|(shortest):(\d{1,6})(?:-(\d{1,6}))?|(exact):(\d{1,6})x(\d{1,6})")


def resize_rule(spec: str) -> Rule:
    """The function from an image's (H, W) to its new one that ``spec`` names.

    The aspect ratio is kept by "longest" and "shortest" up to rounding to whole pixels; points move with the image
    (:func:`workbench.data.transforms.resize_sample`).

    Args:
        spec: one of ``RULES``, or several joined by ",".

    Raises:
        ValueError: an unknown rule; the message lists the known ones.
    """
    rules = [_single(part.strip()) for part in spec.split(",")] if isinstance(spec, str) else [_single(repr(spec))]

    def follow(size: Size) -> Size:
        for rule in rules:
            size = rule(size)
        return size

    return follow


def _single(spec: str) -> Rule:
    if spec == "none":
        return lambda size: size
    found = FORM.fullmatch(ALIASES.get(spec, spec))
    numbers = [int(text) for text in found.groups()[1:] if text and text.isdigit()] if found else []
    if found is None or min(numbers) < 1 or (found[3] and len(numbers) == 2 and numbers[0] > numbers[1]):
        raise ValueError(f"resize is {spec!r}, expected one of {', '.join(RULES)}, or several joined by ','")
    kind = found[1] or found[3] or found[6]
    if kind == "exact":
        return lambda size: (numbers[0], numbers[1])
    if kind == "multiple":
        step = numbers[0]
        return lambda size: tuple(max(step, int(side / step + 0.5) * step) for side in size)  # type: ignore[return-value]
    if kind == "longest":
        return lambda size: _scaled(size, min(1.0, numbers[0] / max(size)))
    least, most = numbers[0], numbers[1] if len(numbers) == 2 else None

    def shortest(size: Size) -> Size:
        side = min(size)
        wanted = max(least, side if most is None else min(side, most))
        return _scaled(size, wanted / side)

    return shortest


def _scaled(size: Size, factor: float) -> Size:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
