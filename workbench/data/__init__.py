"""Data sets of crowd images, one reader a file."""

from pathlib import Path
from typing import Any

from workbench.data.sample import CrowdBatch, CrowdDataset, CrowdSample, Draw, collate
from workbench.registry import build

DATASETS = {
    "cifar10": "workbench.data.pictures:CIFAR10",
    "digits": "workbench.data.digits:Digits",
    "folder": "workbench.data.folder:Folder",
    "jhu_crowd": "workbench.data.jhu_crowd:JHUCrowd",
    "mall": "workbench.data.mall:Mall",
    "nwpu_crowd": "workbench.data.nwpu_crowd:NWPUCrowd",
    "scenes": "workbench.data.scenes:Scenes",
    "shanghaitech_a": "workbench.data.shanghaitech:ShanghaiTechA",
    "shanghaitech_b": "workbench.data.shanghaitech:ShanghaiTechB",
    "shanghaitech_rgbd": "workbench.data.shanghaitech_rgbd:ShanghaiTechRGBD",
    "stl10": "workbench.data.pictures:STL10",
    "trancos": "workbench.data.trancos:Trancos",
    "ucf_cc_50": "workbench.data.ucf_cc_50:UCFCC50",
    "ucf_qnrf": "workbench.data.ucf_qnrf:UCFQNRF",
    "worldexpo10": "workbench.data.worldexpo10:WorldExpo10",
}

__all__ = ["DATASETS", "CrowdBatch", "CrowdDataset", "CrowdSample", "Draw", "collate", "open_dataset"]


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
