"""UCF_CC_50."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from workbench.checks import check_whole
from workbench.data.files.folders import Entry, FileDataset, Published

FOLDS = 5


@dataclass(kw_only=True, eq=False, repr=False)
class UCFCC50(FileDataset):
    """UCF_CC_50: 50 grey photographs of very dense crowds, for five-fold cross validation.

    ``n.jpg`` with ``n_ann.mat``, whose variable ``annPoints`` is N x 2, x then y. No folds are published: here the
    images in the order of their numbers are cut into five runs of ten. "test" is the run ``fold``, the rest is the
    training part; the score of the set is the mean over the folds. Five points of the published set lie outside their
    image: they count, moved to the border, unless ``outside`` says otherwise. Other arguments and errors as in
    :class:`~workbench.data.files.folders.FileDataset`.

    Args:
        fold: 0 to 4, the run that is tested on.

    Reference:
        Idrees et al., "Multi-Source Multi-Scale Counting in Extremely Dense Crowd Images", CVPR 2013.
    """

    name = "ucf_cc_50"
    title = "UCF_CC_50"
    parts = ("all",)
    form = r"\d+"
    truth = "{}_ann.mat"
    truths = "*_ann.mat"
    companions = (truths,)
    published: ClassVar = {"all": Published(images=50, people=63_974, most=4_633)}
    faults = 5

    fold: int = 0

    def __post_init__(self) -> None:
        check_whole(self.fold, "fold", least=0)
        if self.fold >= FOLDS:
            raise ValueError(f"fold is {self.fold}, expected 0 to {FOLDS - 1}")
        super().__post_init__()

    def choose(self) -> Sequence[Entry]:
        """The fold, or what is left of the others."""
        entries = self.complete("all")
        if len(entries) < FOLDS:
            raise FileNotFoundError(f"{self.place} holds {len(entries)} images, expected at least {FOLDS}")
        first, last = (number * len(entries) // FOLDS for number in (self.fold, self.fold + 1))
        return entries[first:last] if self.split == "test" else self.keep([*entries[:first], *entries[last:]])
