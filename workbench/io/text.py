"""Text and JSON files read safely: one clear error for whatever is wrong with them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.io.files import check_regular

MOST_TEXT_BYTES = 1 << 28  # of a file that is read whole
MOST_MEMORY = 1 << 30  # of a file's text and what is made of it

# Bytes of memory that a character stands for when the text is decoded. Measured on texts made to take much: JSON takes
# at most 1.7 times the sum, tables 0.9 times.
JSON_COSTS = {"{": 160, "[": 80, ",": 40, ":": 90}
SPACES = "".join(letter for letter in map(chr, range(0x3001)) if letter.isspace())
TABLE_COSTS = dict.fromkeys(f"{SPACES},;", 120)

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def read_text(path: Path, what: str = "annotation", costs: Mapping[str, int] | None = None) -> str:
    """The text of a UTF-8 file; lines end in a line feed only.

    Args:
        path: the file.
        what: what the file is, for the message.
        costs: bytes of memory that each of these characters stands for when the text is decoded further.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a regular file or not text, is larger than ``MOST_TEXT_BYTES``, or would take more than
            ``MOST_MEMORY`` when it is decoded; the message names it.
    """
    check_regular(path, what, MOST_TEXT_BYTES)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8") from error
    found = CONTROL.search(text)
    if found is not None:
        name = "zero bytes" if found[0] == "\0" else f"the control character {found[0]!r}"
        raise ValueError(f"{path} is not text: it holds {name}")
    memory = text.__sizeof__() + sum(cost * text.count(letter) for letter, cost in (costs or {}).items())
    if memory > MOST_MEMORY:
        raise ValueError(f"{path} takes about {memory:,} bytes when it is decoded, expected at most {MOST_MEMORY:,}")
    return text


def read_json(path: Path) -> Any:
    """What a JSON file holds; errors as :func:`read_text`.

    Raises:
        ValueError: it is not JSON, nests too deeply, or an object has one key twice; the message names the file.
    """
    text = read_text(path, costs=JSON_COSTS)
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError(f"{path} is not JSON that can be read: it nests too deeply") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, each of whose keys must stand once: ``json`` itself would keep the last one in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"an object has the key {double[:60]!r} {keys.count(double)} times, expected once")
    return found


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """The object that a JSON file holds, with at least ``keys``; errors as :func:`read_json`."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a JSON {type(found).__name__}, expected an object")
    missing = [key for key in keys if key not in found]
    if missing:
        held = ", ".join(map(repr, found)) or "nothing"
        raise ValueError(f"{path} holds {held}, expected {', '.join(map(repr, keys))}")
    return found


def read_rows(path: Path, columns: int) -> list[list[float]]:
    """The numbers of a text file, ``columns`` a line between white space; empty lines are skipped.

    Raises:
        ValueError: a line holds something else; the message names the file and the line.
    """
    rows = []
    for number, line in enumerate(read_text(path, costs=TABLE_COSTS).split("\n"), start=1):
        if not line.strip():
            continue
        cells = line.split()
        if len(cells) != columns or not all(map(is_number, cells)):
            raise ValueError(
                f"{path} holds {line[:60]!r} in line {number}, expected {columns} numbers{comma_hint(*cells)}"
            )
        rows.append([float(cell) for cell in cells])
    return rows


def is_number(text: str) -> bool:
    """Whether ``text`` is a number as files write it: ``float`` also takes ``1_000`` and digits of any script."""
    return NUMBER.fullmatch(text) is not None


def is_decimal_comma(text: str) -> bool:
    """Whether ``text`` is a number with a decimal comma, such as 12,5."""
    return DECIMAL_COMMA.fullmatch(text) is not None


def comma_hint(*cells: str) -> str:
    """The end of a message about cells that are not numbers: what to do, where one has a decimal comma."""
    found = next((cell for cell in cells if is_decimal_comma(cell)), None)
    return "" if found is None else f"; write decimals with a point: {found.replace(',', '.')[:60]}"
