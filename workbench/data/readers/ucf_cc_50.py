"""UCF_CC_50."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from workbench.checks import check_whole
from workbench.data.files.entries import Annotation, Entry, Published, as_points, image_files
from workbench.data.files.folders import FileDataset
from workbench.data.files.images import MAX_PIXELS
from workbench.data.files.matlab import read_mat, unwrap
from workbench.data.splits import hold_out

FOLDS = 5


class UCFCC50(FileDataset):
    """UCF_CC_50: 50 grey photographs of very dense crowds, for five-fold cross validation.

    ``n.jpg`` with ``n_ann.mat``, whose variable ``annPoints`` is N x 2, x then y. No folds are published: here the
    images in the order of their numbers are cut into five runs of ten. "test" is the run ``fold``, the rest is the
    training part; the score of the set is the mean over the folds. Five points of the published set lie outside their
    image: they count, moved to the border, unless ``outside`` says otherwise.

    Args:
        root: as in :class:`~workbench.data.files.folders.FileDataset`, and so the other arguments and errors.
        split: "train", "val", "trainval" or "test".
        fold: 0 to 4, the run that is tested on.
        validation: see there.
        seed: see there.
        outside: see there.
        stated: see there.
        roi: see there.
        resize: see there.
        prepared: see there.
        max_pixels: see there.

    Reference:
        Idrees et al., "Multi-Source Multi-Scale Counting in Extremely Dense Crowd Images", CVPR 2013.
    """

    name = "ucf_cc_50"
    title = "UCF_CC_50"
    truths = "*_ann.mat"
    parts = ("all",)
    companions = ("*_ann.mat",)
    published: ClassVar = {"all": Published(images=50, people=63_974, most=4_633)}
    faults = 5

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        *,
        fold: int = 0,
        validation: float | None = None,
        seed: int = 0,
        outside: str = "raise",
        stated: str = "raise",
        roi: str = "black",
        resize: str = "none",
        prepared: str | Path | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        check_whole(fold, "fold", least=0)
        if fold >= FOLDS:
            raise ValueError(f"fold is {fold}, expected 0 to {FOLDS - 1}")
        self.fold = fold
        super().__init__(
            root,
            split,
            validation=validation,
            seed=seed,
            outside=outside,
            stated=stated,
            roi=roi,
            resize=resize,
            prepared=prepared,
            max_pixels=max_pixels,
        )

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """All images in the order of their numbers, each with where its annotation belongs."""
        images = image_files(root, r"\d+")
        return [Entry(image.stem, image, image.with_name(f"{image.stem}_ann.mat")) for image in images]

    @staticmethod
    def read_annotation(path: Path) -> Annotation:
        """Points of one ``n_ann.mat``; errors as :func:`~workbench.data.files.matlab.read_mat`."""
        return Annotation(as_points(unwrap(read_mat(path, "annPoints")), path))

    def choose(self, split: str, validation: float | None, seed: int) -> Sequence[Entry]:
        """The fold, or what is left of the others."""
        entries = self.complete("all")
        if len(entries) < FOLDS:
            raise FileNotFoundError(f"{self.root} holds {len(entries)} images, expected at least {FOLDS}")
        first, last = (number * len(entries) // FOLDS for number in (self.fold, self.fold + 1))
        if split == "test":
            return entries[first:last]
        rest = [*entries[:first], *entries[last:]]
        share = self.share if validation is None else validation
        return [rest[i] for i in hold_out(len(rest), split, validation=share, seed=seed)]
