import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from layouts import HALF, write_image_info, write_shanghaitech
from scipy.io import savemat

from workbench.data import open_dataset
from workbench.data.readers.shanghaitech import ShanghaiTech
from workbench.data.splits import hold_out


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    root = tmp_path_factory.mktemp("shanghaitech")
    return root, write_shanghaitech(root)


def test_points_lie_on_the_painted_heads(copy):
    root, written = copy
    wrong_way = 0
    for split, part in (("trainval", "train"), ("test", "test")):
        data = open_dataset("shanghaitech_a", root, split)
        assert data.names == list(written[part])  # IMG_2 before IMG_10
        for index, name in enumerate(data.names):
            sample = data[index]
            np.testing.assert_array_equal(sample.points.numpy(), written[part][name])
            assert sample.name == name
            bright = sample.image.min(dim=0).values > 0.6
            for x, y in sample.points.long().tolist():
                assert bright[y - HALF + 1 : y + HALF, x - HALF + 1 : x + HALF].all(), name
                swapped = x < bright.shape[0] and y < bright.shape[1] and bool(bright[x, y])
                wrong_way += not swapped
            # as many bright pixels as heads cover, as far as JPEG keeps edges
            assert abs(int(bright.sum()) - sample.count * (2 * HALF + 1) ** 2) <= 8 * sample.count
    assert wrong_way > 100


def test_awkward_images_are_read_as_one_sees_them(copy):
    data = open_dataset("shanghaitech_a", copy[0], "trainval")
    sizes = [tuple(data[index].image.shape) for index in range(12)]
    assert sizes == [(3, 60 + 6 * n, 120 + 3 * n) for n in range(1, 13)]
    assert [data[index].count for index in (4, 5, 6)] == [0, 0, 1]
    assert data[4].points.shape == data[5].points.shape == (0, 2)
    for index in range(12):
        assert torch.equal(data.points(index), data[index].points)
        assert data[index].image.dtype == data[index].points.dtype == torch.float32


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("truth", ["ground-truth", "ground_truth"])
def test_every_spelling_of_the_folders(tmp_path, final, truth):
    written = write_shanghaitech(tmp_path / "data", "B", final=final, truth=truth, train=2, test=1)
    part = tmp_path / "data" / ("part_B_final" if final else "part_B")
    for root in (tmp_path / "data", part):
        data = open_dataset("shanghaitech_b", str(root), "test")
        np.testing.assert_array_equal(data.points(0).numpy(), written["test"]["IMG_1"])
    part.rename(tmp_path / "mine")
    assert len(open_dataset("shanghaitech_b", tmp_path / "mine", "trainval")) == 2


@pytest.mark.bad_input
def test_folders_that_are_there_twice_are_an_error(tmp_path):
    write_shanghaitech(tmp_path, "A", train=2, test=1)
    shutil.copytree(tmp_path / "part_A_final" / "train_data", tmp_path / "part_A" / "train_data")
    with pytest.raises(ValueError, match="holds part_A and part_A_final, expected one of them"):
        open_dataset("shanghaitech_a", tmp_path)
    shutil.rmtree(tmp_path / "part_A")
    truth = tmp_path / "part_A_final" / "train_data" / "ground-truth"
    shutil.copytree(truth, truth.with_name("ground_truth"))
    with pytest.raises(ValueError, match="holds ground-truth and ground_truth, expected one of them"):
        open_dataset("shanghaitech_a", tmp_path)


def test_validation_images_come_out_of_the_training_part_only(copy):
    train, val, both = (open_dataset("shanghaitech_a", copy[0], split, validation=0.25) for split in SPLITS)
    assert len(train) == 9
    assert len(val) == 3
    assert sorted(train.names + val.names) == sorted(both.names)
    again = open_dataset("shanghaitech_a", copy[0], "val", validation=0.25)
    assert again.names == val.names
    seeds = {tuple(open_dataset("shanghaitech_a", copy[0], "val", seed=seed).names) for seed in range(8)}
    assert len(seeds) > 1


SPLITS = ("train", "val", "trainval")


def test_held_out_parts_for_any_size():
    for count in (1, 2, 5, 300):
        for share in (0.0, 0.1, 0.99):
            train, val, both = (hold_out(count, split, validation=share) for split in SPLITS)
            assert sorted(train + val) == both == list(range(count))
            assert train
            assert len(val) == (0 if share == 0 or count == 1 else min(max(1, round(count * share)), count - 1))


def points_of(folder, location):
    write_image_info(folder / "a.mat", location)
    return ShanghaiTech.read_annotation(folder / "a.mat")


def test_nobody_in_every_guise_of_matlab(tmp_path):
    cell = np.empty((1, 1), dtype=object)
    cell[0, 0] = np.zeros((0, 2))
    for empty in (np.zeros((0, 2)), np.zeros((0, 0)), np.zeros((2, 0)), np.zeros((1, 0)), cell):
        annotation = points_of(tmp_path, empty)
        assert annotation.points.shape == (0, 2)
        assert annotation.points.dtype == torch.float32


