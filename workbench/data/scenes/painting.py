"""The people of a crowd scene: which heads are visible, and their pixels, painted from far to near."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from workbench.data.scenes.ground import backdrop, ground_row
from workbench.data.scenes.layout import Layout
from workbench.data.scenes.sprites import Sprite, body, head, shadow

MIN_VISIBLE = 0.35  # least visible share of the pixels of a head that is annotated

SKIN = np.array([[1.0, 0.80, 0.68], [0.93, 0.70, 0.55], [0.78, 0.56, 0.42], [0.58, 0.40, 0.30], [0.42, 0.29, 0.22]])
HAIR = np.array([[0.07, 0.06, 0.06], [0.16, 0.11, 0.08], [0.30, 0.20, 0.12], [0.55, 0.43, 0.25], [0.55, 0.54, 0.53]])
HAIR_SHARE = (0.38, 0.32, 0.15, 0.09, 0.06)
CLOTH = np.array(
    [
        [0.10, 0.10, 0.12],
        [0.30, 0.31, 0.33],
        [0.85, 0.85, 0.83],
        [0.16, 0.22, 0.38],
        [0.30, 0.42, 0.60],
        [0.62, 0.18, 0.17],
        [0.72, 0.62, 0.46],
        [0.25, 0.38, 0.27],
        [0.80, 0.66, 0.22],
        [0.60, 0.36, 0.50],
    ]
)


class Placed(NamedTuple):
    """The part of a sprite that falls on the image, and where."""

    window: tuple[slice, slice]
    layers: Float[np.ndarray, "h w k"]
    cover: Float[np.ndarray, "h w"]


def place(sprite: Sprite, left: int, top: int, size: tuple[int, int]) -> Placed | None:
    """Put a sprite with its first pixel at column ``left``, row ``top`` of an image; None if it lies outside."""
    height, width = sprite.cover.shape
    rows = slice(max(0, top), min(size[0], top + height))
    columns = slice(max(0, left), min(size[1], left + width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    part = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    return Placed((rows, columns), sprite.layers[part], sprite.cover[part])


def placed_people(layout: Layout, size: tuple[int, int]) -> Iterator[tuple[int, Placed | None, Placed | None]]:
    """Each person from far to near: number, body and head as they fall on the image."""
    columns = (layout.size, layout.pose, layout.body_left, layout.body_top, layout.face, layout.mirrored)
    rows = zip(*(column.tolist() for column in (*columns, layout.left, layout.top)), strict=True)
    for index, (tall, pose, body_left, body_top, face, mirrored, left, top) in enumerate(rows):
        below = place(body(pose, tall), body_left, body_top, size)
        above = place(head(None if face < 0 else face, mirrored, tall), left, top, size)
        yield index, below, above


def seen(layout: Layout, size: tuple[int, int]) -> Bool[np.ndarray, "n"]:
    """Which people are annotated: (N,) booleans.

    A head is annotated if its centre lies in the image, and at least ``MIN_VISIBLE`` of its pixels lie in the image and
    are hidden by nobody in front.
    """
    owner = np.full(size, -1, dtype=np.int32)
    whole = np.zeros(len(layout))
    for index, below, above in placed_people(layout, size):
        if below is not None:
            owner[below.window][below.cover > 0.5] = -1
        if above is not None:
            owner[above.window][above.cover > 0.5] = index
        face, mirrored = int(layout.face[index]), bool(layout.mirrored[index])
        whole[index] = (head(None if face < 0 else face, mirrored, int(layout.size[index])).cover > 0.5).sum()
    visible = np.bincount(owner[owner >= 0], minlength=len(layout)) / np.maximum(whole, 1)
    x, y = layout.centre.T
    return (visible >= MIN_VISIBLE) & (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])


def draw_colours(
    rng: np.random.Generator, number: int
) -> tuple[Float[np.ndarray, "n 4 3"], Float[np.ndarray, "n 2 3"]]:
    """Colours in [0, 1] of the materials of ``number`` bodies (top, skin, legs, shoes) and heads (skin, hair)."""
    between = rng.uniform(0, len(SKIN) - 1, number) ** 1.2 % (len(SKIN) - 1)
    step = between.astype(int)
    share = (between - step)[:, None]
    skin = SKIN[step] * (1 - share) + SKIN[step + 1] * share
    hair = HAIR[rng.choice(len(HAIR), number, p=HAIR_SHARE)]
    hat = rng.random(number) < 0.08
    hair = np.where(hat[:, None], CLOTH[rng.integers(len(CLOTH), size=number)], hair)
    top = CLOTH[rng.integers(len(CLOTH), size=number)]
    # now and then most of a crowd wears one colour, as supporters do
    team, share_of_team = CLOTH[rng.integers(len(CLOTH))], rng.choice([0.0, 0.7], p=[0.8, 0.2])
    top = np.where(rng.random(number)[:, None] < share_of_team, team, top)
    legs = CLOTH[rng.integers(7, size=number)]
    shoes = np.full((number, 3), 0.12)
    bodies = np.stack([top, skin * 0.8, legs, shoes], axis=1)
    heads = np.stack([skin, hair], axis=1)
    bodies = bodies + rng.uniform(-0.05, 0.05, bodies.shape)
    heads = heads * rng.uniform(0.85, 1.1, (number, 2, 1))
    return np.clip(bodies, 0.02, 1).astype(np.float32), np.clip(heads, 0.02, 1).astype(np.float32)


def _blend(image: np.ndarray, placed: Placed | None, colours: np.ndarray, haze: float, air: np.ndarray) -> None:
    """Paint a sprite over the image: layers @ colours, mixed with the share ``haze`` of the colour ``air``."""
    if placed is None:
        return
    part = image[placed.window]
    cover = placed.cover[..., None]
    part *= 1 - cover
    part += placed.layers @ (colours * np.float32(1 - haze))
    part += cover * (haze * air)


def paint(rng: np.random.Generator, layout: Layout, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """The scene as a camera would store it: (H, W, 3), 8 bits a channel."""
    camera = layout.camera
    image = backdrop(rng, camera, size)
    bodies, heads = draw_colours(rng, len(layout))
    air, depth = rng.uniform(0.55, 0.8, 3).astype(np.float32), rng.uniform(0.0, 0.35)
    nearest = camera.head_height(size[0])
    lean, dark = rng.uniform(-1.5, 1.5), rng.uniform(0.15, 0.55)
    for tall, x in zip(layout.size.tolist(), layout.centre[:, 0].tolist(), strict=True):
        patch = shadow(tall)
        left = round(x + lean * tall - patch.shape[1] / 2)
        top = round(ground_row(camera, tall) - patch.shape[0] / 2)
        fallen = place(Sprite(patch[..., None], patch), left, top, size)
        if fallen is not None:
            image[fallen.window] *= 1 - dark * fallen.cover[..., None]
    for index, below, above in placed_people(layout, size):
        haze = depth * max(0.0, 1 - float(layout.size[index]) / nearest)
        _blend(image, below, bodies[index], haze, air)
        _blend(image, above, heads[index], haze, air)
    light = rng.uniform(0.75, 1.15) * (1 + rng.uniform(-0.05, 0.05, 3))
    slope = rng.uniform(-0.15, 0.15)
    across = 1 + slope * np.linspace(-1, 1, size[1], dtype=np.float32)
    image *= light.astype(np.float32) * across[:, None]
    image += rng.uniform(0.004, 0.02) * rng.standard_normal(image.shape, dtype=np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
