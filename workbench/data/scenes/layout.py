"""Who stands where in a crowd scene: a camera over a plane, and a clustered point process on the plane.

Lengths on the plane are head heights. A camera looks level, its horizon at one row of the image: a head whose centre
lies at row y is ``(y - horizon) / rise`` pixels high, where ``rise`` is the camera's height above the heads. People
spread evenly over the plane are therefore small and dense far away, large and sparse near.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from workbench.data.scenes.sprites import BODY, HEAD_WIDTH, NECK, POSES

SPACING = 1.9  # least distance of two people on the plane, head heights
APART = 0.6  # least distance of two heads in the image, heights of the larger one
FACING = 0.85  # share of people whose face is seen


@dataclass(frozen=True)
class ScenePreset:
    """What kind of crowd a scene shows.

    Attributes:
        size: (H, W) in pixels.
        median: median number of people that a scene aims at; the numbers are log-normal.
        spread: standard deviation of the number's logarithm.
        most: the largest number.
        nobody: share of the scenes without people.
        far: height in pixels of the farthest heads.
        near: (least, most) height in pixels of a head at the bottom of the image.
    """

    size: tuple[int, int]
    median: float
    spread: float
    most: int
    nobody: float
    far: float
    near: tuple[float, float]


@dataclass(frozen=True)
class Camera:
    """How the plane is seen.

    The horizon lies at a row, also outside the image, ``rise`` head heights above the heads; ``focal`` is in pixels.
    ``first_row`` is the row of the farthest heads, also above the image.
    """

    horizon: float
    rise: float
    focal: float
    first_row: float

    def head_height(self, y: float) -> float:
        """Height in pixels of a head whose centre lies at row ``y``; zero at the horizon and above."""
        return max((y - self.horizon) / self.rise, 0.0)

    def head_heights(self, rows: int) -> Float[np.ndarray, "rows"]:
        """Height in pixels of a head whose centre lies in the middle of each of the image's rows."""
        return np.maximum((np.arange(rows) + 0.5 - self.horizon) / self.rise, 0)


@dataclass(frozen=True)
class Layout:
    """The people of one scene, far to near: arrays of one entry a person.

    Attributes:
        camera: how they are seen.
        left: first column of the head in pixels, may lie outside the image.
        top: first row of the head in pixels.
        size: height of the head in whole pixels.
        face: index of the face, -1 where the head is seen from behind.
        mirrored: whether the face is mirrored.
        pose: which body.
    """

    camera: Camera
    left: Int[np.ndarray, "n"]
    top: Int[np.ndarray, "n"]
    size: Int[np.ndarray, "n"]
    face: Int[np.ndarray, "n"]
    mirrored: Bool[np.ndarray, "n"]
    pose: Int[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.size)

    @property
    def width(self) -> Int[np.ndarray, "n"]:
        """Width of each head in whole pixels."""
        return np.maximum(1, np.round(self.size * HEAD_WIDTH)).astype(int)

    @property
    def centre(self) -> Float[np.ndarray, "n 2"]:
        """(N, 2) centres of the heads, x then y, in pixels."""
        return np.stack([self.left + self.width / 2, self.top + self.size / 2], axis=1)

    @property
    def body_left(self) -> Int[np.ndarray, "n"]:
        """First column of each body."""
        width = np.maximum(1, np.round(self.size * BODY[0]))
        return np.round(self.centre[:, 0] - width / 2).astype(int)

    @property
    def body_top(self) -> Int[np.ndarray, "n"]:
        """First row of each body."""
        return np.round(self.top + self.size * (1 - NECK)).astype(int)


def draw_camera(rng: np.random.Generator, preset: ScenePreset) -> Camera:
    """A camera whose horizon lies in the upper part of the image or above it."""
    height, width = preset.size
    near = rng.uniform(*preset.near)
    horizon = height * rng.uniform(-0.7, 0.3)
    rise = (height - horizon) / near
    return Camera(horizon, rise, width * rng.uniform(1.0, 1.5), horizon + preset.far * rise)


def draw_count(rng: np.random.Generator, preset: ScenePreset) -> int:
    """How many people a scene aims at: nobody, or a log-normal number."""
    nobody, number = rng.random(), np.exp(rng.normal(np.log(preset.median), preset.spread))
    return 0 if nobody < preset.nobody else int(np.clip(np.round(number), 1, preset.most))


