"""``workbench features``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands.output import Json, LiveLine, assignments, near, parse, print_json, settings

if TYPE_CHECKING:
    from workbench.training.features import Extracted


def features(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The data set, one of {data.DATASETS}.")],
    root: Annotated[
        Path | None, typer.Option(help="Its folder; the place that `data list` prints unless given.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="timm's name of a model.")] = "tf_efficientnet_lite0",
    weights: Annotated[
        str | None, typer.Option(help="A file, or timm for timm's hub; the extra `weights` unless given.")
    ] = None,
    strides: Annotated[str, typer.Option(help="Strides of the features.")] = "4,8,16,32",
    scales: Annotated[str, typer.Option(help="Factors on the sides of the pictures.")] = "1",
    mirrored: Annotated[bool, typer.Option("--mirrored", help="Keep mirrored pictures' features, too.")] = False,
    place: Annotated[
        Path | None, typer.Option(help="Folder of kept features; beside the data sets unless given.")
    ] = None,
    option: Annotated[list[str] | None, settings("An option of the data set.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will take, and stop.")] = False,
    json: Json = False,
) -> None:
    """Compute a backbone's features of every image once, for trainings with model=frozen; goes on where it stopped."""
    from workbench.data import open_dataset
    from workbench.models.backbones import open_backbone
    from workbench.training.features import expected_bytes, expected_seconds, extract, kept_folder

    wanted, factors = numbers(strides, int, "strides"), numbers(scales, float, "scales")
    options: dict[str, Any] = assignments(option, parse)
    parts = {part: open_dataset(dataset, root=root, split=part, **options) for part in ("trainval", "test")}
    network = open_backbone(backbone, wanted, weights)
    folder = kept_folder(dataset, backbone, place)
    size = expected_bytes(parts, network, factors, mirrored=mirrored)
    seconds = expected_seconds(parts, network, factors, mirrored=mirrored)
    typer.echo(f"{near(folder)}: {size / 1e9:.2f} GB, about {seconds / 60:.1f} minutes in all", err=True)
    if dry_run:
        if json:
            print_json({"folder": str(folder), "bytes": size, "seconds": seconds})
        return
    line, begun = LiveLine(err=True, every=30.0, watched=0.2), time.monotonic()

    def progress(done: "Extracted") -> None:
        left = (time.monotonic() - begun) / max(done.made, 1) * (done.images - done.made - done.found)
        ended = done.made + done.found == done.images
        line.show(lambda: f"{done.made + done.found} of {done.images} images, {left / 60:.1f} minutes left", last=ended)

    done = extract(parts, network, folder, dataset=dataset, scales=factors, mirrored=mirrored, on_done=progress)
    if json:
        print_json({**done._asdict(), "folder": str(folder), "bytes": size})
    else:
        typer.echo(f"{done.made} made, {done.found} were there already: {near(folder)}")


def numbers(text: str, kind: type, name: str) -> list[Any]:
    """``"8,16"`` -> ``[8, 16]``.

    Raises:
        ValueError: something in it is no such number.
    """
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{name} is {text!r}, expected numbers with ',' between them") from None
