"""UCF-QNRF."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from workbench.data.files.entries import Annotation, Entry, Published, as_points, image_files
from workbench.data.files.folders import FileDataset
from workbench.data.files.matlab import read_mat, unwrap

FOLDERS = {"train": "Train", "test": "Test"}


class UCFQNRF(FileDataset):
    """UCF-QNRF: 1,535 large photographs of dense crowds.

    ``{Train,Test}/img_0001.jpg`` with ``img_0001_ann.mat``, whose variable ``annPoints`` is N x 2, x then y.
    Arguments and errors as in :class:`~workbench.data.files.folders.FileDataset`; ``resize="qnrf"`` brings the shorter
    side into [512, 2048] pixels, as is common.

    Reference:
        Idrees et al., "Composition Loss for Counting, Density Map Estimation and Localization in Dense Crowds",
        ECCV 2018.
    """

    name = "ucf_qnrf"
    title = "UCF-QNRF"
    truths = "*_ann.mat"
    companions = ("*_ann.mat",)
    published: ClassVar = {
        "train": Published(images=1_201),
        "test": Published(images=334),
        "all": Published(images=1_535, people=1_251_642, most=12_865),
    }

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images of "train" or "test" in natural order, each with where its annotation belongs."""
        images = image_files(root / FOLDERS[part], r"img_\d+")
        return [Entry(image.stem, image, image.with_name(f"{image.stem}_ann.mat")) for image in images]

    @staticmethod
    def read_annotation(path: Path) -> Annotation:
        """Points of one ``img_n_ann.mat``; errors as :func:`~workbench.data.files.matlab.read_mat`."""
        return Annotation(as_points(unwrap(read_mat(path, "annPoints")), path))
