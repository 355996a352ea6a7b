"""MATLAB files, read by ``scipy.io.loadmat`` after a check: numbers, text, cells and structs, never objects or code.

``loadmat`` trusts the type codes, counts and sizes inside a file. A damaged file of version 5 can crash the whole
process (an unknown type code does), and a small one can decompress to gigabytes. So its arrays are checked here first.
"""

import io
import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from workbench.io.files import check_regular

INT8, UINT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 2, 5, 6, 14, 15
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}  # bytes of each plain type
CELL, STRUCT, CHAR = 1, 2, 4
NUMBERS = range(6, 16)
MOST_MATLAB_BYTES = 1 << 26  # of a file, before and after decompression; the largest map of a data set takes 17 MB
MOST_MATLAB_4_BYTES = 1 << 23  # of a file of version 4: 500,000 points; measured: 80,000 empty arrays (2 MB) take 1.5 s
MOST_ARRAYS = 200_000  # of a file, cells and fields counted; Mall's annotation has 6,000
MOST_DEPTH = 12

Element = tuple[int, memoryview]
"""One element of a file: its type code and its data."""


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    """The elements that follow one another in ``data``; ``ValueError`` where one is cut, or there are too many."""
    place = found = 0
    while place < len(data):
        found += 1
        if found > MOST_ARRAYS:
            raise ValueError(f"it holds more than {MOST_ARRAYS:,} arrays")
        if place + 8 > len(data):
            raise ValueError("it ends within a tag")
        kind, size = struct.unpack_from(order + "II", data, place)
        padding = 0 if kind == COMPRESSED else -size % 8  # elements begin at multiples of eight bytes
        start, end = place + 8, place + 8 + size + padding
        if kind >> 16:  # the short form: type and size in one word, the data in the other
            kind, size, start, end = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        if start + size > min(len(data), end):
            raise ValueError(f"an element of {size} bytes reaches past the end")
        yield kind, data[start : start + size]
        place = end


def _check_array(data: memoryview, order: str, left: Iterator[int], depth: int = 0) -> None:
    """Raise ``ValueError`` unless ``data`` is one sound array of numbers, text, cells or structs.

    Its elements are flags, shape, name and values, in the byte ``order`` "<" or ">". ``left`` gives a value for each
    array that the file may still hold; ``depth`` counts the cells and structs around this one.
    """
    if depth > MOST_DEPTH or next(left, None) is None:
        raise ValueError(f"its arrays are nested more than {MOST_DEPTH} deep, or there are more than {MOST_ARRAYS:,}")
    if not data:  # an empty array may leave out everything
        return
    parts = list(_elements(data, order))
    kinds, sizes = [kind for kind, _ in parts[:3]], [len(part) for _, part in parts[:3]]
    if kinds not in ([UINT32, INT32, INT8], [UINT32, INT32, UINT8]) or sizes[0] != 8 or sizes[1] < 8 or sizes[1] % 4:
        raise ValueError("an array's header is damaged")
    (flags,) = struct.unpack_from(order + "I", parts[0][1])
    shape = struct.unpack(f"{order}{sizes[1] // 4}i", parts[1][1])
    kind, count, parts = flags & 0xFF, math.prod(shape), parts[3:]
    if min(shape) < 0:
        raise ValueError(f"an array's header is damaged: it has the shape {shape}")
    if kind not in (CELL, STRUCT, CHAR, *NUMBERS):
        raise ValueError(f"it holds an array of class {kind}, expected numbers, text, cells or structs")
    if kind == STRUCT:
        if len(parts) < 2:
            raise ValueError("a struct has no field names")
        (length_kind, length), (name_kind, names), *parts = parts
        width = int.from_bytes(length, "little" if order == "<" else "big") if len(length) == 4 else 0
        if length_kind != INT32 or name_kind not in (INT8, UINT8) or not width or len(names) % width:
            raise ValueError("a struct's field names are damaged")
        count *= len(names) // width
    if kind in (CELL, STRUCT):
        if len(parts) != count or any(kind != MATRIX for kind, _ in parts):
            raise ValueError(f"a cell or struct holds {len(parts)} arrays, expected {count}")
        for _, part in parts:
            _check_array(part, order, left, depth + 1)
        return
    wanted = 2 if flags & 0x800 else 1  # the real part, and the imaginary one where the flag says so
    if len(parts) != wanted and (kind != CHAR or count):
        raise ValueError(f"an array holds {len(parts)} parts, expected {wanted}")
    for code, part in parts:
        # text may be stored in fewer bytes (UTF-8) than its shape says letters, never in none
        fits = 4 * len(part) >= count if kind == CHAR else len(part) == count * WIDTHS.get(code, 0)
        if code not in WIDTHS or not fits:
            raise ValueError(f"an array of shape {shape} holds {len(part)} bytes of type {code}")


