"""NWPU-Crowd."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.checks import check_choice
from workbench.data.files.entries import as_boxes, as_number, as_points, check_lists, image_files, with_boxes
from workbench.data.files.folders import Annotation, Entry, FileDataset, Published
from workbench.data.files.matlab import pick, read_variables
from workbench.io.text import read_object, read_text

SCENE_LEVELS = (("S0", 0), ("S1", 100), ("S2", 500), ("S3", 5_000), ("S4", float("inf")))
"""The benchmark's scene levels, each with the most people in an image of it."""

VALIDATION = {*range(3_110, 3_610)} - {3_169} | {3_098}
ANNOTATED = 3_609


@dataclass(kw_only=True, eq=False, repr=False)
class NWPUCrowd(FileDataset):
    """NWPU-Crowd: 5,109 photographs with nobody to 20,033 people, a point and a box on every head.

    ``images/0001.jpg`` with ``jsons/0001.json`` (``human_num``, ``points``, ``boxes``: x1, y1, x2, y2) or, where there
    is no such folder, ``mats/0001.mat`` (``annPoints``, ``annBoxes``). ``train.txt`` and ``val.txt`` list the parts, a
    number first in each line; without them the published numbers are taken. Samples know boxes, head sizes and the
    benchmark's level S0 to S4. The annotations of the test images are not published: samples of "test" have
    ``annotated=False``, and asking for their number of people is an error. Other arguments and errors as in
    :class:`~workbench.data.files.folders.FileDataset`.

    Args:
        evaluate_on: "test", or "val" to score on the official validation part: then that is "test", and "val" is a
            share ``validation`` held out of the training part, so that it does not serve to choose a model.

    Reference:
        Wang et al., "NWPU-Crowd: A Large-Scale Benchmark for Crowd Counting and Localization", TPAMI 2020.
    """

    name = "nwpu_crowd"
    title = "NWPU-Crowd"
    parts = ("train", "val", "test")
    published: ClassVar = {
        "train": Published(images=3_109),
        "val": Published(images=500),
        "test": Published(images=1_500),
        "all": Published(images=5_109),
    }
    instead = (
        '; the data set\'s option evaluate_on="val" (of a training: dataset_options.evaluate_on=val) makes the '
        "official validation part the test part, and holds out training images to choose the weights"
    )

    evaluate_on: str = "test"

    def __post_init__(self) -> None:
        check_choice(self.evaluate_on, ("test", "val"), "evaluate_on")
        super().__post_init__()

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images of a part in the order of their numbers, each with where its annotation belongs."""
        folder, suffix = (root / "jsons", ".json") if (root / "jsons").is_dir() else (root / "mats", ".mat")
        images = {image.stem: image for image in image_files(root / "images", r"\d+")}
        if part == "test":
            labelled = {*_listed(root, "train", images), *_listed(root, "val", images)}
            return [Entry(name, image, None) for name, image in images.items() if name not in labelled]
        names = _listed(root, part, images)
        return [Entry(n, images.get(n, root / "images" / f"{n}.jpg"), folder / f"{n}{suffix}") for n in names]

    @classmethod
    def read_annotation(cls, path: Path) -> Annotation:
        """Points, boxes and number of one JSON or MATLAB file; an error if it has not as many boxes as points."""
        stated = None
        if path.suffix == ".json":
            found = read_object(path, "human_num", "points")
            points, boxes, stated = found["points"], found.get("boxes"), as_number(found["human_num"])
            if stated is None:
                raise ValueError(f"{path} states human_num {found['human_num']!r}, expected a whole number")
        else:
            found = read_variables(path)
            points, boxes = found[pick(found, path, "annPoints")], found.get("annBoxes")
        where = as_points(points, path)
        level = next(name for name, most in SCENE_LEVELS if len(where) <= most)
        if boxes is None:
            return Annotation(where, stated, level=level)
        heads = as_boxes(boxes, path)
        if len(heads) != len(where):
            raise ValueError(f"{path} holds {len(heads)} boxes and {len(where)} points, expected as many")
        return with_boxes(heads, where, stated=stated, level=level)

    def choose(self) -> Sequence[Entry]:
        """The entries of the split, where wanted with the validation part in the place of the test part."""
        if self.evaluate_on == "test":
            return super().choose()
        return self.complete("val") if self.split == "test" else self.keep(self.complete("train"))


def _listed(root: Path, part: str, images: dict[str, Path]) -> list[str]:
    """The names of the images of "train" or "val"."""
    files = [root / f"{name}.txt" for name in ("train", "val")]
    lists = {path: _names(path) for path in files if path.is_file()}
    check_lists(lists)
    file = root / f"{part}.txt"
    if file in lists:
        return lists[file]
    numbers = {name: int(name) for name in images if name.isdecimal() and int(name) <= ANNOTATED}
    names = [name for name, number in numbers.items() if (number in VALIDATION) == (part == "val")]
    if not names:
        raise FileNotFoundError(f"there is no {file}, and {root / 'images'} holds no image of that part")
    return names


def _names(file: Path) -> list[str]:
    """The names in one of the lists."""
    names = [line.split()[0].removesuffix(".jpg") for line in read_text(file, "list").splitlines() if line.strip()]
    wrong = next((name for name in names if not name.isdecimal()), None)
    if wrong is not None:
        raise ValueError(f"{file} lists {wrong[:60]!r}, expected numbers of images")
    if not names:
        raise FileNotFoundError(f"{file} lists no images")
    return names
