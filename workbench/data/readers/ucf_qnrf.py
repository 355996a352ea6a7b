"""UCF-QNRF."""

from typing import ClassVar

from workbench.data.files.folders import FileDataset, Published


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
    folders: ClassVar = {"train": "Train", "test": "Test"}
    form = r"img_\d+"
    truth = "{}_ann.mat"
    truths = "*_ann.mat"
    companions = (truths,)
    published: ClassVar = {
        "train": Published(images=1_201),
        "test": Published(images=334),
        "all": Published(images=1_535, people=1_251_642, most=12_865),
    }
