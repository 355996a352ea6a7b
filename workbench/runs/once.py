"""A run in a folder named after what it is: executed once, then read."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from workbench.io.lock import own_folder
from workbench.io.source import source_digest
from workbench.runs.record import Record, read_record


def once(
    name: str, identity: str, root: str | Path, run: Callable[[Path], Record], *, code: str
) -> tuple[Record, Path]:
    """Execute a run in its own folder below ``root``, or take the record that lies there already.

    A digest of ``identity`` and of the source of the module ``code``, with all that it imports, is part of the folder's
    name, so that no result is taken for that of another configuration or of other code. Of two processes that ask for
    one run, the second waits. ``run`` writes ``record.json`` into the folder last.

    Returns:
        The record, and the folder.
    """
    digest = hashlib.sha256(f"{identity}\0{source_digest(code)}".encode()).hexdigest()[:12]
    folder = Path(root) / f"{name}-{digest}"
    with own_folder(folder, wait=None, again=True):
        kept = folder / "record.json"
        return (read_record(kept) if kept.exists() else run(folder)), folder
