"""JHU-CROWD++."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch

from workbench.data.files.entries import Annotation, Entry, Published, as_numbers, check_lists, image_files
from workbench.data.files.folders import FileDataset
from workbench.io.text import read_rows, read_text
from workbench.metrics import LEVELS

FLAGS = ("0", "1")
FIELDS = ("id", "count", "scene", "weather", "distractor")
WEATHER = {"0": "none", "1": "fog or haze", "2": "rain", "3": "snow"}


class JHUCrowd(FileDataset):
    """JHU-CROWD++: 4,372 photographs, also of bad weather and of nobody, with a box on every head.

    ``{train,val,test}/images/0001.jpg`` with ``gt/0001.txt``, one head a line: ``cx cy w h occlusion blur``. Beside
    these folders lies ``image_labels.txt``, one image a line: ``id,count,scene,weather,distractor``, separated by
    commas or spaces. Samples know the boxes, the head sizes (the boxes' heights), the density level ("low", "medium",
    "high"), and as attributes scene, weather and distractor.
    Arguments and errors as in :class:`~workbench.data.files.folders.FileDataset`.

    Reference:
        Sindagi et al., "JHU-CROWD++: Large-Scale Crowd Counting Dataset and A Benchmark Method", TPAMI 2020.
    """

    name = "jhu_crowd"
    title = "JHU-CROWD++"
    parts = ("train", "val", "test")
    published: ClassVar = {
        "train": Published(images=2_272),
        "val": Published(images=500),
        "test": Published(images=1_600),
        "all": Published(images=4_372, people=1_515_005),
    }

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images of a part in natural order, each with where its annotation belongs and what its label says."""
        labels = _labels(root / part / "image_labels.txt")
        return [
            Entry(image.stem, image, root / part / "gt" / f"{image.stem}.txt", given=labels.get(image.stem))
            for image in image_files(root / part / "images", r"\d+")
        ]

    @staticmethod
    def read_annotation(path: Path) -> Annotation:
        """Points and boxes of one ``gt/0001.txt``.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a line that is not six numbers, or a box of a size below zero.
        """
        rows = as_numbers(read_rows(path, 6), path, 6, "heads", "cx cy w h occlusion blur")
        points, half = rows[:, :2].clone(), rows[:, 2:4] / 2
        if (half < 0).any():
            raise ValueError(f"{path} holds a box of {2 * half.min():g} pixels, expected a width and height >= 0")
        level = next(name for name, (least, most) in LEVELS.items() if least <= len(rows) <= most)
        boxes = torch.cat([points - half, points + half], dim=1)
        return Annotation(points, boxes=boxes, head_sizes=rows[:, 3].clone(), level=level)

    @classmethod
    def read(cls, entry: Entry) -> Annotation:
        """The annotation with what the image's label says."""
        annotation = super().read(entry)
        if entry.given is None:
            return annotation
        stated, attributes = entry.given
        return annotation._replace(stated=stated, attributes=attributes)


def _labels(path: Path) -> dict[str, tuple[int, dict[str, str | int]]]:
    """What ``image_labels.txt`` says of each image: the number of people, and scene, weather and distractor."""
    found: dict[str, tuple[int, dict[str, str | int]]] = {}
    listed: list[str] = []
    for number, line in enumerate(read_text(path, "list of labels").splitlines(), start=1):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 1 and len(words := line.split()) >= len(FIELDS):  # a scene may be several words
            cells = [*words[:2], " ".join(words[2:-2]), *words[-2:]]
        if not line.strip():
            continue
        if len(cells) != len(FIELDS) or not cells[1].isdecimal() or cells[3] not in WEATHER or cells[4] not in FLAGS:
            raise ValueError(f"{path} holds {line[:60]!r} in line {number}, expected {','.join(FIELDS)}")
        attributes: dict[str, str | int] = {
            "scene": cells[2],
            "weather": WEATHER[cells[3]],
            "distractor": int(cells[4]),
        }
        listed.append(cells[0])
        found[cells[0]] = int(cells[1]), attributes
    check_lists({path: listed})
    return found
