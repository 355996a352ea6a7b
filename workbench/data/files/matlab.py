"""MATLAB files read safely: numbers, text, cells and structs, never objects or code.

``scipy.io.loadmat`` trusts the type codes and sizes inside a file, and a damaged one can crash the whole process. So
the file's elements are walked here first, and only a file that is sound all through is handed on.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HEADER = 128
# bytes of one value of each numeric and text type of the format
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
MATRIX, COMPRESSED = 14, 15
CELL, STRUCT, CHAR = 1, 2, 4
NUMBERS = range(6, 16)
MOST_BYTES = 1 << 28  # of an element unfolded
MOST_DEPTH = 12


class Element(NamedTuple):
    """One element of the file: its type code and its data."""

    kind: int
    data: memoryview


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    """The elements that follow one another in ``data``.

    Raises:
        ValueError: a tag is cut, or an element reaches past the end.
    """
    place = 0
    while place < len(data):
        if place + 8 > len(data):
            raise ValueError("it ends within a tag")
        kind, size = struct.unpack_from(order + "II", data, place)
        start = place + 8
        if kind >> 16:  # the short form: type and size in one word, the data in the other
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise ValueError(f"a short element states {size} bytes, expected at most 4")
        if start + size > len(data):
            raise ValueError(f"an element of {size} bytes reaches past the end")
        yield Element(kind, data[start : start + size])
        if start == place + 4:
            place += 8
        else:
            place = start + size + (0 if kind == COMPRESSED else -size % 8)


def _values(elements: Iterator[Element], order: str, kind: int, what: str) -> tuple[int, ...]:
    """The next element's 32-bit values, which must be of type ``kind``."""
    element = next(elements, None)
    if element is None or element.kind != kind or len(element.data) % 4:
        raise ValueError(f"an array has no {what}")
    return struct.unpack(f"{order}{len(element.data) // 4}{'I' if kind == 6 else 'i'}", element.data)


def _check_array(data: memoryview, order: str, depth: int = 0) -> None:
    """Raise ``ValueError`` unless ``data`` is one sound array of numbers, text, cells or structs."""
    if not data:  # an empty array may leave out everything
        return
    if depth > MOST_DEPTH:
        raise ValueError(f"cells are nested more than {MOST_DEPTH} deep")
    elements = _elements(data, order)
    flags = _values(elements, order, 6, "flags")
    shape = _values(elements, order, 5, "shape")
    name = next(elements, None)
    if len(flags) != 2 or len(shape) < 2 or min(shape) < 0 or name is None or name.kind not in (1, 2):
        raise ValueError("an array's header is damaged")
    kind, count = flags[0] & 0xFF, math.prod(shape)
    rest = list(elements)
    if kind in (CELL, STRUCT):
        if kind == STRUCT:
            if len(rest) < 2 or rest[0].kind != 5 or len(rest[0].data) != 4 or rest[1].kind not in (1, 2):
                raise ValueError("a struct has no field names")
            (length,) = struct.unpack(order + "i", rest[0].data)
            if length < 1 or len(rest[1].data) % length:
                raise ValueError("a struct's field names are damaged")
            count *= len(rest[1].data) // length
            rest = rest[2:]
        if len(rest) != count or any(element.kind != MATRIX for element in rest):
            raise ValueError(f"a cell or struct holds {len(rest)} arrays, expected {count}")
        for element in rest:
            _check_array(element.data, order, depth + 1)
    elif kind == CHAR or kind in NUMBERS:
        parts = 2 if flags[0] & 0x800 else 1  # real, and imaginary where the flag says so
        if kind == CHAR and not count:
            parts = len(rest)
        if len(rest) != parts:
            raise ValueError(f"an array holds {len(rest)} parts, expected {parts}")
        for element in rest:
            width = WIDTHS.get(element.kind)
            # text may be stored in fewer bytes (UTF-8) than its shape says letters, never in none
            if width is None or (kind != CHAR and len(element.data) != count * width):
                raise ValueError(f"an array of shape {shape} holds {len(element.data)} bytes of type {element.kind}")
            if kind == CHAR and count > 4 * len(element.data):
                raise ValueError(f"text of {count} letters holds {len(element.data)} bytes")
    else:
        raise ValueError(f"it holds an array of class {kind}, expected numbers, text, cells or structs")


def _check_file(content: bytes) -> None:
    """Raise ``ValueError`` unless ``content`` is a sound MATLAB file of version 5 to 7.2."""
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("its header is not a MATLAB file's")
    (version,) = struct.unpack_from(order + "H", content, 124)
    if version == 0x0200:
        raise ValueError("it is of version 7.3 (HDF5), expected 7.2 or older (save with -v7)")
    if version != 0x0100:
        raise ValueError(f"its version is {version:#06x}, expected 0x0100")
    for element in _elements(memoryview(content)[HEADER:], order):
        if element.kind == COMPRESSED:
            stream = zlib.decompressobj()
            unfolded = stream.decompress(element.data, MOST_BYTES)
            if not stream.eof:
                raise ValueError(f"a compressed element is cut, or unfolds to more than {MOST_BYTES} bytes")
            inner = list(_elements(memoryview(unfolded), order))
            if len(inner) != 1:
                raise ValueError(f"a compressed element holds {len(inner)} arrays, expected one")
            element = inner[0]
        if element.kind != MATRIX:
            raise ValueError(f"it holds an element of type {element.kind}, expected arrays")
        _check_array(element.data, order)


def read_variables(path: str | Path) -> dict[str, Any]:
    """The variables of a MATLAB file of version 5 to 7.2, by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a MATLAB file, is damaged or holds objects; the message names it.
    """
    from scipy.io import loadmat

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no annotation {path}")
    content = path.read_bytes()
    try:
        _check_file(content)
        variables = loadmat(io.BytesIO(content))
    except Exception as error:  # on what is still damaged the decoder raises anything from KeyError to zlib.error
        raise ValueError(f"{path} is not a MATLAB file that can be read: {error}") from error
    return {name: value for name, value in variables.items() if not name.startswith("__")}


def read_mat(path: str | Path, *keys: str) -> Any:
    """The first of the variables ``keys`` that a MATLAB file holds; errors as :func:`read_variables`.

    Raises:
        ValueError: it holds none of them; the message names the file and what it holds.
    """
    variables = read_variables(path)
    for key in keys:
        if key in variables:
            return variables[key]
    found = ", ".join(map(repr, variables)) or "nothing"
    raise ValueError(f"{path} holds {found}, expected the variable {' or '.join(map(repr, keys))}")


def unwrap(value: Any) -> Any:
    """What lies inside cells and arrays of one element; structs stay records."""
    while isinstance(value, np.ndarray) and value.size == 1 and (value.dtype == object or value.dtype.names):
        value = value.flat[0]
    return value
