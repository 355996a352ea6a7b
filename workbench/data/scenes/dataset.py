"""Crowd scenes made on the fly from a seed, out of real faces and real ground textures."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import check_choice, check_whole
from workbench.data.dataset import CrowdDataset
from workbench.data.sample import CrowdSample
from workbench.data.scenes.layout import Layout, ScenePreset, draw_layout
from workbench.data.scenes.painting import paint, seen
from workbench.data.scenes.sprites import FACES, TRAINING_FACES
from workbench.data.splits import check_split, held_out

SCENE_PRESETS = {
    "small": ScenePreset((128, 128), median=18, spread=0.85, most=110, nobody=0.04, far=4.5, near=(8, 16)),
    "default": ScenePreset((256, 256), median=55, spread=0.8, most=350, nobody=0.03, far=5.5, near=(13, 28)),
    "dense": ScenePreset((256, 256), median=240, spread=0.5, most=600, nobody=0.0, far=4.5, near=(9, 16)),
    "sparse": ScenePreset((256, 256), median=6, spread=0.7, most=25, nobody=0.08, far=7, near=(14, 34)),
    "imbalanced": ScenePreset((128, 128), median=5, spread=1.7, most=260, nobody=0.1, far=3.5, near=(5, 13)),
}
STREAMS = {"train": 1, "val": 2, "test": 3}


class Scenes(CrowdDataset):
    """Crowd scenes of one preset.

    A scene depends on (preset, seed, split, index) alone. Heads are real faces; "test" shows other people than "train"
    and "val". A clustered point process places people on a plane, which a camera sees in perspective. They are painted
    from far to near, so that people hide one another. A person is annotated if at least ``MIN_VISIBLE`` of the head is
    visible. Samples know the head sizes, the perspective map and the region of interest (where heads are large enough).

    Args:
        split: "train" and "test" hold ``length`` scenes each; "val" holds ``validation * length`` more, drawn
            as "train" is; "trainval" is both.
        preset: "small" (128 px), "default" (256 px), "dense", "sparse", or "imbalanced" (many nearly empty scenes, a
            few with very many people).
        length: number of training scenes.
        seed: of every random draw.
        validation: scenes held out for validation, as a share of ``length``.
        cache: whether each scene is kept in memory after it is made (3 bytes a pixel).

    Raises:
        ValueError: an unknown split or preset, a length below one, a negative seed, a share outside [0, 1).
    """

    def __init__(
        self,
        split: str = "train",
        *,
        preset: str = "default",
        length: int = 400,
        seed: int = 0,
        validation: float = 0.1,
        cache: bool = True,
    ) -> None:
        check_split(split, validation)
        check_choice(preset, tuple(SCENE_PRESETS), "preset")
        check_whole(length, "length")
        check_whole(seed, "seed", least=0)
        self.preset = preset
        self.seed = seed
        self._pieces = [
            (part, number)
            for part in (("train", "val") if split == "trainval" else (split,))
            for number in range(held_out(length, validation) if part == "val" else length)
        ]
        self._layouts: dict[int, tuple[Layout, np.ndarray]] = {}
        self._images: dict[int, np.ndarray] = {}
        self._cache = cache

    @property
    def names(self) -> list[str]:
        """Preset, seed, split and number of each: ``small-0-train-00017``."""
        return [self._name(index) for index in range(len(self))]

    def _name(self, index: int) -> str:
        part, number = self._pieces[index]
        return f"{self.preset}-{self.seed}-{part}-{number:05d}"

    def __len__(self) -> int:
        return len(self._pieces)

    def _generator(self, index: int, purpose: int) -> np.random.Generator:
        part, number = self._pieces[index]
        return np.random.default_rng([self.seed, number, STREAMS[part], purpose])

    def layout(self, index: int) -> tuple[Layout, np.ndarray]:
        """The people of a scene, and which of them are annotated."""
        if index in self._layouts:
            return self._layouts[index]
        preset, part = SCENE_PRESETS[self.preset], self._pieces[index][0]
        cast = range(TRAINING_FACES, FACES) if part == "test" else range(TRAINING_FACES)
        layout = draw_layout(self._generator(index, 0), preset, cast)
        made = layout, seen(layout, preset.size)
        if self._cache:
            self._layouts[index] = made
        return made

    def points(self, index: int) -> Float[Tensor, "n 2"]:
        """The centres of the annotated heads, known before the scene is painted."""
        layout, annotated = self.layout(self.at(index))
        return torch.from_numpy(layout.centre[annotated].astype(np.float32))

    def __getitem__(self, index: int) -> CrowdSample:
        index = self.at(index)
        layout, annotated = self.layout(index)
        size = SCENE_PRESETS[self.preset].size
        image = self._images.get(index)
        if image is None:
            image = paint(self._generator(index, 1), layout, size)
            if self._cache:
                self._images[index] = image
        perspective = layout.camera.head_heights(size[0])
        # heads begin on whole pixels, so up to one pixel above the farthest row
        rows = np.arange(size[0]) >= np.floor(layout.camera.first_row) - 1
        return CrowdSample(
            image=torch.from_numpy(image).permute(2, 0, 1).float() / 255,
            points=torch.from_numpy(layout.centre[annotated].astype(np.float32)),
            name=self._name(index),
            head_sizes=torch.from_numpy(layout.size[annotated].astype(np.float32)),
            roi=torch.from_numpy(rows)[:, None].repeat(1, size[1]),
            perspective=torch.from_numpy(perspective.astype(np.float32))[:, None].repeat(1, size[1]),
        )
