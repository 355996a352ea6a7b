"""Pictures out of videos: the right ones, whole, and counted as pictures are."""

import csv
import json

import av
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from workbench.commands.cli import app
from workbench.data.files.video import interval, read_frames
from workbench.models import build_model
from workbench.training.experiment import build_config, save_weights
from workbench.training.predict import predict_pixels

pytestmark = pytest.mark.pipeline
SIZE = (48, 80)


def picture(number):
    return np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def video(path, frames=25, rate=10):
    """Every picture is another one, and no bit of it is lost."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "bgr0"
        for number in range(frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("every", "numbers"),
    [(1.0, [0, 10, 20]), (0.5, [0, 5, 10, 15, 20]), (0.25, [0, 3, 5, 8, 10, 13, 15, 18, 20, 23]), (60, [0])],
)
def test_pictures_are_so_far_apart(tmp_path, every, numbers):
    found = list(read_frames(video(tmp_path / "a.mkv"), every))
    assert [round(frame.seconds * 10) for frame in found] == numbers
    for frame, number in zip(found, numbers, strict=True):
        assert torch.equal((frame.image * 255).round().byte().permute(1, 2, 0), torch.from_numpy(picture(number)))


def test_every_picture_where_the_interval_is_shorter_than_one(tmp_path):
    assert len(list(read_frames(video(tmp_path / "a.mkv"), 0.01))) == 25


def test_intervals_are_read():
    assert [interval(text) for text in ("1s", "500ms", "2 min", "0.5s")] == [1.0, 0.5, 120.0, 0.5]


@pytest.mark.bad_input
@pytest.mark.parametrize("text", ["", "1", "0s", "-1s", "1h", "one s"])
def test_other_intervals_are_named(text):
    with pytest.raises(ValueError, match=r"every is .*, expected an interval such as 1s, 500ms or 2min"):
        interval(text)


@pytest.mark.bad_input
def test_what_is_no_video_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no video .*a\.mp4"):
        next(read_frames(tmp_path / "a.mp4", 1))
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 100)
    with pytest.raises(ValueError, match=r"a\.mp4 is not a video that can be read"):
        next(read_frames(tmp_path / "a.mp4", 1))


def test_a_video_is_counted_as_its_pictures_are(tmp_path):
    torch.manual_seed(0)
    model = build_model("compact").eval()
    model.calibrate(0.1)
    save_weights(model, build_config(model="compact"), tmp_path / "weights.pt")
    given = [video(tmp_path / "street.mkv"), "--weights", tmp_path / "weights.pt", "--every", "1s", "--json"]
    given += ["--counts", tmp_path / "counts.csv", "--overlay", tmp_path / "drawn"]
    done = CliRunner().invoke(app, ["predict", *map(str, given)])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    with open(tmp_path / "counts.csv", newline="") as file:
        table = list(csv.DictReader(file))
    for row, line, number in zip(rows, table, (0, 10, 20), strict=True):
        image = torch.from_numpy(picture(number)).permute(2, 0, 1).float() / 255
        expected = predict_pixels(model, image, "picture")
        assert row == {
            "seconds": number / 10,
            "count": pytest.approx(expected.count, rel=1e-5),
            "points": len(expected.points),
        }
        assert float(line["seconds"]) == number / 10
        assert float(line["count"]) == pytest.approx(expected.count, abs=1e-3)
    drawn = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert drawn == [f"street_{seconds:08.2f}s_people.png" for seconds in (0, 1, 2)]
    refused = CliRunner().invoke(app, ["predict", "a.mp4", "b.png", "--weights", str(tmp_path / "weights.pt")])
    assert "expected it alone" in refused.output
