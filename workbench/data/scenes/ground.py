"""The background of a crowd: a textured plane in perspective, and behind it a wall, a hedge or the open sky."""

import numpy as np
from jaxtyping import Float

from workbench.data.scenes.layout import Camera
from workbench.data.scenes.sprites import BODY, NECK, TEXTURES, texture

STANDING = BODY[1] - NECK + 0.5  # from the centre of a head down to the soles, head heights
TEXELS = {"grass": 44.0, "gravel": 60.0, "brick": 52.0}  # per head height
GROUND = {
    "grass": ((0.36, 0.46, 0.24), (0.48, 0.50, 0.28)),
    "gravel": ((0.52, 0.50, 0.47), (0.62, 0.56, 0.47), (0.40, 0.41, 0.43)),
    "brick": ((0.56, 0.42, 0.36), (0.52, 0.51, 0.50), (0.62, 0.56, 0.48)),
}
WALLS = ((0.55, 0.35, 0.28), (0.62, 0.58, 0.52), (0.45, 0.46, 0.50), (0.70, 0.62, 0.48))


def tint(rng: np.random.Generator, colours: tuple[tuple[float, ...], ...], by: float = 0.03) -> Float[np.ndarray, "3"]:
    """One of the colours, shifted a little."""
    return np.asarray(colours[rng.integers(len(colours))]) + rng.uniform(-by, by, 3)


def sample_texture(
    name: str, u: Float[np.ndarray, "h w"], v: Float[np.ndarray, "h w"], texels: Float[np.ndarray, "h"]
) -> Float[np.ndarray, "h w"]:
    """Look a texture up at texel coordinates (H, W), each row at the level at which a pixel covers ``texels`` (H,)."""
    levels = texture(name)
    chosen = np.clip(np.round(np.log2(np.maximum(texels, 1))), 0, len(levels) - 1).astype(int)
    light = np.empty(u.shape, dtype=np.float32)
    for number in np.unique(chosen):
        rows = chosen == number
        level = levels[number]
        last = len(level) - 1  # sides are powers of two
        light[rows] = level[(v[rows] / 2**number).astype(int) & last, (u[rows] / 2**number).astype(int) & last]
    return light


def ground_row(camera: Camera, head_height: float) -> float:
    """The row where somebody whose head is ``head_height`` pixels high stands."""
    return camera.horizon + (camera.rise + STANDING) * head_height


def _plane(rng: np.random.Generator, camera: Camera, size: tuple[int, int], first: int) -> Float[np.ndarray, "h w 3"]:
    """The plane from row ``first`` down, (H - first, W, 3)."""
    height, width = size
    name = TEXTURES[rng.integers(len(TEXTURES))]
    below = np.arange(first, height)[:, None] + 0.5 - camera.horizon
    far = camera.focal * (camera.rise + STANDING) / below
    across = (np.arange(width) + 0.5 - width / 2) / camera.focal * far
    turn, scale = rng.uniform(0, 2 * np.pi), TEXELS[name]
    start = rng.uniform(1e6, 2e6, 2)  # coordinates stay above zero
    u = start[0] + scale * (np.cos(turn) * across - np.sin(turn) * far)
    v = start[1] + scale * (np.sin(turn) * across + np.cos(turn) * far)
    # a pixel covers more of the plane along the view than across it; a mean closer to the larger avoids flicker
    texels = scale * far[:, 0] / (below[:, 0] ** 0.75 * camera.focal**0.25)
    light = sample_texture(name, u, v, texels)
    colour = tint(rng, GROUND[name])
    strength = rng.uniform(0.35, 1.0)
    return (1 + strength * (light - 1))[..., None] * colour


def _wall(rng: np.random.Generator, size: tuple[int, int], base: int, head: float) -> Float[np.ndarray, "h w 3"]:
    """A brick front with windows that stands where heads are ``head`` pixels high, (base, W, 3)."""
    width = size[1]
    scale = TEXELS["brick"] / head
    y, x = np.mgrid[:base, :width]
    u = rng.uniform(1e4, 2e4) + x * scale
    v = 1e4 + (base - y) * scale
    # the bricks of the texture stand upright: turned, they lie
    light = sample_texture("brick", v, u, np.full(base, scale))
    front = light[..., None] * tint(rng, WALLS)
    pitch, storey, wide, tall = rng.uniform(7, 11), rng.uniform(10, 13), rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.6)
    along = ((x / head + rng.uniform(0, pitch)) % pitch) / pitch
    up = (((base - y) / head) % storey) / storey
    glass = (along < wide) & (up > 0.3) & (up < 0.3 + tall)
    front[glass] = tint(rng, ((0.20, 0.23, 0.27), (0.36, 0.42, 0.48)))
    return front


def _hedge(rng: np.random.Generator, size: tuple[int, int], base: int, head: float) -> Float[np.ndarray, "h w 3"]:
    """Leaves, (base, W, 3)."""
    scale = TEXELS["grass"] / head
    y, x = np.mgrid[:base, : size[1]]
    light = sample_texture("grass", 1e4 + x * scale, rng.uniform(1e4, 2e4) + y * scale, np.full(base, scale))
    return light[..., None] * tint(rng, ((0.20, 0.30, 0.15), (0.30, 0.36, 0.18)))


def backdrop(rng: np.random.Generator, camera: Camera, size: tuple[int, int]) -> Float[np.ndarray, "h w 3"]:
    """The scene without people, (H, W, 3), light of about 0 to 1."""
    height, width = size
    head = camera.head_height(camera.first_row)
    kind = rng.choice(["open", "wall", "hedge"], p=[0.3, 0.45, 0.25])
    edge = camera.horizon + 1 if kind == "open" else ground_row(camera, 0.92 * head)
    base = int(np.clip(np.ceil(edge), 0, height - 1))
    image = np.empty((height, width, 3), dtype=np.float32)
    image[base:] = _plane(rng, camera, size, base)
    if not base:
        return image
    up = np.linspace(1, 0, base)[:, None, None]
    horizon_light, zenith = tint(rng, ((0.85, 0.87, 0.88), (0.80, 0.78, 0.74))), tint(rng, ((0.5, 0.64, 0.82),))
    image[:base] = horizon_light + up * (zenith - horizon_light)
    if kind != "open":
        tops = rng.uniform(14, 40) if kind == "wall" else rng.uniform(5, 14)
        top = max(0, base - round(tops * head))
        front = (_wall if kind == "wall" else _hedge)(rng, size, base, head)[top:]
        if kind == "hedge":
            # a ragged outline: columns of leaves of differing heights
            bumps = np.repeat(rng.uniform(0, 3 * head, width // 4 + 1), 4)[:width]
            leaves = np.arange(top, base)[:, None] >= top + (bumps + np.roll(bumps, 2)) / 2
            image[top:base][leaves] = front[leaves]
        else:
            image[top:base] = front
    return image
