"""Pictures of one's own."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from workbench.data.files.annotations import read_json_of_one, read_mat_points
from workbench.data.files.coco import read_coco
from workbench.data.files.entries import Annotation, Entry, image_files, normal
from workbench.data.files.folders import FileDataset
from workbench.data.files.images import IMAGE_SUFFIXES, MAX_PIXELS
from workbench.data.files.marks import Marks, as_labels, check_labels
from workbench.data.files.tables import read_csv, read_csv_of_many
from workbench.data.splits import hold_out

PARTS = ("train", "val", "test")
PLACES = ("", "annotations", "labels", "points", "gt", "ground_truth", "ground-truth")
OF_MANY: Mapping[str, Callable[[Path], dict[str, Marks]]] = {
    "annotations.json": read_coco,
    "points.csv": read_csv_of_many,
    "annotations.csv": read_csv_of_many,
}
OF_ONE: Mapping[str, Callable[[Path], Marks]] = {".csv": read_csv, ".json": read_json_of_one, ".mat": read_mat_points}
STEMS = ("{}", "GT_{}", "{}_ann")
TEST_SHARE = 0.2
ACCEPTED = (
    f"either one file for all images there ({', '.join(OF_MANY)}: COCO, or the columns image, x, y), or a file for "
    f"each image, beside it or in {', '.join(PLACES[1:])}: NAME.csv (x and y), NAME.json (LabelMe) or NAME.mat"
)


class Folder(FileDataset):
    """Anybody's pictures with points as CSV, LabelMe, COCO or MATLAB files.

    Images lie in ``root`` or ``root/images``. Annotations are either one file for all of them in ``root``,

    - ``annotations.json``: COCO's form; the person is the only keypoint, the head or nose, else the middle of the box;
    - ``points.csv`` or ``annotations.csv``: the columns ``image``, ``x``, ``y``; a row with neither x nor y says that
      there is nobody in the image;

    or a file for each image of the image's name (also ``GT_name`` or ``name_ann``), beside it or in ``annotations``,
    ``labels``, ``points``, ``gt`` or ``ground_truth``:

    - ``.csv``: two columns, x then y, or columns of these names; a file without rows is an image of nobody;
    - ``.json``: LabelMe's (points, or the middle of rectangles and circles), or an object with ``points``, and perhaps
      ``boxes`` and ``labels``;
    - ``.mat``: ``annPoints``, ``points``, ``point``, ``location`` or ``image_info``, N x 2.

    With folders ``train``, ``test`` and perhaps ``val`` in ``root``, each such as above, these are the parts. Without
    them a fifth of the images, always the same ones, is the test part. An image without an annotation is an error.

    Marks may have labels: COCO's categories, LabelMe's labels, a table's column ``label`` (or ``class``, ``category``).
    Where the set holds several labels, ``labels`` must say which of them are people.

    Args:
        root: as in :class:`~workbench.data.files.folders.FileDataset`, and so the other arguments and errors.
        split: "train", "val", "trainval" or "test".
        labels: the labels of the marks that count as people; "" is that of marks without one. None counts all marks.
        validation: see there.
        seed: see there.
        outside: see there.
        stated: see there.
        roi: see there.
        resize: see there.
        prepared: see there.
        max_pixels: see there.

    Raises:
        FileNotFoundError: no annotation of a form that is read; the message lists the forms.
        ValueError: several labels without ``labels``, or ``labels`` that the set does not hold; the message lists the
            labels with their numbers.
    """

    name = "folder"
    title = "your pictures"
    published: ClassVar = {}

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        *,
        labels: str | Sequence[str] | None = None,
        validation: float | None = None,
        seed: int = 0,
        outside: str = "raise",
        stated: str = "raise",
        roi: str = "black",
        resize: str = "none",
        prepared: str | Path | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.counted = as_labels(labels)
        if self.counted is not None:
            self.settings = {"labels": sorted(self.counted)}
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
    def parts_of(cls, root: Path) -> tuple[str, ...]:
        """The parts that have a folder, or "all" where none has."""
        return tuple(part for part in PARTS if (root / part).is_dir()) or ("all",)

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images of a part in natural order, each with where its annotation belongs or what is said of it.

        Raises:
            FileNotFoundError: there is no image, or no annotation of a form that is read.
            ValueError: annotations for all images in several files, or of an image that lies elsewhere.
        """
        folder = root if part == "all" else root / part
        inner = folder / "images" if (folder / "images").is_dir() else folder
        files = [folder / name for name in OF_MANY if (folder / name).is_file()]
        if not files:
            return _each(image_files(inner), folder)
        if len(files) > 1:
            raise ValueError(f"{folder} holds {' and '.join(file.name for file in files)}, expected one of them")
        images = {normal(image.name): image for image in image_files(inner, one_a_name=False)}
        said = OF_MANY[files[0].name](files[0])
        for name in said:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"{files[0]} names the image {name[:60]!r}, expected one within {inner}")
        return [
            Entry(Path(name).stem, images.get(name, inner / name), files[0], given=said.get(name), own=False)
            for name in dict.fromkeys([*images, *said])
        ]

    @classmethod
    def marks(cls, entry: Entry) -> Marks:
        """What is marked in one image.

        Raises:
            FileNotFoundError: there is no annotation.
            ValueError: damaged, of another form, or nothing is said of the image.
        """
        assert entry.annotation is not None  # every entry of this data set has one
        if entry.own:
            return OF_ONE[entry.annotation.suffix.lower()](entry.annotation)
        if entry.given is None:
            raise ValueError(f"{entry.annotation} says nothing of {entry.image.name}")
        found: Marks = entry.given
        return found

    @classmethod
    def read(cls, entry: Entry) -> Annotation:
        """The annotation of one image; errors as :meth:`marks`."""
        return cls.marks(entry).annotation(entry.labels)

    @classmethod
    def labels_of(cls, entry: Entry) -> Counter[str]:
        """The labels of one image's marks with their numbers; errors as :meth:`marks`."""
        return Counter(cls.marks(entry).labels)

    def complete(self, part: str) -> Sequence[Entry]:
        """The entries of one part, if it is clear which labels of the whole set are people."""
        entries = super().complete(part)
        others = [
            entry for other in self.parts_of(self.root) if other != part for entry in self.entries(self.root, other)
        ]
        found = sum((self.labels_of(entry) for entry in [*entries, *others] if _is_said(entry)), Counter())
        check_labels(found, self.counted, self.root)
        return [replace(entry, labels=self.counted) for entry in entries]

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


