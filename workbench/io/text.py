"""Text and JSON files read safely: one clear error for whatever is wrong with them."""

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 28  # of a file that is read whole


def read_text(path: Path, what: str = "annotation") -> str:
    """The text of a UTF-8 file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not text, or larger than ``MOST_BYTES``; the message names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {what} {path}")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, expected at most {MOST_BYTES}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8") from error
    if "\0" in text:
        raise ValueError(f"{path} is not text: it holds zero bytes")
    return text


def read_json(path: Path) -> Any:
    """What a JSON file holds; errors as :func:`read_text`.

    Raises:
        ValueError: it is not JSON; the message names it.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


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


def read_rows(path: Path, columns: int, separator: str | None = None) -> list[list[float]]:
    """The numbers of a text file, one row a line; empty lines are skipped.

    Args:
        path: the file.
        columns: numbers in each line.
        separator: what stands between them; any white space if None.

    Raises:
        ValueError: a line holds something else; the message names the file and the line.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        cells = line.split(separator)
        if not line.strip():
            continue
        try:
            row = [float(cell) for cell in cells]
        except ValueError:
            row = []
        if len(row) != columns:
            raise ValueError(f"{path} holds {line[:60]!r} in line {number}, expected {columns} numbers")
        rows.append(row)
    return rows
