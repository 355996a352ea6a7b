"""WorldExpo'10."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from workbench.data.files.entries import as_number, as_points, image_files
from workbench.data.files.folders import Annotation, Entry, FileDataset, Published
from workbench.data.files.matlab import pick, read_variables
from workbench.data.files.regions import read_map, read_polygon

SCENE = re.compile(r"\d{6}")
HEAD = 0.25  # metres: the height of a head, by which pixels a metre become pixels a head


class WorldExpo10(FileDataset):
    """WorldExpo'10: 3,980 frames, 576 x 720, of 108 cameras, five of them for testing.

    ``train_frame/*.jpg``, ``train_label/<scene>/*.mat`` (``point_position``, N x 2, x then y; ``point_num`` where it is
    there) and likewise ``test_frame``, its images in a folder a scene or not, and ``test_label``. The scene is the six
    digits that a frame's name begins with. ``<scene>/roi.mat`` beside the labels is the region of interest as a
    polygon: **people are counted inside it only**. ``{train,test}_perspective/<scene>.mat`` (``pMap``), where it is
    there, says how many pixels a metre has; the samples' perspective is that of a head of 0.25 m.

    ``label`` is the scene: MAE by scene, then the mean of the five, is
    ``group_means(absolute_errors, dataset.labels())`` (:func:`workbench.metrics.group_means`). Arguments and errors as
    in :class:`~workbench.data.files.folders.FileDataset`.

    Reference:
        Zhang, Li, Wang and Yang, "Cross-Scene Crowd Counting via Deep Convolutional Neural Networks", CVPR 2015.
    """

    name = "worldexpo10"
    title = "WorldExpo'10"
    published: ClassVar = {
        "train": Published(images=3_380),
        "test": Published(images=600),
        "all": Published(images=3_980, people=199_923),
    }

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The frames of "train" or "test", each with where its label, region and perspective belong."""
        folder, maps = root / f"{part}_frame", root / f"{part}_perspective"
        inner = sorted(p for p in folder.iterdir() if p.is_dir() and SCENE.fullmatch(p.name)) if folder.is_dir() else []
        entries = []
        for image in [image for place in inner or [folder] for image in image_files(place, rf"{SCENE.pattern}\D.*")]:
            scene = image.name[:6]
            labels = root / f"{part}_label" / scene
            beside = {"roi": labels / "roi.mat"} | ({"perspective": maps / f"{scene}.mat"} if maps.is_dir() else {})
            entries.append(Entry(image.stem, image, labels / f"{image.stem}.mat", beside, given=scene))
        return entries

    @classmethod
    def read_annotation(cls, path: Path) -> Annotation:
        """Points and number of one frame; errors as :func:`~workbench.data.files.matlab.read_variables`."""
        variables = read_variables(path)
        points = as_points(variables[pick(variables, path, "point_position")], path)
        return Annotation(points, as_number(variables.get("point_num")))

    @classmethod
    def read(cls, entry: Entry) -> Annotation:
        """The annotation with its scene."""
        return super().read(entry)._replace(label=int(entry.given))

    @classmethod
    def read_roi(cls, entry: Entry, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """The scene's region of interest."""
        return read_polygon(entry.beside["roi"], "maskVerticesXCoordinates", "maskVerticesYCoordinates", size)

    @classmethod
    def read_maps(cls, entry: Entry, size: tuple[int, int]) -> Mapping[str, Float[Tensor, "h w"]]:
        """The scene's perspective, where there is one."""
        file = entry.beside.get("perspective")
        return {} if file is None else {"perspective": read_map(file, size, "pMap") * HEAD}

    def labels(self) -> list[int | None]:
        """The scene of every image, for scores by scene."""
        return [self.read(entry).label for entry in self._entries]
