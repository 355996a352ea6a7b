"""Small exact copies of the layouts of further data sets; heads are painted where the annotation says.

Each writer returns what a reader shall find: the points of each image of each part that it counts.
"""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
from layouts import heads, paint, write_picture
from scipy.io import savemat

Truth = dict[str, dict[str, np.ndarray]]
NOBODY = np.zeros((0, 2))
NUMBERS = count()


def crowds(
    rng: np.random.Generator, images: int, size: tuple[int, int] | None = None
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Sizes and points of so many pictures; the second has nobody in it, the third one person."""
    for number in range(images):
        # unequal sizes, and never square: exchanged axes show
        height, width = size or (60 + 9 * number, 150 + 7 * number)
        people = {1: 0, 2: 1}.get(number, int(rng.integers(4, 30)))
        yield (height, width), heads(rng, (height, width), people)


def painted(size: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """The picture of these heads; its dark ground is noisy, so that no two pictures of nobody are the same file."""
    pixels = paint(size, points)
    noise = np.random.default_rng([*size, len(points), next(NUMBERS)]).integers(0, 20, (*size, 1), dtype=np.uint8)
    return np.where(pixels < 100, pixels + noise, pixels)


def write_ucf_cc_50(root: Path, images: int = 10) -> Truth:
    written = {}
    for number, (size, points) in enumerate(crowds(np.random.default_rng(1), images), start=1):
        write_picture(root / f"{number}.jpg", painted(size, points), "grey")
        savemat(root / f"{number}_ann.mat", {"annPoints": points})
        written[str(number)] = points
    return {"all": written}


def write_ucf_qnrf(root: Path, train: int = 6, test: int = 3) -> Truth:
    written: Truth = {"train": {}, "test": {}}
    rng = np.random.default_rng(2)
    for part, images in (("train", train), ("test", test)):
        for number, (size, points) in enumerate(crowds(rng, images), start=1):
            stem = f"img_{number:04d}"
            write_picture(
                root / part.capitalize() / f"{stem}.jpg", painted(size, points), "cmyk" if number == 4 else "rgb"
            )
            savemat(root / part.capitalize() / f"{stem}_ann.mat", {"annPoints": points.astype(np.float32)})
            written[part][stem] = points
    return written


def write_jhu_crowd(root: Path, images: int = 5) -> Truth:
    written: Truth = {}
    rng = np.random.default_rng(3)
    for offset, part in ((0, "train"), (100, "val"), (200, "test")):
        written[part], labels = {}, []
        for number, (size, centres) in enumerate(crowds(rng, images), start=offset + 1):
            points = np.floor(centres)  # the set's are whole numbers
            stem = f"{number:04d}"
            write_picture(root / part / "images" / f"{stem}.jpg", painted(size, points))
            lines = [
                f"{x:.0f} {y:.0f} {5 + i % 3} {6 + i % 4} {1 + i % 3} {i % 2}\n" for i, (x, y) in enumerate(points)
            ]
            (root / part / "gt").mkdir(exist_ok=True)
            (root / part / "gt" / f"{stem}.txt").write_text("".join(lines))
            labels.append(f"{stem},{len(points)},stadium,{number % 4},{int(not len(points))}\n")
            written[part][stem] = points
        (root / part / "image_labels.txt").write_text("".join(labels))
    return written


def write_nwpu_crowd(root: Path, *, kind: str = "jsons", lists: bool = True) -> Truth:
    """Six training images (3098 belongs to the others), three of validation, two without annotations."""
    numbers = {"train": [1, 2, 3, 10, 3109, 3169], "val": [3098, 3110, 3609], "test": [3610, 5109]}
    written: Truth = {}
    rng = np.random.default_rng(4)
    (root / kind).mkdir(parents=True)
    for part, chosen in numbers.items():
        written[part] = {}
        for number, (size, points) in zip(chosen, crowds(rng, len(chosen)), strict=True):
            stem = f"{number:04d}"
            write_picture(root / "images" / f"{stem}.jpg", painted(size, points), "grey" if number == 3 else "rgb")
            boxes = np.concatenate([points - 3.5, points + 4.5], axis=1)
            if part == "test":
                written[part][stem] = NOBODY
                continue
            if kind == "jsons":
                said = {"img_id": f"{stem}.jpg", "human_num": len(points)}
                said |= {"points": points.tolist(), "boxes": boxes.tolist()}
                (root / kind / f"{stem}.json").write_text(json.dumps(said))
            else:
                savemat(root / kind / f"{stem}.mat", {"annPoints": points, "annBoxes": boxes})
            written[part][stem] = points
        if lists and part != "test":
            (root / f"{part}.txt").write_text("".join(f"{number:04d} 1 3\n" for number in chosen))
    return written


def write_mall(root: Path, train: int = 8, test: int = 3) -> Truth:
    """Frames 1 to 8 and 801 to 803; the annotation's file speaks of all up to 803."""
    written: Truth = {"train": {}, "test": {}}
    frame = np.empty((1, 800 + test), dtype=object)
    counted = np.zeros((800 + test, 1))
    for index in range(frame.size):
        frame[0, index] = {"loc": NOBODY}
    numbers = [*range(1, train + 1), *range(801, 801 + test)]
    pictures = crowds(np.random.default_rng(5), len(numbers), (96, 128))
    for number, (size, points) in zip(numbers, pictures, strict=True):
        stem = f"seq_{number:06d}"
        write_picture(root / "frames" / f"{stem}.jpg", painted(size, points))
        frame[0, number - 1], counted[number - 1] = {"loc": points}, len(points)
        written["train" if number <= 800 else "test"][stem] = points
    savemat(root / "mall_gt.mat", {"frame": frame, "count": counted})
    return written


def write_worldexpo10(root: Path, *, perspective: bool = True, frames: int = 3) -> Truth:
    """So many frames of each of two training and two test scenes; the region is what lies left of a slanted line."""
    written: Truth = {"train": {}, "test": {}}
    rng = np.random.default_rng(6)
    scenes = {"train": ("100156", "104242"), "test": ("104207", "200608")}
    size = (72, 180)
    for part, chosen in scenes.items():
        for scene in chosen:
            labels = root / f"{part}_label" / scene
            labels.mkdir(parents=True)
            # the region ends at x = 110 at the top and at x = 150 at the bottom
            xs, ys = [0.0, 110.0, 150.0, 0.0], [0.0, 0.0, 72.0, 72.0]
            columns = {"maskVerticesXCoordinates": xs, "maskVerticesYCoordinates": ys}
            savemat(labels / "roi.mat", {name: np.array(values)[:, None] for name, values in columns.items()})
            if perspective:
                rows = np.linspace(10, 60, size[0])[:, None].repeat(size[1], axis=1)
                (root / f"{part}_perspective").mkdir(exist_ok=True)
                savemat(root / f"{part}_perspective" / f"{scene}.mat", {"pMap": rows})
            for number in range(frames):
                points = heads(rng, size, 0 if number == 1 else 40)
                stem = f"{scene}_A02-S2010062608{number}"
                folder = root / f"{part}_frame" / (scene if part == "test" else "")
                write_picture(folder / f"{stem}.jpg", painted(size, points))
                savemat(labels / f"{stem}.mat", {"point_position": points, "point_num": len(points)})
                inside = points[:, 0] < 110 + 40 * points[:, 1] / 72
                written[part][stem] = points[inside]
    return written


def write_trancos(root: Path) -> Truth:
    """Four training, three validation and three test images; the region is the lower part of the image."""
    written: Truth = {}
    rng = np.random.default_rng(7)
    (root / "image_sets").mkdir(parents=True)
    for camera, (part, name, images) in enumerate(
        [("train", "training", 4), ("val", "validation", 3), ("test", "test", 3)], start=1
    ):
        written[part], listed = {}, []
        for number, (size, points) in enumerate(crowds(rng, images), start=1):
            stem = f"image-{camera}-{number:06d}"
            write_picture(root / "images" / f"{stem}.jpg", painted(size, points))
            lines = [f"{x + 0.5:.0f}\t{y + 0.5:.0f}\n" for x, y in points]  # the centre of the first pixel is 1
            (root / "images" / f"{stem}.txt").write_text("".join(lines))
            mask = np.zeros(size, dtype=bool)
            mask[size[0] // 3 :] = True
            savemat(root / "images" / f"{stem}mask.mat", {"BW": mask})
            (root / "images" / f"{stem}dots.png").write_bytes(b"not read")
            listed.append(f"{stem}.jpg\n")
            written[part][stem] = points[points[:, 1] >= size[0] // 3]
        (root / "image_sets" / f"{name}.txt").write_text("".join(listed))
    return written


def write_shanghaitech_rgbd(root: Path, train: int = 5, test: int = 3) -> Truth:
    """Depth grows from row to row; where a head is it is 5,000 mm; a corner was not measured."""
    written: Truth = {"train": {}, "test": {}}
    rng = np.random.default_rng(8)
    for part, images, truth in (("train", train, "train_gt"), ("test", test, "test_bbox_anno")):
        folder = root / f"{part}_data"
        for name in (truth, f"{part}_depth"):
            (folder / name).mkdir(parents=True)
        for number, (size, points) in enumerate(crowds(rng, images), start=1):
            stem = f"IMG_{number:04d}"
            write_picture(folder / f"{part}_img" / f"{stem}.png", painted(size, points))
            boxes = np.concatenate([points - 3.5, points + 3.5], axis=1)
            said = {"point": points} if part == "train" else {"bbox": boxes}
            savemat(folder / truth / f"{'GT' if part == 'train' else 'BBOX'}_{stem}.mat", said)
            depth = np.linspace(6_000, 19_000, size[0])[:, None].repeat(size[1], axis=1)
            depth[0, 0], depth[0, 1] = -999, 20_001
            for x, y in points.astype(int):
                depth[y, x] = 5_000
            savemat(folder / f"{part}_depth" / f"DEPTH_{number:04d}.mat", {"depth": depth.astype(np.float32)})
            written[part][stem] = points
    return written


WRITERS = {
    "jhu_crowd": write_jhu_crowd,
    "mall": write_mall,
    "nwpu_crowd": write_nwpu_crowd,
    "shanghaitech_rgbd": write_shanghaitech_rgbd,
    "trancos": write_trancos,
    "ucf_cc_50": write_ucf_cc_50,
    "ucf_qnrf": write_ucf_qnrf,
    "worldexpo10": write_worldexpo10,
}
