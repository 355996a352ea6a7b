"""TRANCOS."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor

from workbench.data.files.entries import as_points, check_lists
from workbench.data.files.folders import Annotation, Entry, FileDataset, Published
from workbench.data.files.regions import read_map
from workbench.io.text import read_rows, read_text

LISTS = {"train": "training", "val": "validation", "test": "test"}


class Trancos(FileDataset):
    """TRANCOS: 1,244 pictures of traffic cameras with a point on every vehicle.

    ``images/image-1-000001.jpg`` with ``image-1-000001.txt``, one vehicle a line: x and y. Pixels are counted from
    one, as MATLAB does (the centre of the first pixel, 1 in the file, is 0.5 here). ``image-1-000001mask.mat`` (``BW``,
    H x W) is the region of interest: vehicles are counted inside it only.
    ``image_sets/{training,validation,test}.txt`` list the parts. The usual score is GAME
    (:func:`workbench.metrics.game`). Arguments and errors as in :class:`~workbench.data.files.folders.FileDataset`.

    Reference:
        Guerrero-Gómez-Olmedo et al., "Extremely Overlapping Vehicle Counting", IbPRIA 2015.
    """

    name = "trancos"
    title = "TRANCOS"
    truths = "image-*"
    companions = ("image-*dots.png", "image-*mask.mat", "image-*.txt")
    parts = ("train", "val", "test")
    published: ClassVar = {"all": Published(images=1_244, people=46_796)}

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images that the part's list names, each with where its points and its mask belong."""
        files = {name: root / "image_sets" / f"{LISTS[name]}.txt" for name in LISTS}
        wanted = {path: read_text(path, "list") for name, path in files.items() if name == part or path.is_file()}
        lists = {path: [line.strip() for line in text.splitlines() if line.strip()] for path, text in wanted.items()}
        check_lists(lists)
        file, names = files[part], lists[files[part]]
        if not names:
            raise FileNotFoundError(f"{file} lists no images")
        entries = []
        for name in names:
            image = root / "images" / name
            if Path(name).name != name or not image.suffix:
                raise ValueError(f"{file} lists {name[:60]!r}, expected names such as image-1-000001.jpg")
            mask = image.with_name(f"{image.stem}mask.mat")
            entries.append(Entry(image.stem, image, image.with_suffix(".txt"), {"roi": mask}))
        return entries

    @classmethod
    def read_annotation(cls, path: Path) -> Annotation:
        """Points of one text file; an error at a line that is not two numbers."""
        return Annotation(as_points(read_rows(path, 2), path) - 0.5)

    @classmethod
    def read_roi(cls, entry: Entry, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """The image's mask."""
        return read_map(entry.beside["roi"], size, "BW") > 0