def _is_said(entry: Entry) -> bool:
    """Whether anything is said of an image; where nothing is, reading it is an error."""
    return entry.given is not None or (entry.own and entry.annotation is not None and entry.annotation.is_file())


def _each(images: Sequence[Path], folder: Path) -> list[Entry]:
    """The entries of images with a file of annotations each, or with the place where one would be looked for."""
    homes = dict.fromkeys([images[0].parent, *(folder / place for place in PLACES if (folder / place).is_dir())])
    files = [path for home in homes for path in sorted(home.iterdir()) if path.suffix.lower() not in IMAGE_SUFFIXES]
    by_name: dict[str, list[Path]] = {}
    for path in files:
        by_name.setdefault(normal(path.stem) + path.suffix.lower(), []).append(path)
    entries, none = [], True
    for image in images:
        names = [form.format(normal(image.stem)) + suffix for suffix in OF_ONE for form in STEMS]
        found = [path for name in names for path in by_name.get(name, ())]
        if len(found) > 1:
            listed = ", ".join(map(str, found))
            raise ValueError(f"{image} has {len(found)} annotations, expected one: {listed}")
        none = none and not found
        entries.append(Entry(image.stem, image, found[0] if found else image.with_suffix(".csv")))
    if none:
        others = [path for path in files if path.is_file() and not path.name.startswith(".")]
        raise FileNotFoundError(
            f"{folder} holds {len(images)} images and no annotation of a form that is read; found {_kinds(others)}, "
            f"expected {ACCEPTED}"
        )
    return entries


def _kinds(files: Iterable[Path]) -> str:
    """The kinds of files in words: "5 .txt (a.txt)"."""
    kinds: dict[str, list[str]] = {}
    for path in files:
        kinds.setdefault(path.suffix.lower() or "without ending", []).append(path.name)
    return ", ".join(f"{len(names)} {kind} (such as {names[0]})" for kind, names in kinds.items()) or "no other files"
