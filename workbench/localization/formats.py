"""The text formats in which predicted and annotated points are exchanged, as NWPU-Crowd's benchmark defines them.

Predictions hold a line ``id n x1 y1 x2 y2 ...`` an image; annotations a line ``id n (x y sigma_s sigma_l level) * n``.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.io.files import atomic_write
from workbench.io.text import TABLE_COSTS, comma_hint, is_number, read_text
from workbench.tensor_checks import check_not_negative, check_points, check_tensor

AREA_LEVELS = ("10^0 to 10^1", "10^1 to 10^2", "10^2 to 10^3", "10^3 to 10^4", "10^4 to 10^5", "10^5 and up")
"""NWPU-Crowd's levels of a head's area in square pixels."""


@dataclass(frozen=True)
class Heads:
    """The annotated heads of one image.

    Attributes:
        points: (N, 2), x then y, image pixels.
        sigma_small: (N,), the smaller matching radius in pixels.
        sigma_large: (N,), the larger one.
        level: (N,), level of the head's area, an index into ``AREA_LEVELS``.

    Raises:
        TypeError: not tensors of numbers.
        ValueError: lengths that differ, values that are not finite, negative radii, a level that there is not.
    """

    points: Float[Tensor, "n 2"]
    sigma_small: Float[Tensor, "n"]
    sigma_large: Float[Tensor, "n"]
    level: Int[Tensor, "n"]

    def __post_init__(self) -> None:
        check_points(self.points)
        for values, name in ((self.sigma_small, "sigma_small"), (self.sigma_large, "sigma_large")):
            check_tensor(values, name, shape=(len(self.points),))
            check_not_negative(values, name)
        if self.level.shape != (len(self.points),) or self.level.is_floating_point():
            raise ValueError(f"level has shape {tuple(self.level.shape)}, expected {len(self.points)} whole numbers")
        if len(self.level) and not 0 <= int(self.level.min()) <= int(self.level.max()) < len(AREA_LEVELS):
            found = f"{int(self.level.min())} to {int(self.level.max())}"
            raise ValueError(f"level holds {found}, expected 0 to {len(AREA_LEVELS) - 1}")

    def __len__(self) -> int:
        return len(self.points)


def heads_of_boxes(points: Float[Tensor, "n 2"], boxes: Float[Tensor, "n 4"]) -> Heads:
    r"""Matching radii and levels as NWPU-Crowd takes them from boxes of width w and height h.

    .. math:: \sigma_s = \lfloor \min(w, h) / 2 \rfloor, \quad \sigma_l = \lfloor \sqrt{w^2 + h^2} / 2 \rfloor

    and level k where :math:`10^k \le w h < 10^{k + 1}`, the last one open.

    Args:
        points: (N, 2), x then y, image pixels.
        boxes: (N, 4), x1, y1, x2, y2 of each head.
    """
    check_points(points)
    check_tensor(boxes, "boxes", shape=(len(points), 4))
    width, height = (boxes[:, 2:] - boxes[:, :2]).double().unbind(1)
    if bool((torch.minimum(width, height) < 0).any()):
        raise ValueError("boxes hold negative widths or heights, expected x1 <= x2 and y1 <= y2")
    area = (width * height).clamp(min=1)
    # (log10 of a power of ten may round down)
    level = (area[:, None] >= 10.0 ** torch.arange(1, len(AREA_LEVELS)).to(area)).sum(1)
    small = (torch.minimum(width, height) / 2).floor()
    return Heads(points, small.to(points), (torch.hypot(width, height) / 2).floor().to(points), level)


def read_predictions(path: str | Path) -> dict[str, Float[Tensor, "n 2"]]:
    """Read predicted points: image id -> (N, 2) in float64, x then y, in the order of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not of this format; the message names file and line.
    """
    return {name: torch.from_numpy(rows) for name, rows in _lines(Path(path), 2).items()}


def read_truth(path: str | Path) -> dict[str, Heads]:
    """Read annotated heads: image id -> heads in float64; errors as :func:`read_predictions`."""
    heads = {}
    for name, rows in _lines(Path(path), 5).items():
        values = torch.from_numpy(rows)
        heads[name] = Heads(values[:, :2], values[:, 2], values[:, 3], values[:, 4].long())
    return heads


def write_predictions(path: str | Path, predictions: Mapping[str, Float[Tensor, "n 2"]]) -> None:
    """Write predicted points; each number with the digits that give it back.

    Raises:
        ValueError: an id that is empty or holds blanks, points that are not (N, 2) and finite.
        OSError: the file cannot be written.
    """
    for points in predictions.values():
        check_points(points)
    _write(Path(path), {name: _texts(points) for name, points in predictions.items()}, 2)


def write_truth(path: str | Path, heads: Mapping[str, Heads]) -> None:
    """Write annotated heads; errors as :func:`write_predictions`."""
    rows = {}
    for name, one in heads.items():
        columns = [_texts(part[:, None]) for part in (*one.points.unbind(1), one.sigma_small, one.sigma_large)]
        columns.append([str(level) for level in one.level.tolist()])
        rows[name] = [text for row in zip(*columns, strict=True) for text in row]
    _write(Path(path), rows, 5)


def write_csv(path: str | Path, found: Mapping[str, tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]]) -> None:
    """Write points with their scores as CSV, a line a point: image, x, y, score.

    Raises:
        ValueError: points that are not (N, 2) and finite.
        OSError: the file cannot be written.
    """
    with atomic_write(path, "w") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", "x", "y", "score"])
        for name, (points, scores) in found.items():
            check_points(points)
            numbers = _texts(torch.cat([points, scores[:, None]], dim=1))
            rows.writerows([name, *numbers[start : start + 3]] for start in range(0, len(numbers), 3))


def _texts(values: Tensor) -> list[str]:
    """The shortest text of each number that reads back as that number."""
    return [np.format_float_positional(value, trim="-") for value in values.detach().cpu().numpy().flatten()]


def _write(path: Path, rows: Mapping[str, list[str]], width: int) -> None:
    for name in rows:
        if not name or name.split() != [name]:
            raise ValueError(f"image id is {name!r}, expected text without blanks")
    with atomic_write(path, "w") as file:
        for name, texts in rows.items():
            file.write(" ".join([name, str(len(texts) // width), *texts]) + "\n")


def _lines(path: Path, width: int) -> dict[str, np.ndarray]:
    """Each line's numbers as (N, width); blank lines are passed over."""
    found: dict[str, np.ndarray] = {}
    for number, line in enumerate(read_text(path, "file", TABLE_COSTS).split("\n"), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            found[fields[0]] = _numbers(fields, width, known=fields[0] in found)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return found


def _numbers(fields: list[str], width: int, known: bool) -> np.ndarray:
    """The numbers of one line, checked."""
    if known:
        raise ValueError(f"image {fields[0]!r} has a line above already, expected one line an image")
    if len(fields) < 2 or not fields[1].isdecimal():
        found = f"{fields[1]!r}" if len(fields) > 1 else "nothing"
        raise ValueError(f"found {found} after the image's id, expected the number of its points")
    expected = int(fields[1]) * width
    if len(fields) - 2 != expected:
        raise ValueError(
            f"found {len(fields) - 2} numbers for {fields[1]} points, expected {width} a point: {expected}"
        )
    wrong_field = next((field for field in fields[2:] if not is_number(field)), None)
    if wrong_field is not None:
        raise ValueError(f"found {wrong_field[:60]!r}, expected a number{comma_hint(wrong_field)}")
    numbers = np.array(fields[2:], dtype=np.float64).reshape(-1, width)
    if not np.isfinite(numbers).all():
        raise ValueError("found NaN or infinite numbers, expected finite ones")
    if width == 5:
        if len(numbers) and (numbers[:, 2:4] < 0).any():
            raise ValueError(f"found a radius of {numbers[:, 2:4].min():g}, expected values >= 0")
        wrong = ~np.isin(numbers[:, 4], np.arange(len(AREA_LEVELS)))
        if wrong.any():
            raise ValueError(f"found level {numbers[wrong, 4][0]:g}, expected 0 to {len(AREA_LEVELS) - 1}")
    return numbers
