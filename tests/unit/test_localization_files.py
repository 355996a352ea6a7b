import pytest
import torch

from workbench.localization.formats import (
    Heads,
    heads_of_boxes,
    read_predictions,
    read_truth,
    write_predictions,
    write_truth,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_predictions_come_back_to_the_last_digit(tmp_path, dtype):
    torch.manual_seed(0)
    extremes = torch.tensor([[-1e-7, 1e9], [0.1, 1 / 3]], dtype=dtype)
    written = {"b": torch.rand(50, 2, dtype=dtype) * 1000, "a": torch.zeros(0, 2, dtype=dtype), "é_1": extremes}
    write_predictions(tmp_path / "p.txt", written)
    found = read_predictions(tmp_path / "p.txt")
    assert list(found) == list(written)
    for name, points in written.items():
        assert found[name].dtype == torch.float64
        assert torch.equal(found[name].to(dtype), points)
    assert (tmp_path / "p.txt").read_text().splitlines()[1] == "a 0"


def test_annotations_come_back(tmp_path):
    points = torch.tensor([[1.5, -2.0], [300.0, 0.25]], dtype=torch.float64)
    radii = torch.tensor([3.0, 4.5], dtype=torch.float64)
    nobody = Heads(points[:0], radii[:0], radii[:0], torch.zeros(0, dtype=torch.long))
    written = {"7": Heads(points, radii, 2 * radii, torch.tensor([0, 5])), "8": nobody}
    write_truth(tmp_path / "t.txt", written)
    assert (tmp_path / "t.txt").read_text() == "7 2 1.5 -2 3 6 0 300 0.25 4.5 9 5\n8 0\n"
    found = read_truth(tmp_path / "t.txt")
    assert list(found) == ["7", "8"]
    for name, heads in written.items():
        for field in ("points", "sigma_small", "sigma_large", "level"):
            assert torch.equal(getattr(found[name], field), getattr(heads, field))


def test_blank_lines_and_windows_line_ends_are_read(tmp_path):
    (tmp_path / "p.txt").write_bytes(b"1 1 2 3\r\n\r\n2 0\r\n")
    assert {name: points.tolist() for name, points in read_predictions(tmp_path / "p.txt").items()} == {
        "1": [[2, 3]],
        "2": [],
    }


def test_radii_and_levels_from_boxes():
    # widths and heights: 2 x 5, 10 x 10, 30 x 40, 1 x 1 and 400 x 300
    sizes = torch.tensor([[2.0, 5.0], [10.0, 10.0], [30.0, 40.0], [1.0, 1.0], [400.0, 300.0]], dtype=torch.float64)
    corner = torch.full((5, 2), 7.0, dtype=torch.float64)
    heads = heads_of_boxes(corner, torch.cat([corner, corner + sizes], dim=1))
    assert heads.sigma_small.tolist() == [1, 5, 15, 0, 150]
    assert heads.sigma_large.tolist() == [2, 7, 25, 0, 250]
    assert heads.level.tolist() == [1, 2, 3, 0, 5]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 2 1 2 3", "found 3 numbers for 2 points, expected 2 a point: 4"),
        ("2 two 1 2", "found 'two' after the image's id"),
        ("2", "found nothing after the image's id"),
        ("2 -1 1 2", "found '-1' after the image's id"),
        ("2 1 1 x", "found 'x', expected a number$"),
        ("2 1 1 1_0", "found '1_0', expected a number$"),
        ("2 1 12,5 7", r"found '12,5', expected a number; write decimals with a point: 12\.5"),
        ("2 1 nan 1", "found NaN or infinite"),
        ("1 1 1 1", "image '1' has a line above already"),
    ],
)
def test_a_bad_line_of_predictions_is_named(tmp_path, line, message):
    (tmp_path / "p.txt").write_text(f"1 0\n\n{line}\n")
    with pytest.raises(ValueError, match=rf"p\.txt, line 3: .*{message}"):
        read_predictions(tmp_path / "p.txt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 1 1 2 3 4", "expected 5 a point"),
        ("2 1 1 2 -3 4 1", "found a radius of -3"),
        ("2 1 1 2 3 4 6", "found level 6, expected 0 to 5"),
        ("2 1 1 2 3 4 1.5", "found level 1.5"),
    ],
)
def test_a_bad_line_of_annotations_is_named(tmp_path, line, message):
    (tmp_path / "t.txt").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=rf"t\.txt, line 1: .*{message}"):
        read_truth(tmp_path / "t.txt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.txt"):
        read_truth(tmp_path / "no.txt")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: write_predictions(path, {"a b": torch.zeros(1, 2)}), "image id is 'a b'"),
        (lambda path: write_predictions(path, {"": torch.zeros(1, 2)}), "image id is ''"),
        (lambda path: write_predictions(path, {"a": torch.full((1, 2), torch.inf)}), "points holds 2 values"),
        (
            lambda _: Heads(torch.zeros(1, 2), torch.ones(2), torch.ones(1), torch.ones(1).long()),
            "sigma_small has shape",
        ),
        (lambda _: Heads(torch.zeros(1, 2), torch.ones(1), -torch.ones(1), torch.ones(1).long()), "sigma_large holds"),
        (lambda _: Heads(torch.zeros(1, 2), torch.ones(1), torch.ones(1), torch.tensor([6])), "level holds 6 to 6"),
        (lambda _: heads_of_boxes(torch.zeros(1, 2), torch.tensor([[5.0, 0.0, 1.0, 3.0]])), "negative widths"),
    ],
)
def test_bad_input_is_named(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "f.txt")
    assert not (tmp_path / "f.txt").exists()
