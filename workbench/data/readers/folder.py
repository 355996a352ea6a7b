"""Pictures of one's own."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from workbench.data.files.annotations import read_json_of_one, read_mat_points
from workbench.data.files.cvat import read_cvat
from workbench.data.files.entries import Annotation, Entry, image_files, normal
from workbench.data.files.exports import read_json_of_many
from workbench.data.files.folders import FileDataset
from workbench.data.files.images import IMAGE_SUFFIXES
from workbench.data.files.label_studio import own_names
from workbench.data.files.marks import Marks, as_labels, check_labels
from workbench.data.files.tables import read_csv, read_csv_of_many
from workbench.data.splits import hold_out

PARTS = ("train", "val", "test")
ANNOTATION_PLACES = ("", "annotations", "labels", "points", "gt", "ground_truth", "ground-truth")
OF_MANY: Mapping[str, Callable[[Path], dict[str, Marks]]] = {
    "annotations.json": read_json_of_many,
    "points.csv": read_csv_of_many,
    "annotations.csv": read_csv_of_many,
    "annotations.xml": read_cvat,
    # the names that Label Studio and the VGG Image Annotator give
    "project-*-at-*.json": read_json_of_many,
    "via_project_*.json": read_json_of_many,
    "via_export_json.json": read_json_of_many,
    "via_export_coco.json": read_json_of_many,
    "via_region_data.json": read_json_of_many,
    "via_export_csv.csv": read_csv_of_many,
    "via_region_data.csv": read_csv_of_many,
}
OF_ONE: Mapping[str, Callable[[Path], Marks]] = {".csv": read_csv, ".json": read_json_of_one, ".mat": read_mat_points}
STEMS = ("{}", "GT_{}", "{}_ann")
TEST_SHARE = 0.2
ACCEPTED = (
    "either one file for all images there (annotations.json: COCO, Label Studio or VIA; annotations.xml: CVAT; "
    "points.csv: the columns image, x, y, or VIA's; or an export under the name that its tool gave it), or a file for "
    f"each image: NAME.csv (x and y), NAME.json (LabelMe) or NAME.mat, beside the image or in "
    f"{', '.join(ANNOTATION_PLACES[1:])}"
)


@dataclass(kw_only=True, eq=False, repr=False)
class Folder(FileDataset):
    """Anybody's pictures with points as CSV or MATLAB files, or as annotation tools export them.

    Images lie in ``root`` or ``root/images``. Annotations are either one file for all of them in ``root``,

    - ``annotations.json``: COCO's form; the person is the only keypoint, the head or nose, else the middle of the box;
      or the JSON of Label Studio or of the VGG Image Annotator (VIA), also under the name that the tool gave it;
    - ``annotations.xml``: "CVAT for images 1.1";
    - ``points.csv`` or ``annotations.csv``: the columns ``image``, ``x``, ``y``; a row with neither x nor y says that
      there is nobody in the image; or VIA's table;

    or a file for each image of the image's name (also ``GT_name`` or ``name_ann``), beside it or in ``annotations``,
    ``labels``, ``points``, ``gt`` or ``ground_truth``:

    - ``.csv``: two columns, x then y, or columns of these names; a file without rows is an image of nobody;
    - ``.json``: LabelMe's (points, or the middle of rectangles and circles), or an object with ``points``, and perhaps
      ``boxes`` and ``labels``;
    - ``.mat``: ``annPoints``, ``points``, ``point``, ``location`` or ``image_info``, N x 2.

    With folders ``train``, ``test`` and perhaps ``val`` in ``root``, each such as above, these are the parts. Without
    them a fifth of the images, always the same ones, is the test part. An image without an annotation is an error.

    Of the shapes that a tool draws a point is a person, and so is the middle of a box, a circle or an ellipse. An
    outline does not say where the person is: it is an error if its label counts.

    Marks may have labels: COCO's categories, a tool's labels, a table's column ``label`` (or ``class``, ``category``).
    Where the set holds several labels, ``labels`` must say which of them are people.

    Other arguments and errors as in :class:`~workbench.data.files.folders.FileDataset`.

    Args:
        labels: the labels of the marks that count as people; "" is that of marks without one. None counts all marks.

    Raises:
        FileNotFoundError: no annotation of a form that is read; the message lists the forms.
        ValueError: several labels without ``labels``, or ``labels`` that the set does not hold; the message lists the
            labels with their numbers.
    """

    name = "folder"
    title = "your pictures"
    published: ClassVar = {}

    labels: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        self.counted = as_labels(self.labels)
        super().__post_init__()

    def settings(self) -> dict[str, Any]:
        """The options that the samples depend on: the labels, too."""
        return super().settings() | ({} if self.counted is None else {"labels": sorted(self.counted)})

    @classmethod
    def parts_of(cls, root: Path) -> tuple[str, ...]:
        """The parts that have a folder, or "all" where none has."""
        return tuple(part for part in PARTS if (root / part).is_dir()) or ("all",)

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The images of a part in natural order, each with where its annotation belongs or what is said of it.

        Annotations for all images in several files, or of an image that lies elsewhere, are errors, too.
        """
        folder = root if part == "all" else root / part
        inner = folder / "images" if (folder / "images").is_dir() else folder
        readers = {path: read for form, read in OF_MANY.items() for path in sorted(folder.glob(form)) if path.is_file()}
        files = list(readers)
        if not files:
            return _each(image_files(inner), folder)
        if len(files) > 1:
            raise ValueError(f"{folder} holds {' and '.join(file.name for file in files)}, expected one of them")
        images = {normal(image.name): image for image in image_files(inner, one_a_name=False)}
        said = own_names(readers[files[0]](files[0]), images)
        for name in said:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"{files[0]} names the image {name[:60]!r}, expected one within {inner}")
        return [
            Entry(Path(name).stem, images.get(name, inner / name), files[0], given=said.get(name), own=False)
            for name in dict.fromkeys([*images, *said])
        ]

    @classmethod
    def marks(cls, entry: Entry) -> Marks:
        """What is marked in one image; an error if nothing is said of it, or the file is damaged."""
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
        others = [other for other in self.parts_of(self.place) if other != part]
        whole = [*entries, *(entry for other in others for entry in self.entries(self.place, other))]
        found = sum((self.labels_of(entry) for entry in whole if _is_said(entry)), Counter())
        check_labels(found, self.counted, self.place)
        return [replace(entry, labels=self.counted) for entry in entries]

    def choose(self) -> Sequence[Entry]:
        """The entries of a split: of the folders where there are any, else a share of all."""
        if self.parts_of(self.place) != ("all",):
            return super().choose()
        entries = self.complete("all")
        rest, test = (hold_out(len(entries), part, validation=TEST_SHARE, seed=0) for part in ("train", "val"))
        chosen = [entries[index] for index in (test if self.split == "test" else rest)]
        chosen = chosen if self.split == "test" else list(self.keep(chosen))
        if not chosen:
            raise FileNotFoundError(f"{self.place} holds {len(entries)} images, too few for a part {self.split!r}")
        return chosen


