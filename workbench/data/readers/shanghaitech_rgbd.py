"""ShanghaiTechRGBD."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from workbench.data.files.entries import (
    Annotation,
    Entry,
    Published,
    as_boxes,
    as_points,
    centres,
    heights,
    image_files,
)
from workbench.data.files.folders import FileDataset
from workbench.data.files.matlab import pick, read_variables, unwrap
from workbench.data.files.regions import read_map

TRUTH = {"train": "train_gt", "test": "test_bbox_anno"}
FARTHEST = 20_000  # millimetres; beyond it and below zero (-999) nothing was measured


class ShanghaiTechRGBD(FileDataset):
    """ShanghaiTechRGBD: 2,193 pictures of streets with their depth.

    ``train_data/{train_img,train_gt,train_depth}`` and ``test_data/{test_img,test_bbox_anno,test_depth}``. An
    annotation and a depth map belong to the image whose name ends in the same number; annotations are MATLAB files
    with ``point`` (N x 2, x then y) in the training part and ``bbox`` (N x 4, x1, y1, x2, y2) in the test part, whose
    points are the boxes' centres. Samples know the depth in millimetres, 0 where none was measured, and in the test
    part boxes and head sizes. Arguments and errors as in :class:`~workbench.data.files.folders.FileDataset`.

    Reference:
        Lian et al., "Density Map Regression Guided Detection Network for RGB-D Crowd Counting and Localization",
        CVPR 2019.
    """

    name = "shanghaitech_rgbd"
    title = "ShanghaiTechRGBD"
    published: ClassVar = {"all": Published(images=2_193, people=144_512)}

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images of "train" or "test", each with where its annotation and its depth belong."""
        folder = root / f"{part}_data"
        truths, depths = (_by_number(folder / name) for name in (TRUTH[part], f"{part}_depth"))
        entries = []
        for image in image_files(folder / f"{part}_img", r"\w*\d"):
            number = _number(image)
            # where there is none, the name says which one is looked for
            sought = f"*{number:04d}.mat" if number is not None else f"{image.stem}.mat"
            truth = truths.get(number, folder / TRUTH[part] / sought)
            depth = depths.get(number, folder / f"{part}_depth" / sought)
            entries.append(Entry(image.stem, image, truth, {"depth": depth}))
        return entries

    @staticmethod
    def read_annotation(path: Path) -> Annotation:
        """Points, or points and boxes, of one file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: damaged, or neither ``point`` nor ``bbox`` in it.
        """
        variables = read_variables(path)
        key = pick(variables, path, "point", "bbox")
        if key == "point":
            return Annotation(as_points(unwrap(variables[key]), path))
        boxes = as_boxes(unwrap(variables[key]), path)
        return Annotation(centres(boxes), boxes=boxes, head_sizes=heights(boxes))

    @classmethod
    def read_maps(cls, entry: Entry, size: tuple[int, int]) -> Mapping[str, Float[Tensor, "h w"]]:
        """The image's depth."""
        depth = read_map(entry.beside["depth"], size, "depth")
        return {"depth": depth.where((depth > 0) & (depth <= FARTHEST), depth.new_zeros(()))}


def _number(path: Path) -> int | None:
    """The number that a file's name ends in."""
    found = re.search(r"(\d+)$", path.stem)
    return int(found[1]) if found else None


def _by_number(folder: Path) -> dict[int | None, Path]:
    """The MATLAB files of a folder by the number that their names end in.

    Raises:
        ValueError: the names of two end in one number.
    """
    paths = sorted(folder.glob("*.mat")) if folder.is_dir() else []
    found = {_number(path): path for path in paths}
    twins = [path for path in paths if found[_number(path)] != path]
    if twins:
        raise ValueError(f"{twins[0]} and {found[_number(twins[0])].name} end in one number: which is the image's?")
    return found
