"""Preparing a whole data set at once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from workbench.checks import check_whole
from workbench.data.files.entries import Entry
from workbench.data.files.folders import FileDataset
from workbench.data.files.prepared import Prepared


class Done(NamedTuple):
    """How far preparation is: images prepared by this call, images found prepared, images in all."""

    prepared: int
    found: int
    images: int


@dataclass
class _Preparation(Dataset[bool | Exception]):
    """Item i prepares image i: True if it was not prepared yet, False if it was, or the error."""

    dataset: FileDataset
    store: Prepared
    entries: list[Entry]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> bool | Exception:
        entry = self.entries[index]
        if self.store.find(entry) is not None:
            return False
        try:
            self.store.write(entry, self.dataset.load(entry))
        except (OSError, ValueError) as error:  # a worker's own would come wrapped in its traceback
            return error
        return True


def prepare(
    cls: type[FileDataset],
    root: str | Path | None,
    folder: str | Path,
    *,
    workers: int = 0,
    on_done: Callable[[Done], None] | None = None,
    **options: Any,
) -> tuple[Done, Path]:
    """Decode, resize and keep every image of a data set; continues where an earlier call was stopped.

    Args:
        cls: its reader.
        root: the folder that holds it.
        folder: where prepared sets lie; what training is told as ``prepared``.
        workers: processes beside this one.
        on_done: told after each image.
        options: the reader's own options; training must name the same ones.

    Returns:
        How many were prepared, and the folder that holds them.

    Raises:
        FileNotFoundError: files of the data set are missing.
        ValueError: a file is damaged; what was prepared before it stays.
        OSError: the folder cannot be written.
    """
    check_whole(workers, "workers", least=0)
    dataset = cls(root, "test", prepared=folder, **options)
    assert dataset.store is not None
    entries = [entry for part in cls.parts_of(dataset.place) for entry in dataset.complete(part)]
    done = Done(0, 0, len(entries))
    preparation = _Preparation(dataset, dataset.store, entries)
    for prepared in DataLoader(preparation, batch_size=None, num_workers=workers):
        if isinstance(prepared, Exception):
            raise prepared
        done = Done(done.prepared + bool(prepared), done.found + (not prepared), done.images)
        if on_done:
            on_done(done)
    return done, dataset.store.folder
