"""Data sets of crowd images, one reader a file."""

from pathlib import Path
from typing import Any

from workbench.data.dataset import CrowdDataset
from workbench.data.sample import CrowdBatch, CrowdSample, Draw, collate
from workbench.io.extras import need
from workbench.registry import Builder, build, register

need("data")

DATASETS: dict[str, str | Builder] = {
    "cifar10": "workbench.data.readers.pictures:CIFAR10",
    "digits": "workbench.data.readers.pictures:Digits",
    "folder": "workbench.data.readers.folder:Folder",
    "jhu_crowd": "workbench.data.readers.jhu_crowd:JHUCrowd",
    "mall": "workbench.data.readers.mall:Mall",
    "nwpu_crowd": "workbench.data.readers.nwpu_crowd:NWPUCrowd",
    "scenes": "workbench.data.scenes.dataset:Scenes",
    "shanghaitech_a": "workbench.data.readers.shanghaitech:ShanghaiTechA",
    "shanghaitech_b": "workbench.data.readers.shanghaitech:ShanghaiTechB",
    "shanghaitech_rgbd": "workbench.data.readers.shanghaitech_rgbd:ShanghaiTechRGBD",
    "stl10": "workbench.data.readers.pictures:STL10",
    "trancos": "workbench.data.readers.trancos:Trancos",
    "ucf_cc_50": "workbench.data.readers.ucf_cc_50:UCFCC50",
    "ucf_qnrf": "workbench.data.readers.ucf_qnrf:UCFQNRF",
    "worldexpo10": "workbench.data.readers.worldexpo10:WorldExpo10",
}

__all__ = [
    "DATASETS",
    "CrowdBatch",
    "CrowdDataset",
    "CrowdSample",
    "Draw",
    "collate",
    "open_dataset",
    "register_dataset",
]


def open_dataset(name: str, root: str | Path | None = None, split: str = "train", **options: Any) -> Any:
    """Open a data set by its name.

    Args:
        name: one of ``DATASETS``.
        root: the folder it lies in; None for data sets that are built in.
        split: "train", "val", "trainval" or "test". "val" is held out of the official training part (a share
            ``validation``, 0.1 unless told), "trainval" is that part whole: test images never serve to choose a model.
        options: the data set's own options, see its class.

    Returns:
        A :class:`CrowdDataset` of :class:`CrowdSample`; "digits", "cifar10" and "stl10" hold labelled images.

    Raises:
        ValueError: the name or an option is not known, an option's value is out of range, or the files are wrong.
        FileNotFoundError: files are missing under ``root``.
    """
    if root is not None:
        options["root"] = root
    return build(DATASETS, name, "dataset", split=split, **options)


def register_dataset(name: str, builder: str | Builder) -> None:
    """Make somebody's own dataset known by a name; see :mod:`workbench.registry`.

    Args:
        name: what :func:`open_dataset` shall know it by.
        builder: a :class:`CrowdDataset` that takes ``split``, its options and, if it reads files, ``root`` by keyword,
            or ``"module:attribute"``.

    Raises:
        ValueError: the name is taken by another dataset.
    """
    register(DATASETS, name, builder, "dataset")