def _is_said(entry: Entry) -> bool:
    """Whether anything is said of an image; where nothing is, reading it is an error."""
    return entry.given is not None or (entry.own and entry.annotation is not None and entry.annotation.is_file())


def _each(images: Sequence[Path], folder: Path) -> list[Entry]:
    """The entries of images with a file of annotations each, or with the place where one would be looked for."""
    homes = dict.fromkeys(
        [images[0].parent, *(folder / place for place in ANNOTATION_PLACES if (folder / place).is_dir())]
    )
    files = [path for home in homes for path in sorted(home.iterdir()) if path.suffix.lower() not in IMAGE_SUFFIXES]
    by_name: dict[str, list[Path]] = {}
    for path in files:
        by_name.setdefault(normal(path.stem) + path.suffix.lower(), []).append(path)
    entries, any_found = [], False
    for image in images:
        names = [form.format(normal(image.stem)) + suffix for suffix in OF_ONE for form in STEMS]
        found = [path for name in names for path in by_name.get(name, ())]
        if len(found) > 1:
            listed = ", ".join(map(str, found))
            raise ValueError(f"{image} has {len(found)} annotations, expected one: {listed}")
        any_found |= bool(found)
        entries.append(Entry(image.stem, image, found[0] if found else image.with_suffix(".csv")))
    if not any_found:
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