def test_the_stated_number_is_read(tmp_path):
    write_image_info(tmp_path / "a.mat", np.ones((3, 2)), number=5)
    assert ShanghaiTech.read_annotation(tmp_path / "a.mat").stated == 5
    savemat(tmp_path / "b.mat", {"image_info": {"location": np.ones((3, 2), dtype=np.uint16)}})
    annotation = ShanghaiTech.read_annotation(tmp_path / "b.mat")
    assert annotation.stated is None
    assert annotation.points.tolist() == [[1, 1]] * 3


def test_points_past_the_border_are_dealt_with_as_told(tmp_path):
    write_shanghaitech(tmp_path, train=1, test=1)
    truth = tmp_path / "part_A_final" / "test_data" / "ground-truth" / "GT_IMG_1.mat"
    write_image_info(truth, np.array([[5.0, 6.0], [123.5, 10.0], [123.0, 66.0], [-1.0, 2.0]]))
    with pytest.raises(ValueError, match=r'GT_IMG_1\.mat has 2 of 4 points outside.*"clamp".*"drop"'):
        open_dataset("shanghaitech_a", tmp_path, "test")[0]
    clamp = open_dataset("shanghaitech_a", tmp_path, "test", outside="clamp")
    assert clamp[0].points.tolist() == [[5, 6], [123, 10], [123, 66], [0, 2]]
    drop = open_dataset("shanghaitech_a", tmp_path, "test", outside="drop")
    assert drop[0].points.tolist() == drop.points(0).tolist() == [[5, 6], [123, 66]]


class Trap:
    """What a pickle runs when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.bad_input
def test_bad_annotations_are_named(tmp_path):
    path = tmp_path / "a.mat"
    for location, message in [
        (np.ones((3, 3)), r"a\.mat holds points of shape \(3, 3\), expected \(N, 2\)"),
        (np.ones((2, 5)), r"a\.mat holds points of shape \(2, 5\)"),
        (np.array([[1.0, np.nan]]), r"a\.mat holds points that are NaN or infinite"),
        (np.array([[1.0, np.inf]]), r"a\.mat holds points that are NaN or infinite"),
        (np.array([["one", "two"]]), r"a\.mat holds points that are not numbers"),
        (np.array([[1 + 2j, 3]]), r"a\.mat holds complex numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            points_of(tmp_path, location)
    write_image_info(path, np.ones((3, 2)), key="annPoints")
    with pytest.raises(ValueError, match=r"a\.mat holds 'annPoints', expected the variable 'image_info'"):
        ShanghaiTech.read_annotation(path)
    savemat(path, {"image_info": {"points": np.ones((3, 2))}})
    with pytest.raises(ValueError, match=r"a\.mat: image_info is a struct with the fields 'points', expected"):
        ShanghaiTech.read_annotation(path)
    savemat(path, {"image_info": np.ones((3, 2))})
    with pytest.raises(ValueError, match=r"a\.mat: image_info is an array of shape \(3, 2\)"):
        ShanghaiTech.read_annotation(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"a\.mat is not a MATLAB file.*version 7\.3 \(HDF5\), expected 7\.2"):
        ShanghaiTech.read_annotation(path)
    path.write_bytes(pickle.dumps(Trap(str(tmp_path / "sprung"))))
    with pytest.raises(ValueError, match=r"a\.mat is not a MATLAB file that can be read: its header"):
        ShanghaiTech.read_annotation(path)
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(FileNotFoundError, match=r"no annotation .*none\.mat"):
        ShanghaiTech.read_annotation(tmp_path / "none.mat")


@pytest.mark.bad_input
def test_a_missing_folder_or_file_is_named(tmp_path, copy):
    with pytest.raises(ValueError, match="root is None, expected the folder that holds ShanghaiTech part A"):
        open_dataset("shanghaitech_a")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        open_dataset("shanghaitech_a", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is not ShanghaiTech part A: expected it, or part_A or part_A_final"):
        open_dataset("shanghaitech_a", tmp_path)
    with pytest.raises(FileNotFoundError, match="is not ShanghaiTech part B"):
        open_dataset("shanghaitech_b", copy[0] / "part_A_final")
    shutil.copytree(copy[0], tmp_path / "copy")
    part = tmp_path / "copy" / "part_A_final"
    (part / "train_data" / "ground-truth" / "GT_IMG_3.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 12 images have no annotation.*IMG_3\.jpg, expected .*GT_IMG_3"):
        open_dataset("shanghaitech_a", tmp_path / "copy")
    assert len(open_dataset("shanghaitech_a", tmp_path / "copy", "test")) == 4
    for image in (part / "test_data" / "images").iterdir():
        image.unlink()
    with pytest.raises(FileNotFoundError, match="images holds no images"):
        open_dataset("shanghaitech_a", tmp_path / "copy", "test")
    with pytest.raises(ValueError, match="outside is 'ignore', expected one of 'raise', 'clamp', 'drop'"):
        open_dataset("shanghaitech_a", copy[0], outside="ignore")
    with pytest.raises(ValueError, match="dataset 'shanghaitech_a' has no option 'preset'"):
        open_dataset("shanghaitech_a", copy[0], preset="small")
