"""Damaged files of every kind: a clear error or the sample that the file describes; nothing else happens."""

import json
import os
import pickle
import resource
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest
from layouts import write_shanghaitech
from layouts_sets import WRITERS, write_nwpu_crowd
from scipy.io import loadmat, savemat

from workbench.data import open_dataset
from workbench.localization.formats import read_predictions, read_truth

pytestmark = pytest.mark.pipeline

SIZE = (72, 150)


def lines(content: bytes) -> int:
    return sum(bool(line.strip()) for line in content.decode("utf-8-sig").splitlines())


def shapes(content: bytes) -> int:
    return len(json.loads(content)["shapes"])


def table(content: bytes) -> int:
    return max(lines(content) - 1, 0)  # an empty file says that there is nobody


def rows(content: bytes) -> int:
    """Rows of a table of many images that hold a point: "a.png,," says that there is nobody."""
    held = [line.strip() for line in content.split(b"\n") if line.strip()]
    return sum(not line.endswith(b",,") for line in held[1:])


# data set, the file that is damaged, and how many people it then holds, read in another way (None: as many as before)
Case = tuple[str, str, Callable[[bytes], int] | None]
CASES: list[Case] = [
    ("shanghaitech_a", "part_A_final/test_data/ground-truth/GT_IMG_1.mat", None),
    ("shanghaitech_a", "part_A_final/test_data/images/IMG_1.jpg", None),
    ("ucf_cc_50", "1_ann.mat", None),
    ("ucf_qnrf", "Test/img_0001_ann.mat", None),
    ("jhu_crowd", "test/gt/0201.txt", lines),
    ("jhu_crowd", "test/image_labels.txt", None),
    ("nwpu_crowd", "jsons/3098.json", None),
    ("nwpu_mats", "mats/3098.mat", None),
    ("nwpu_crowd", "val.txt", None),
    ("mall", "mall_gt.mat", None),
    ("worldexpo10", "test_label/104207/104207_A02-S20100626080.mat", None),
    ("worldexpo10", "test_label/104207/roi.mat", None),
    ("worldexpo10", "test_perspective/104207.mat", None),
    ("trancos", "images/image-3-000001.txt", lines),
    ("trancos", "images/image-3-000001mask.mat", None),
    ("trancos", "image_sets/test.txt", None),
    ("shanghaitech_rgbd", "test_data/test_bbox_anno/BBOX_IMG_0001.mat", None),
    ("shanghaitech_rgbd", "test_data/test_depth/DEPTH_0001.mat", None),
    ("shanghaitech_rgbd", "test_data/test_img/IMG_0001.png", None),
    ("mat_folded", "1_ann.mat", None),
    ("mat_version_4", "1_ann.mat", None),
    ("webp", "test/a.webp", None),
    ("csv", "test/a.csv", table),
    ("labelme", "test/a.json", shapes),
    ("points", "test/points.csv", rows),
    ("labelled", "test/a.json", lambda content: len(json.loads(content)["points"])),
    ("coco", "test/annotations.json", lambda content: len(json.loads(content)["annotations"])),
    ("cvat", "test/annotations.xml", lambda content: len(ElementTree.fromstring(content).findall("image[1]/points"))),
    ("label_studio", "test/annotations.json", lambda content: len(json.loads(content)[0]["annotations"][0]["result"])),
    ("via", "test/annotations.json", lambda content: len(next(iter(json.loads(content).values()))["regions"])),
]
# whose damage may change whom the region holds, or which image comes first
LOOSE = {
    "roi.mat",
    "image-3-000001mask.mat",
    "test.txt",
    "val.txt",
    "image-3-000001.txt",
    "104207_A02-S20100626080.mat",
}
KNOWN = {
    **dict.fromkeys(("csv", "labelme", "points", "labelled", "coco", "webp"), "folder"),
    **dict.fromkeys(("cvat", "label_studio", "via"), "folder"),
    **dict.fromkeys(("mat_folded", "mat_version_4"), "ucf_cc_50"),
    "nwpu_mats": "nwpu_crowd",
}
OPTIONS = {"nwpu_crowd": {"evaluate_on": "val"}, "nwpu_mats": {"evaluate_on": "val"}}


