"""Files: checked before they are read; written whole or not at all, by a temporary file and a rename."""

import json
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


def check_regular(path: str | Path, what: str = "file", most: int | None = None) -> None:
    """Raise unless ``path`` is a regular file, or a link to one: opening a pipe would wait for ever.

    ``what`` names the file in the message; it may have at most ``most`` bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder, pipe, socket or device, or a larger file.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"there is no {what} {path}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise ValueError(f"{path} is {kind}, expected an ordinary file with the {what}")
    if most is not None and status.st_size > most:
        raise ValueError(f"{path} has {status.st_size:,} bytes, expected at most {most:,}")


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that takes its name only when it is complete and on the disk.

    Whoever reads ``path`` meanwhile, or after a crash, finds the old file or the new one, never a part. If anything
    fails the old file stays as it was and the temporary one is removed.

    Args:
        path: where the file goes; its folder is made where it is missing.
        mode: "wb" for bytes, "w" for text in UTF-8.

    Yields:
        The open file.

    Raises:
        ValueError: another mode.
        OSError: the file cannot be written (no space, no right); the message names it.
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"mode is {mode!r}, expected 'wb' or 'w'")
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, mode.replace("w", "x"), encoding="utf-8" if mode == "w" else None) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        ours = {str(place) for place in (path, temporary, *path.parents)}
        if error.filename is not None and str(error.filename) not in ours:
            raise  # the caller's own trouble with another file
        reason = error.strerror or str(error)
        raise type(error)(error.errno, f"cannot write {path}: {reason}; the file is left as it was") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_parts(folder: str | Path) -> None:
    """Remove what killed writers left half-written in ``folder``; call it only where nobody else writes."""
    for part in Path(folder).glob(".*.part"):
        with suppress(OSError):
            part.unlink()


def _sync_folder(folder: Path) -> None:
    """Bring the rename itself to the disk, as far as the file system lets a folder be opened and flushed."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all; errors as in :func:`atomic_write`."""
    with atomic_write(path) as file:
        file.write(content)


def write_text(path: str | Path, content: str) -> None:
    """Write ``content`` to ``path`` in UTF-8, whole or not at all; errors as in :func:`atomic_write`."""
    with atomic_write(path, "w") as file:
        file.write(content)


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` to ``path`` as JSON, whole or not at all.

    Raises:
        ValueError: the content holds NaN or infinite numbers, which JSON does not know.
        TypeError: the content holds something that JSON does not know.
        OSError: as in :func:`atomic_write`.
    """
    try:
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"cannot write {path} as JSON: {error}") from error
    write_text(path, text + "\n")
