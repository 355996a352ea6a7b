"""One owner of an output folder at a time: a lock that ends with its process and says who holds it."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.io.files import remove_parts, write_json

LOCK = ".lock"
OWNER = ".owner.json"


class FolderInUseError(RuntimeError):
    """Another process, or another part of this one, writes into the folder."""


@contextmanager
def own_folder(folder: str | Path, *, wait: float | None = 0, again: bool = False) -> Iterator[Path]:
    """Be the only writer in ``folder`` for the time of a ``with`` block.

    The operating system frees the lock when its process ends, even by ``kill -9``. The lock is a file ``.lock`` in the
    folder, which stays; ``.owner.json`` beside it says who holds it. What killed writers left half-written in the
    folder (``.*.part``) is removed.

    Args:
        folder: the folder; made where it is missing.
        wait: seconds to wait for the present owner; None waits for as long as it takes.
        again: this process may own the folder already, by a call that also set ``again``.

    Yields:
        The folder, as an absolute path.

    Raises:
        FolderInUseError: somebody else holds it; the message says which process, on which machine and since when.
        OSError: the folder cannot be made or written.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, is_singleton=again, thread_local=not again)
    try:
        lock.acquire(timeout=-1 if wait is None else wait)
    except Timeout:
        raise FolderInUseError(
            f"{folder} is in use by {_owner(folder)}; expected a folder that nobody else writes: "
            "wait until it is free, or choose another"
        ) from None
    try:
        remove_parts(folder)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(folder / OWNER, {"pid": os.getpid(), "host": socket.gethostname(), "since": started})
        yield folder
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):
                (folder / OWNER).unlink()
        lock.release()


def _owner(folder: Path) -> str:
    """Who holds the lock, as far as that can be read: the owner may only just have taken it."""
    try:
        found = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
