"""Pictures out of a video, one at a time."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.data.files.images import MAX_PIXELS
from workbench.io.extras import need

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts")
UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0}


class VideoFrame(NamedTuple):
    """A picture of a video: its time in seconds from the first picture, and (3, H, W) in [0, 1], upright."""

    seconds: float
    image: Float[Tensor, "3 h w"]


def interval(text: str) -> float:
    """Seconds of an interval such as "1s", "500ms" or "2min"; ``ValueError`` for another text."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min)", text.strip(), re.ASCII)
    if found is None or float(found[1]) == 0:
        raise ValueError(f"every is {text!r}, expected an interval such as 1s, 500ms or 2min")
    return float(found[1]) * UNIT_SECONDS[found[2]]


def read_frames(path: str | Path, every: float) -> Iterator[VideoFrame]:
    """The first picture of a video, and then each first one that is ``every`` seconds later or more.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: without the extra ``video``.
        ValueError: the file is no video or damaged, or its pictures are too large; the message names it.
    """
    need("video")
    import av

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no video {path}")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} holds no pictures, expected a video")
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_PIXELS:
                raise ValueError(f"{path} has {stream.width} x {stream.height} pixels, expected at most {MAX_PIXELS:,}")
            stream.thread_type = "AUTO"
            begin, taken = None, 0
            for frame in container.decode(stream):
                time = float(frame.time or 0)
                begin = time if begin is None else begin
                if time - begin >= taken * every - 1e-6:
                    taken = int((time - begin + 1e-6) / every) + 1
                    pixels = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
                    yield VideoFrame(time - begin, torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255)
    except av.FFmpegError as error:
        raise ValueError(f"{path} is not a video that can be read: {error}") from error