def _check_file(content: bytes, order: str) -> list[str]:
    """The variables' names; ``ValueError`` unless ``content`` is a sound MATLAB file of version 5 to 7.2."""
    arrays, left, names = iter(range(MOST_ARRAYS)), MOST_MATLAB_BYTES, []
    for kind, data in _elements(memoryview(content)[128:], order):
        if kind == COMPRESSED:
            stream = zlib.decompressobj()
            plain = stream.decompress(data, left + 1)
            left -= len(plain)
            if not stream.eof or left < 0:
                raise ValueError(
                    f"a compressed element is cut, or the file decompresses to more than {MOST_MATLAB_BYTES:,} bytes"
                )
            inner = list(_elements(memoryview(plain), order))
            if len(inner) != 1:
                raise ValueError(f"a compressed element holds {len(inner)} arrays, expected one")
            kind, data = inner[0]
        if kind != MATRIX:
            raise ValueError(f"it holds an element of type {kind}, expected arrays")
        _check_array(data, order, arrays)
        _, name = next(islice(_elements(data, order), 2, None), (0, b""))
        names.append(bytes(name).decode("latin1"))
    return names


def read_variables(path: str | Path) -> dict[str, Any]:
    """The variables of a MATLAB file of version 4 to 7.2, by name, each without the cells around it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a MATLAB file, damaged, too large, with objects in it or one variable twice; the message names
            the file.
    """
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import matfile_version

    path = Path(path)
    check_regular(path, "annotation", MOST_MATLAB_BYTES)
    content = path.read_bytes()
    try:
        try:
            version = matfile_version(io.BytesIO(content))[0]  # 0 for version 4
        except Exception as error:
            raise ValueError(f"its header is not a MATLAB file's ({error})") from error
        if version == 2:
            raise ValueError("it is of version 7.3 (HDF5), expected 7.2 or older (save with -v7)")
        if version == 1:
            names = _check_file(content, "<" if content[126:128] == b"IM" else ">")
        else:
            if len(content) > MOST_MATLAB_4_BYTES:
                raise ValueError(
                    f"it is of version 4 and has {len(content):,} bytes, expected at most {MOST_MATLAB_4_BYTES:,}"
                )
            names = [name for name, _, _ in whosmat(io.BytesIO(content))]
            if not all(names):  # zeros are taken for arrays of version 4
                raise ValueError("it holds a variable without a name")
        twice = [repr(name) for name, times in Counter(names).items() if times > 1]
        if twice:
            raise ValueError(f"it holds {', '.join(twice[:5])} more than once")
        variables = loadmat(io.BytesIO(content))
    except Exception as error:  # on what is still damaged the decoder raises anything from KeyError to zlib.error
        raise ValueError(f"{path} is not a MATLAB file that can be read: {error}") from error
    return {name: unwrap_cells(value) for name, value in variables.items() if not name.startswith("__")}


def read_mat(path: str | Path, *keys: str) -> Any:
    """The first of the variables ``keys`` that a MATLAB file holds; errors as there and in :func:`pick`."""
    variables = read_variables(path)
    return variables[pick(variables, path, *keys)]


def pick(variables: Mapping[str, Any], path: str | Path, *keys: str) -> str:
    """The first of ``keys`` that is among the variables of the file ``path``; ``ValueError`` if none is."""
    for key in keys:
        if key in variables:
            return key
    held = ", ".join(map(repr, list(variables)[:20])) or "nothing"
    wanted = f"{'one of' if len(keys) > 1 else 'the variable'} {', '.join(map(repr, keys))}"
    raise ValueError(f"{path} holds {held}, expected {wanted}")


def unwrap_cells(value: Any) -> Any:
    """What lies inside cells and arrays of one element; structs stay records."""
    while isinstance(value, np.ndarray) and value.size == 1 and (value.dtype == object or value.dtype.names):
        value = value.flat[0]
    return value


def field(value: Any, name: str, path: Path, key: str) -> Any:
    """What the field ``name`` of a struct holds; ``path`` and ``key`` say in an error where the struct was found."""
    names = fields(value)
    if name not in names:
        found = f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        found = f"a struct with the fields {', '.join(map(repr, names))}" if names else found
        raise ValueError(f"{path}: {key} is {found}, expected a struct with the field {name!r}")
    return unwrap_cells(value[name])


def fields(value: Any) -> tuple[str, ...]:
    """The names of a struct's fields; none of what is no struct."""
    return getattr(getattr(value, "dtype", None), "names", None) or ()