def _candidates(
    rng: np.random.Generator, camera: Camera, size: tuple[int, int], count: int, groups: int
) -> Float[np.ndarray, "n 2"]:
    """Places on the plane, across and along the view in head heights, some evenly spread, most around ``groups``."""
    height, width = size
    # beyond the image's edges too, where heads and bodies are cut
    farthest = camera.focal / camera.head_height(max(camera.first_row, -0.2 * height))
    nearest = camera.focal / camera.head_height(1.06 * height)

    def evenly(number: int) -> tuple[np.ndarray, np.ndarray]:
        # the visible strip of the plane widens with the distance: the density of distances is proportional to it
        far = np.sqrt(rng.uniform(nearest**2, farthest**2, number))
        return rng.uniform(-0.55, 0.55, number) * width / camera.focal * far, far

    across, far = evenly(count)
    centre_across, centre_far = evenly(groups)
    reach = rng.uniform(1.5, 6.0, groups)
    group = rng.integers(groups, size=count)
    grouped = rng.random(count) < 0.7
    across = np.where(grouped, centre_across[group] + reach[group] * rng.standard_normal(count), across)
    far = np.where(grouped, centre_far[group] + reach[group] * rng.standard_normal(count), far)
    seen = (far >= nearest) & (far <= farthest) & (np.abs(across) < 0.55 * width / camera.focal * far)
    return np.stack([across, far], axis=1)[seen]


def _too_close(one: Float[np.ndarray, "n 5"], other: Float[np.ndarray, "m 5"]) -> Bool[np.ndarray, "n m"]:
    """Which people of ``one`` are too close to which of ``other``; rows are across, distance, column, row, head."""
    apart = (one[:, None, :4] - other[None, :, :4]) ** 2
    larger = np.maximum(one[:, None, 4], other[None, :, 4])
    return (apart[..., 0] + apart[..., 1] < SPACING**2) | (apart[..., 2] + apart[..., 3] < (APART * larger) ** 2)


def _spread_out(
    places: Float[np.ndarray, "n 2"], camera: Camera, most: int, block: int = 64
) -> Float[np.ndarray, "m 2"]:
    """The first ``most`` of the places of which no two are too close, on the plane or in the image."""
    across, far = places.T
    head = camera.focal / far
    people = np.stack([across, far, across * head, camera.rise * head, head], axis=1)
    kept = people[:0]
    # in blocks: a scene that is full early needs few comparisons
    for start in range(0, len(people), block):
        fresh = people[start : start + block]
        fresh = fresh[~_too_close(fresh, kept).any(axis=1)]
        clash = _too_close(fresh, fresh)
        free = np.ones(len(fresh), dtype=bool)
        chosen = []
        for index in range(len(fresh)):
            if free[index]:
                chosen.append(index)
                free &= ~clash[index]
        kept = np.concatenate([kept, fresh[chosen]])
        if len(kept) >= most:
            break
    return kept[:most, :2]


def draw_layout(rng: np.random.Generator, preset: ScenePreset, faces: range) -> Layout:
    """Draw the people of one scene; their faces come from ``faces``."""
    camera = draw_camera(rng, preset)
    count = draw_count(rng, preset)
    groups = 1 + rng.poisson(count / 8)
    places = np.empty((0, 2))
    if count:
        places = _spread_out(_candidates(rng, camera, preset.size, 4 * count + 16, groups), camera, count)
    places = places[np.argsort(-places[:, 1], kind="stable")]
    number = len(places)
    height = camera.focal / places[:, 1]
    size = np.maximum(np.round(height * rng.uniform(0.93, 1.07, number)), 2).astype(int)
    x = preset.size[1] / 2 + places[:, 0] * height
    y = camera.horizon + camera.rise * height
    width = np.round(size * HEAD_WIDTH)
    face = rng.integers(faces.start, faces.stop, number)
    return Layout(
        camera=camera,
        left=np.round(x - width / 2).astype(int),
        top=np.round(y - size / 2).astype(int),
        size=size,
        face=np.where(rng.random(number) < FACING, face, -1),
        mirrored=rng.random(number) < 0.5,
        pose=rng.integers(POSES, size=number),
    )