def write_own(root, kind):
    from PIL import Image

    (root / "test").mkdir(parents=True)
    picture = f"a.{kind}" if kind == "webp" else "a.png"
    Image.new("RGB", (SIZE[1], SIZE[0])).save(root / "test" / picture)
    points = np.random.default_rng(0).uniform(5, 65, (12, 2)).round(2)
    if kind in ("csv", "webp"):
        (root / "test" / "a.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in points))
    elif kind == "labelme":
        said = [{"label": "head", "shape_type": "point", "points": [[x, y]]} for x, y in points]
        (root / "test" / "a.json").write_text(json.dumps({"shapes": said, "imageHeight": 72, "imageWidth": 150}))
    elif kind == "points":
        (root / "test" / "points.csv").write_text("image,x,y\n" + "".join(f"a.png,{x},{y}\n" for x, y in points))
    elif kind == "labelled":
        said = {"points": points.tolist(), "labels": ["person"] * len(points)}
        (root / "test" / "a.json").write_text(json.dumps(said))
    elif kind == "cvat":
        marks = "".join(f'<points label="head" points="{x},{y}"/>' for x, y in points)
        said = f'<annotations><image id="0" name="a.png" width="150" height="72">{marks}</image></annotations>'
        (root / "test" / "annotations.xml").write_text(said)
    elif kind == "label_studio":
        shared = {"original_width": 150, "original_height": 72, "type": "keypointlabels"}
        marks = [
            shared | {"id": str(n), "value": {"x": x / 1.5, "y": y / 0.72, "width": 1, "keypointlabels": ["head"]}}
            for n, (x, y) in enumerate(points)
        ]
        task = {"data": {"image": "/data/upload/1/0123abcd-a.png"}, "annotations": [{"result": marks}]}
        (root / "test" / "annotations.json").write_text(json.dumps([task]))
    elif kind == "via":
        marks = [{"shape_attributes": {"name": "point", "cx": x, "cy": y}, "region_attributes": {}} for x, y in points]
        said = {"a.png-1": {"filename": "a.png", "size": -1, "regions": marks, "file_attributes": {}}}
        (root / "test" / "annotations.json").write_text(json.dumps(said))
    else:
        images = [{"id": 1, "file_name": "a.png", "height": 72, "width": 150}]
        said = [
            {"id": n, "image_id": 1, "category_id": 1, "bbox": [x - 2, y - 2, 4, 4]} for n, (x, y) in enumerate(points)
        ]
        content = {"images": images, "categories": [{"id": 1, "name": "person"}], "annotations": said}
        (root / "test" / "annotations.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    made = {}

    def copy(name):
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            if KNOWN.get(name) == "folder":
                write_own(root, name)
            elif name == "shanghaitech_a":
                write_shanghaitech(root)
            elif name == "nwpu_mats":
                write_nwpu_crowd(root / "set", kind="mats")
                root = root / "set"
            else:
                root = root / "set"
                WRITERS[KNOWN.get(name, name)](root)
            if name.startswith("mat_"):
                path = root / "1_ann.mat"
                points = {"annPoints": loadmat(path)["annPoints"]}
                savemat(path, points, format="4" if name == "mat_version_4" else "5")
            made[name] = root
        return made[name]

    return copy


class Trap:
    """What a pickle runs when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


WORDS = [b"nan", b"1e999", b"-7", b"99999999999999999999", b"\xff\xfe", b"\0", b"[[[[", b'"', b"null", b"0x10", b",,,"]


def damage(rng: np.random.Generator, content: bytes, trap: str) -> bytes:
    """One kind of damage, or two."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 3))):
        kind, place = int(rng.integers(9)), int(rng.integers(max(1, len(data))))
        length = int(rng.integers(1, 64))
        if kind == 0:
            del data[place:]
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = rng.bytes(length)
        elif kind == 3:
            data[place : place + length] = bytes(min(length, len(data) - place))
        elif kind == 4:
            data[place:place] = data[place : place + length]
        elif kind == 5:
            data[place : place + 2] = WORDS[int(rng.integers(len(WORDS)))]
        elif kind == 6 and rng.random() < 0.3:
            data = bytearray(pickle.dumps(Trap(trap)))
        else:
            for spot in rng.integers(max(1, len(data)), size=int(rng.integers(1, 9))):
                if len(data):
                    data[spot] = int(rng.integers(256))
    return bytes(data)


def damage_inside(rng: np.random.Generator, content: bytes, trap: str) -> bytes:
    """A MATLAB file whose array is damaged, then compressed: its own checksum is right."""
    folded = zlib.compress(damage(rng, content[128:], trap))
    return content[:128] + struct.pack("<II", 15, len(folded)) + folded


def fuzz(copies, tmp_path, times: int, seed: int) -> tuple[int, int]:
    """Damage files in turn; returns how many gave a sample and how many an error."""
    rng, trap = np.random.default_rng(seed), str(tmp_path / "sprung")
    samples = errors = 0
    for number in range(times):
        name, file, recount = CASES[number % len(CASES)]
        path = copies(name) / file
        whole = path.read_bytes()
        known = KNOWN.get(name, name)
        options = OPTIONS.get(name, {}) | {"outside": "clamp", "max_pixels": 1_000_000}
        before = open_dataset(known, copies(name), "test", **options)[0]
        content = (damage_inside if name == "mat_folded" else damage)(rng, whole, trap)
        path.write_bytes(content)
        started, said = time.perf_counter(), None
        try:
            sample = open_dataset(known, copies(name), "test", **options)[0]
        except (ValueError, FileNotFoundError) as error:
            said = str(error)
        else:
            samples += 1
            assert sample.points.shape == (sample.count, 2)
            assert np.isfinite(sample.points.numpy()).all()
            if path.name not in LOOSE:
                # these have no checksum: a changed width in the header is decoded as it says
                assert sample.size == before.size or path.suffix in (".jpg", ".webp")
                assert sample.count == (before.count if recount is None else recount(content)), (file, content)
        finally:
            path.write_bytes(whole)
        errors += said is not None
        assert said is None or str(copies(name)) in said, f"{file}: {said}"  # it says which file
        assert time.perf_counter() - started < 10
        assert not os.path.exists(trap)
    return samples, errors


@pytest.mark.bad_input
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_their_sample_or_one_error(copies, tmp_path):
    samples, errors = fuzz(copies, tmp_path, times=10 * len(CASES), seed=0)
    assert samples > 20
    assert errors > 100


@pytest.mark.slow
@pytest.mark.bad_input
@pytest.mark.filterwarnings("ignore")
def test_two_thousand_damaged_files(copies, tmp_path):
    samples, errors = fuzz(copies, tmp_path, times=2000, seed=1)
    assert samples + errors == 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2_000_000  # kilobytes
    assert samples > 200


@pytest.mark.bad_input
@pytest.mark.parametrize(("read", "row"), [(read_predictions, "{:.2f} {:.2f}"), (read_truth, "{:.2f} {:.2f} 3 5.5 2")])
def test_damaged_lists_of_points_give_what_they_say_or_one_error(tmp_path, read, row):
    rng, path, sound, messages = np.random.default_rng(2), tmp_path / "a.txt", 0, []
    named = {str(n): rng.uniform(0, 99, (n, 2)) for n in range(6)}
    whole = "".join(f"{name} {len(p)} {' '.join(row.format(*xy) for xy in p)}\n" for name, p in named.items()).encode()
    for _ in range(300):
        content = damage(rng, whole, str(tmp_path / "sprung"))
        path.write_bytes(content)
        try:
            found = read(path)
        except ValueError as error:
            messages.append(str(error))
        else:
            sound += 1
            said = [line.split() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
            assert {name: len(one) for name, one in found.items()} == {cells[0]: int(cells[1]) for cells in said}
    assert sound > 0
    assert all(str(path) in message for message in messages)


@pytest.mark.bad_input
def test_archives_in_the_place_of_annotations_are_refused(copies, tmp_path):
    path = copies("ucf_qnrf") / "Test" / "img_0001_ann.mat"
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("annPoints.npy", pickle.dumps(Trap(str(tmp_path / "sprung"))))
    try:
        with pytest.raises(ValueError, match=r"img_0001_ann\.mat is not a MATLAB file"):
            open_dataset("ucf_qnrf", copies("ucf_qnrf"), "test")[0]
    finally:
        path.write_bytes(whole)
    assert not (tmp_path / "sprung").exists()
