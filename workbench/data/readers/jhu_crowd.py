"""JHU-CROWD++."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch

from workbench.data.files.entries import as_numbers, check_lists, with_boxes
from workbench.data.files.folders import Annotation, Entry, FileDataset, Published
from workbench.io.text import read_rows, read_text
from workbench.metrics import JHU_LEVELS

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
    folders: ClassVar = {part: part for part in parts}
    images = "images"
    form = r"\d+"
    truth = "gt/{}.txt"
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
        return [replace(entry, given=labels.get(entry.name)) for entry in super().entries(root, part)]

    @classmethod
    def read_annotation(cls, path: Path) -> Annotation:
        """Points and boxes of one ``gt/0001.txt``; an error at a line that is not six numbers, or a negative size."""
        rows = as_numbers(read_rows(path, 6), path, 6, "heads", "cx cy w h occlusion blur")
        points, half = rows[:, :2].clone(), rows[:, 2:4] / 2
        if (half < 0).any():
            raise ValueError(f"{path} holds a box of {2 * half.min():g} pixels, expected a width and height >= 0")
        level = next(name for name, (least, most) in JHU_LEVELS.items() if least <= len(rows) <= most)
        found = with_boxes(torch.cat([points - half, points + half], dim=1), points, level=level)
        return found._replace(head_sizes=rows[:, 3].clone())

    @classmethod
    def read(cls, entry: Entry) -> Annotation:
        """The annotation with what the image's label says."""
        stated, attributes = entry.given or (None, None)
        return super().read(entry)._replace(stated=stated, attributes=attributes)


def _labels(path: Path) -> dict[str, tuple[int, dict[str, str | int]]]:
    """What ``image_labels.txt`` says of each image: the number of people, and scene, weather and distractor."""
    rows = []
    for number, line in enumerate(read_text(path, "list of labels").splitlines(), start=1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 1 and len(words := line.split()) >= len(FIELDS):  # a scene may be several words
            cells = [*words[:2], " ".join(words[2:-2]), *words[-2:]]
        if len(cells) != len(FIELDS) or not cells[1].isdecimal() or cells[3] not in WEATHER or cells[4] not in FLAGS:
            raise ValueError(f"{path} holds {line[:60]!r} in line {number}, expected {','.join(FIELDS)}")
        rows.append(cells)
    check_lists({path: [cells[0] for cells in rows]})
    return {
        name: (int(count), {"scene": scene, "weather": WEATHER[weather], "distractor": int(distractor)})
        for name, count, scene, weather, distractor in rows
    }
