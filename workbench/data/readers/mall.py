"""Mall."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from workbench.data.files.entries import as_number, as_points, image_files
from workbench.data.files.folders import Annotation, Entry, FileDataset, Published
from workbench.data.files.matlab import fields, pick, read_variables, unwrap_cells

TRAINING = 800


class Mall(FileDataset):
    """Mall: 2,000 frames, 640 x 480, of one camera in a shopping mall.

    ``frames/seq_000001.jpg`` and ``mall_gt.mat``: ``frame`` is a cell of 2,000 structs whose first field is N x 2,
    x then y, ``count`` their numbers. The first 800 frames are the training part, an eighth of it held out for
    validation unless told (100 frames, as is usual). Arguments and errors as in
    :class:`~workbench.data.files.folders.FileDataset`.

    Reference:
        Chen, Loy, Gong and Xiang, "Feature Mining for Localised Crowd Counting", BMVC 2012.
    """

    name = "mall"
    title = "Mall"
    share = 0.125
    published: ClassVar = {
        "train": Published(images=800),
        "test": Published(images=1_200),
        "all": Published(images=2_000, people=62_325),
    }

    @classmethod
    def entries(cls, root: Path, part: str) -> Sequence[Entry]:
        """The frames of "train" or "test" in their order, each with what ``mall_gt.mat`` says of it."""
        file = root / "mall_gt.mat"
        images = {int(image.stem.removeprefix("seq_")): image for image in image_files(root / "frames", r"seq_\d+")}
        variables = read_variables(file)
        frames, counts = (np.asarray(variables[pick(variables, file, name)]).ravel() for name in ("frame", "count"))
        if len(frames) != len(counts):
            raise ValueError(f"{file} holds {len(frames)} frames and {len(counts)} counts, expected as many")
        # a frame with people is wanted, whether or not its file is there
        numbers = sorted({*images, *(number for number, count in enumerate(counts, start=1) if count)})
        chosen = [number for number in numbers if (number <= TRAINING) == (part == "train")]
        if not chosen:
            raise FileNotFoundError(f"{root / 'frames'} holds no frames of the {part} part")
        entries = []
        for number in chosen:
            image = images.get(number, root / "frames" / f"seq_{number:06d}.jpg")
            if not 1 <= number <= len(frames):
                raise ValueError(f"{file} holds {len(frames)} frames, {image} is not among them")
            given = frames[number - 1], counts[number - 1]
            entries.append(Entry(image.stem, image, file, given=given, own=False))
        return entries

    @classmethod
    def read(cls, entry: Entry) -> Annotation:
        """Points and number of one frame; an error if the frame is not a struct of points."""
        frame, count = unwrap_cells(entry.given[0]), entry.given[1]
        file = entry.image.parent.parent / f"mall_gt.mat ({entry.name})"
        if not fields(frame):
            raise ValueError(f"{file}: frame is not a struct, expected one with the points as its first field")
        return Annotation(as_points(unwrap_cells(frame[fields(frame)[0]]), file), as_number(count))
