"""Pictures of one's own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from workbench.data.files.annotations import (
    coco_annotation,
    read_coco,
    read_csv,
    read_csv_of_many,
    read_json_of_one,
    read_mat_points,
)
from workbench.data.files.entries import Annotation, Entry, as_points, image_files
from workbench.data.files.folders import FileDataset
from workbench.data.splits import hold_out

PARTS = ("train", "val", "test")
PLACES = ("", "annotations", "labels", "points", "gt", "ground_truth", "ground-truth")
OF_MANY = ("annotations.json", "points.csv", "annotations.csv")
READERS: dict[str, Callable[[Path], Annotation]] = {
    ".csv": read_csv,
    ".json": read_json_of_one,
    ".mat": read_mat_points,
}
STEMS = ("{}", "GT_{}", "{}_ann")
TEST_SHARE = 0.2


class Folder(FileDataset):
    """Anybody's pictures with points as CSV, LabelMe, COCO or MATLAB files.

    Images lie in ``root`` or ``root/images``. Annotations are either one file for all of them in ``root``,

    - ``annotations.json``: COCO's form; the person is the only keypoint, the head or nose, else the middle of the box;
    - ``points.csv`` or ``annotations.csv``: the columns ``image``, ``x``, ``y``; a row with neither x nor y says that
      there is nobody in the image;

    or a file for each image of the image's name (also ``GT_name`` or ``name_ann``), beside it or in ``annotations``,
    ``labels``, ``points``, ``gt`` or ``ground_truth``:

    - ``.csv``: two columns, x then y, or columns of these names; a file without rows is an image of nobody;
    - ``.json``: LabelMe's (points, or the middle of rectangles and circles), or an object with ``points``;
    - ``.mat``: ``annPoints``, ``points``, ``point``, ``location`` or ``image_info``, N x 2.

    With folders ``train``, ``test`` and perhaps ``val`` in ``root``, each such as above, these are the parts. Without
    them a fifth of the images, always the same ones, is the test part. An image without an annotation is an error.
    Arguments and errors as in :class:`~workbench.data.files.folders.FileDataset`.
    """

    name = "folder"
    title = "your pictures"
    published: ClassVar = {}

    @classmethod
    def parts_of(cls, root: Path) -> tuple[str, ...]:
        """The parts that have a folder, or "all" where none has."""
        return tuple(part for part in PARTS if (root / part).is_dir()) or ("all",)

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images of a part in natural order, each with where its annotation belongs or what is said of it."""
        folder = root if part == "all" else root / part
        inner = folder / "images" if (folder / "images").is_dir() else folder
        images = {image.name: image for image in image_files(inner)}
        file = next((folder / name for name in OF_MANY if (folder / name).is_file()), None)
        if file is None:
            return [Entry(image.stem, image, _annotation_of(image, folder)) for image in images.values()]
        said: dict[str, Any] = dict(read_coco(file) if file.suffix == ".json" else read_csv_of_many(file))
        for name in said:
            if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"{file} names the image {str(name)[:60]!r}, expected one within {inner}")
        return [
            Entry(Path(name).stem, images.get(name, inner / name), file, given=said.get(name), own=False)
            for name in [*images, *(name for name in said if name not in images)]
        ]

    @classmethod
    def read(cls, entry: Entry) -> Annotation:
        """The annotation of one image.

        Raises:
            ValueError: damaged, of another form, or nothing is said of the image.
        """
        file = entry.annotation
        assert file is not None  # every entry of this data set has one
        if entry.own:
            return READERS[file.suffix.lower()](file)
        if entry.given is None:
            raise ValueError(f"{file} says nothing of {entry.image.name}")
        if file.suffix == ".json":
            return coco_annotation(entry.given, file)
        return Annotation(as_points(entry.given, file))

    def choose(self, split: str, validation: float | None, seed: int) -> Sequence[Entry]:
        """The entries of a split: of the folders where there are any, else a share of all."""
        if self.parts_of(self.root) != ("all",):
            return super().choose(split, validation, seed)
        entries = self.complete("all")
        rest, test = (hold_out(len(entries), part, validation=TEST_SHARE, seed=0) for part in ("train", "val"))
        share = self.share if validation is None else validation
        chosen = test if split == "test" else [rest[i] for i in hold_out(len(rest), split, validation=share, seed=seed)]
        if not chosen:
            raise FileNotFoundError(f"{self.root} holds {len(entries)} images, too few for a part {split!r}")
        return [entries[i] for i in chosen]


def _annotation_of(image: Path, folder: Path) -> Path:
    """The annotation's file of an image, or where one would be looked for."""
    homes = dict.fromkeys([image.parent / PLACES[0], *(folder / place for place in PLACES)])
    names = [form.format(image.stem) + suffix for suffix in READERS for form in STEMS]
    found = [home / name for home in homes for name in names if (home / name).is_file()]
    if len(found) > 1:
        listed = ", ".join(map(str, found))
        raise ValueError(f"{image} has {len(found)} annotations, expected one: {listed}")
    return found[0] if found else image.with_suffix(".csv")
