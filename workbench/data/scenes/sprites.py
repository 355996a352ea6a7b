"""The parts that crowd scenes are painted with: real faces, drawn bodies, real ground textures.

A sprite is a stack of layers, one for each material: the share of a pixel that it covers, times its brightness. Colours
are chosen when the sprite is painted: pixels = layers @ colours, with one row of colours for each material. Sprites are
drawn once, at ``MASTER`` pixels a head, and reduced to the size that is asked for.
"""

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

MASTER = 48  # height in pixels of a head in the drawings that are reduced to sprites
HEAD_WIDTH = 0.8  # head heights
BODY = (2.7, 6.2)  # width and height of a body from the chin to the soles, head heights
NECK = 0.1  # how far the body begins above the chin, head heights
FACES = 100  # the first hundred patches of the subset are faces
TRAINING_FACES = 70
POSES = 12
TEXTURES = ("grass", "gravel", "brick")


class Sprite(NamedTuple):
    """Layers (h, w, materials) and what they cover together, (h, w); both in [0, 1]."""

    layers: Float[np.ndarray, "h w k"]
    cover: Float[np.ndarray, "h w"]


def _reduce(plane: np.ndarray, width: int, height: int) -> np.ndarray:
    """A plane averaged down to (height, width)."""
    image = Image.fromarray(plane.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def _reduced(layers: np.ndarray, cover: np.ndarray, width: int, height: int) -> Sprite:
    planes = [_reduce(layers[..., k], width, height) for k in range(layers.shape[-1])]
    return Sprite(np.stack(planes, axis=-1), _reduce(cover, width, height))


@lru_cache(maxsize=1)
def faces() -> Float[np.ndarray, "100 25 25"]:
    """(100, 25, 25) grey faces, all with the same mean and contrast."""
    from skimage.data import lfw_subset

    patches = lfw_subset()[:FACES].astype(np.float32)
    mean = patches.mean(axis=(1, 2), keepdims=True)
    deviation = patches.std(axis=(1, 2), keepdims=True)
    return np.clip(0.74 + 0.24 * (patches - mean) / deviation, 0.05, 1.15)


@lru_cache(maxsize=len(TEXTURES))
def texture(name: str) -> tuple[Float[np.ndarray, "_ _"], ...]:
    """A grey texture of mean 1 at 512, 256, ... 1 pixels a side, so that far ground can be drawn without flicker."""
    import skimage.data

    level = getattr(skimage.data, name)().astype(np.float32)
    level /= level.mean()
    levels = [level]
    while len(level) > 1:
        level = level.reshape(len(level) // 2, 2, -1, 2).mean(axis=(1, 3))
        levels.append(level)
    return tuple(levels)


def _smooth_ellipse(height: int, width: int, centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """An ellipse, 1 inside and 0 outside, with an edge two pixels wide; centre and radii are (x, y)."""
    y, x = np.mgrid[:height, :width] + 0.5
    radius = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
    return np.clip((1 - radius) * min(radii) / 2 + 0.5, 0, 1).astype(np.float32)


@cache
def _head_master(face: int | None, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    """Skin and hair of a head seen from the front, or, without a face, from behind."""
    height, width = MASTER, round(MASTER * HEAD_WIDTH)
    middle = width / 2
    head = _smooth_ellipse(height, width, (middle, height * 0.5), (width * 0.49, height * 0.5))
    y, x = np.mgrid[:height, :width] + 0.5
    shine = 1.15 - 0.5 * ((x / width - 0.4) ** 2 + (y / height - 0.3) ** 2) * 2
    if face is None:
        grain = texture("grass")[0][:height, :width] * 0.25 + 0.75
        skin = head * np.clip((y / height - 0.9) * 12, 0, 1)
        return np.stack([skin * 0.75, (head - skin) * shine * grain], axis=-1), head
    # the photograph shows brow to chin; the rest of the head, above and beside it, is hair
    side = round(height * 0.86)
    patch = Image.fromarray(faces()[face]).resize((side, side), Image.Resampling.BICUBIC)
    crop = np.asarray(patch, dtype=np.float32)
    if mirrored:
        crop = crop[:, ::-1]
    start = (side - width) // 2
    light = np.ones((height, width), dtype=np.float32)
    light[height - side :] = crop[:, start : start + width]
    oval = _smooth_ellipse(height, width, (middle, height * 0.57), (width * 0.42, height * 0.44))
    hairline = np.clip((y / height - 0.17) * 10, 0, 1)
    skin = np.minimum(oval * hairline, head)
    # ears and jaw beside the oval are skin in shadow, what is above them is hair
    jaw = (head - skin) * np.clip((y / height - 0.62) * 8, 0, 1)
    return np.stack([skin * light + jaw * 0.55, (head - skin - jaw) * shine], axis=-1), head


@cache
def head(face: int | None, mirrored: bool, size: int) -> Sprite:
    """A head of ``size`` pixels' height: materials skin and hair."""
    layers, cover = _head_master(face, mirrored)
    return _reduced(layers, cover, max(1, round(size * HEAD_WIDTH)), size)


@lru_cache(maxsize=POSES)
def _body_master(pose: int) -> tuple[np.ndarray, np.ndarray]:
    """Top, trousers (or skirt), skin and shoes of one of ``POSES`` bodies, drawn in head heights."""
    rng = np.random.default_rng(pose)
    width, height = (round(side * MASTER) for side in BODY)
    shoulder, hip, stride = rng.uniform(0.84, 1.04), rng.uniform(0.55, 0.68), rng.uniform(0.05, 0.5)
    sleeve = rng.choice([0.9, 1.3, 2.5])  # where the sleeve ends: short, half, long
    bend = rng.uniform(-0.12, 0.2, 2)
    skirt = pose % 4 == 3
    masks = {name: Image.new("L", (width, height)) for name in ("top", "legs", "skin", "shoes")}
    pens = {name: ImageDraw.Draw(mask) for name, mask in masks.items()}
    middle = width / 2

    def spot(x: float, y: float) -> tuple[float, float]:
        return middle + x * MASTER, (y + NECK) * MASTER

    def shape(name: str, *corners: tuple[float, float]) -> None:
        pens[name].polygon([spot(x, y) for x, y in corners], fill=255)

    def limb(name: str, start: tuple[float, float], end: tuple[float, float], thick: float) -> None:
        pens[name].line([spot(*start), spot(*end)], fill=255, width=round(thick * MASTER))
        for x, y in (start, end):
            r = thick / 2
            pens[name].ellipse([*spot(x - r, y - r), *spot(x + r, y + r)], fill=255)

    shape("skin", (-0.24, -NECK), (0.24, -NECK), (0.3, 0.35), (-0.3, 0.35))
    for side, out in ((-1, bend[0]), (1, bend[1])):
        foot = (side * (0.25 + stride / 2), 5.75)
        limb("shoes", (foot[0], 5.85), (foot[0] + side * 0.12, 5.9), 0.26)
        limb("skin" if skirt else "legs", (side * 0.3, 2.8), foot, 0.3 if skirt else 0.46)
        joint = (side * (shoulder + out + 0.02), 1.45)
        hand = (side * (shoulder - 0.05 + 0.6 * out), 2.55)
        start = (side * (shoulder - 0.17), 0.48)
        limb("skin", start, joint, 0.24)
        limb("skin", joint, hand, 0.22)
        limb("top", start, joint if sleeve > 1 else (joint[0], sleeve), 0.34)
        if sleeve > 2:
            limb("top", joint, (hand[0], hand[1] - 0.2), 0.28)
    if skirt:
        shape("legs", (-hip, 2.4), (hip, 2.4), (hip + 0.3, 3.9), (-hip - 0.3, 3.9))
    else:
        shape("legs", (-hip, 2.4), (hip, 2.4), (hip, 3.0), (-hip, 3.0))
    slope = 0.3
    shape(
        "top",
        (-0.3, 0.1),
        (0.3, 0.1),
        (shoulder - 0.1, slope),
        (shoulder * 0.85, 1.2),
        (hip + 0.03, 2.7),
        (-hip - 0.03, 2.7),
        (-shoulder * 0.85, 1.2),
        (0.1 - shoulder, slope),
    )
    y, x = np.mgrid[:height, :width].astype(np.float32)
    fold = texture("gravel")[2][np.ix_(np.arange(height) // 3 % 128, np.arange(width) // 2 % 128)]
    round_light = (1.08 - 0.55 * (np.abs(x - middle * 0.9) / width * 2) ** 1.6) * (0.85 + 0.15 * fold)
    chin = np.clip(0.55 + (y / MASTER - NECK) * 0.9, 0.55, 1)  # the head's own shadow
    left: np.ndarray = np.ones((height, width), dtype=np.float32)
    layers = []
    # from front to back: each covers what the ones before leave of a pixel
    for name in ("top", "skin", "legs", "shoes"):
        part = np.asarray(masks[name], dtype=np.float32) / 255 * left
        left = left - part
        layers.append(part * round_light * chin)
    return np.stack(layers, axis=-1), 1 - left


@cache
def body(pose: int, size: int) -> Sprite:
    """A body under a head of ``size`` pixels' height: materials top, skin, legs and shoes."""
    layers, cover = _body_master(pose)
    return _reduced(layers, cover, max(1, round(size * BODY[0])), max(1, round(size * BODY[1])))


@cache
def shadow(size: int) -> Float[np.ndarray, "h w"]:
    """The soft shadow at the feet of a person whose head has ``size`` pixels: the share of light that it takes."""
    height, width = max(2, round(size * 0.9)), max(3, round(size * 3.2))
    y, x = np.mgrid[:height, :width] + 0.5
    radius = np.hypot((x / width - 0.5) * 2, (y / height - 0.5) * 2)
    return (np.clip(1 - radius, 0, 1) ** 0.7).astype(np.float32)
