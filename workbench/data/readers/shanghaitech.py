"""ShanghaiTech, parts A and B."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from workbench.data.files.entries import as_number, as_points, image_files
from workbench.data.files.folders import Annotation, Entry, FileDataset, Published
from workbench.data.files.matlab import field, fields, read_mat, unwrap_cells

UNLABELLED = "some people in it are not annotated"


def _only(folders: Sequence[Path]) -> Path | None:
    """The one folder that is there, None if none is; ``ValueError`` if several are."""
    if len(folders) > 1:
        raise ValueError(
            f"{folders[0].parent} holds {' and '.join(path.name for path in folders)}, expected one of them"
        )
    return folders[0] if folders else None


class ShanghaiTech(FileDataset):
    """One part of ShanghaiTech: photographs with a point on every head.

    ``{train_data,test_data}/images/IMG_n.jpg`` with ``{ground-truth,ground_truth}/GT_IMG_n.mat``, whose variable
    ``image_info`` is a cell of a struct of ``location`` (N x 2, x then y) and ``number``. Arguments and errors as in
    :class:`~workbench.data.files.folders.FileDataset`.

    Reference:
        Zhang et al., "Single-Image Crowd Counting via Multi-Column Convolutional Neural Network", CVPR 2016.
    """

    part: ClassVar[str]
    folders: ClassVar = {"train": "train_data", "test": "test_data"}

    @classmethod
    def part_folder(cls, root: Path) -> Path:
        """The folder of part "A" or "B": ``root`` itself, or ``part_A`` or ``part_A_final`` within it.

        Raises:
            FileNotFoundError: none of them holds ``train_data`` or ``test_data``.
            ValueError: both of the inner ones do.
        """
        names = (f"part_{cls.part}", f"part_{cls.part}_final")
        # a folder that carries the other part's name is not taken for this one
        own = [root] if not root.resolve().name.lower().startswith("part_") or root.resolve().name in names else []
        for places in ([root / name for name in names], own):
            held = [path for path in places if any((path / inner).is_dir() for inner in cls.folders.values())]
            if found := _only(held):
                return found
        raise FileNotFoundError(
            f"{root} is not ShanghaiTech part {cls.part}: expected it, or {names[0]} or {names[1]} within it, to hold "
            "train_data and test_data"
        )

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images of "train" or "test" in natural order, each with where its annotation belongs."""
        folder = cls.part_folder(root) / cls.folders[part]
        images = image_files(folder / "images", r"IMG_\d+")
        truths = [folder / name for name in ("ground-truth", "ground_truth")]
        truth = _only([path for path in truths if path.is_dir()]) or truths[0]
        return [Entry(image.stem, image, truth / f"GT_{image.stem}.mat") for image in images]

    @classmethod
    def read_annotation(cls, path: Path) -> Annotation:
        """Points and number of one ``GT_IMG_n.mat``; an error if it holds something else."""
        info = read_mat(path, "image_info")
        points = as_points(field(info, "location", path, "image_info"), path)
        return Annotation(points, as_number(unwrap_cells(info["number"])) if "number" in fields(info) else None)


class ShanghaiTechA(ShanghaiTech):
    """ShanghaiTech part A: 482 photographs of dense crowds."""

    name = "shanghaitech_a"
    title = "ShanghaiTech part A"
    part = "A"
    published: ClassVar = {
        "train": Published(images=300, people=162_413, least=33, most=3_138),
        "test": Published(images=182, people=78_862, least=66, most=2_256),
        "all": Published(images=482, people=241_275),
    }
    printed: ClassVar = {"test": Published(people=78_970), "all": Published(people=241_677)}
    remarks: ClassVar = {
        ("train", "IMG_121"): "is the same picture as IMG_98 of the test part",
        ("test", "IMG_98"): "is the same picture as IMG_121 of the training part",
    }


class ShanghaiTechB(ShanghaiTech):
    """ShanghaiTech part B: 716 photographs of streets, 768 x 1024 pixels."""

    name = "shanghaitech_b"
    title = "ShanghaiTech part B"
    part = "B"
    published: ClassVar = {
        "train": Published(images=400, people=49_151, least=12, most=576),
        "test": Published(images=316, people=39_121, least=9, most=539),
        "all": Published(images=716, people=88_272),
    }
    printed: ClassVar = {"test": Published(people=39_208), "all": Published(people=88_488)}
    remarks: ClassVar = {
        ("train", "IMG_108"): "its points are wrong",
        **{("train", f"IMG_{number}"): UNLABELLED for number in (202, 296, 396)},
        ("train", "IMG_217"): "some people have two points",
    }
