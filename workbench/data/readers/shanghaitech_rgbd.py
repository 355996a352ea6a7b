"""ShanghaiTechRGBD."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from workbench.data.files.entries import as_boxes, as_points, image_files, with_boxes
from workbench.data.files.folders import Annotation, Entry, FileDataset, Published
from workbench.data.files.matlab import pick, read_variables
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
        folder, places = root / f"{part}_data", (TRUTH[part], f"{part}_depth")
        found = [_by_number(folder / place) for place in places]
        entries = []
        for image in image_files(folder / f"{part}_img", r"\w*\d"):
            number = _number(image)
            # where there is none, the name says which one is looked for
            sought = f"*{number:04d}.mat" if number is not None else f"{image.stem}.mat"
            truth, depth = (
                files.get(number, folder / place / sought) for files, place in zip(found, places, strict=True)
            )
            entries.append(Entry(image.stem, image, truth, {"depth": depth}))
        return entries

    @classmethod
    def read_annotation(cls, path: Path) -> Annotation:
        """Points, or boxes and their centres, of one file; an error if it holds neither ``point`` nor ``bbox``."""
        variables = read_variables(path)
        key = pick(variables, path, "point", "bbox")
        if key == "bbox":
            return with_boxes(as_boxes(variables[key], path))
        return Annotation(as_points(variables[key], path))

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
    """The MATLAB files of a folder by the number that their names end in; an error if two end in one number."""
    found: dict[int | None, Path] = {}
    for path in sorted(folder.glob("*.mat")):
        twin = found.setdefault(_number(path), path)
        if twin != path:
            raise ValueError(f"{twin} and {path.name} end in one number: which is the image's?")
    return found
