"""``workbench predict``."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from workbench.commands.output import MISTAKE, Json, complain, near, print_json

Method = Annotated[Literal["local_maxima", "ot_m"], typer.Option(help="How points are found in the density map.")]
Resize = Annotated[
    str | None,
    typer.Option(metavar="RULE", help="How pictures are resized, longest:512; as in training unless given."),
]


def predict(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, folders of pictures, or one video.")
    ],
    weights: Annotated[Path, typer.Option(help="The weights.pt that `workbench train` wrote.")],
    resize: Resize = None,
    method: Method = "local_maxima",
    points: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the points to this file.")] = None,
    format: Annotated[
        Literal["text", "csv"],
        typer.Option(help="text: a line a picture, for `workbench score`; csv: a line a point, image,x,y,score."),
    ] = "text",
    overlay: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw the people of each picture here.")] = None,
    tile: Annotated[int, typer.Option(help="Side in pixels of the tiles that a large picture is cut into.")] = 1024,
    every: Annotated[str, typer.Option(metavar="TIME", help="Of a video: how far apart pictures are, 500ms.")] = "1s",
    counts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of a video: the table of counts; NAME_counts.csv unless given.")
    ] = None,
    json: Json = False,
) -> None:
    """Count the people in pictures, of any size, or in a video.

    A picture that cannot be read is reported, the others are counted, and the exit code says that one failed.
    """
    from workbench.data.files.video import VIDEO_SUFFIXES

    if any(path.suffix.lower() in VIDEO_SUFFIXES for path in images):
        if len(images) > 1 or points is not None:
            raise ValueError("a video is given, expected it alone and without --points")
        options: dict[str, Any] = {"every": every, "resize": resize, "method": method, "tile": tile}
        file = counts or Path(f"{images[0].stem}_counts.csv")
        found_rows = predict_video(images[0], weights, file, overlay, quiet=json, **options)
        if json:
            print_json(found_rows)
        else:
            typer.echo(f"  {near(file)}")
        return
    from workbench.data.files.resizing import resize_rule
    from workbench.localization.formats import write_csv, write_predictions
    from workbench.training.experiment import open_trained, trained_resize
    from workbench.training.predict import predict_image, save_overlay

    model, config = open_trained(weights)
    rule = trained_resize(config) if resize is None else resize
    resize_rule(rule)
    paths = find_pictures(images)
    where = places(paths)
    stems = Counter(path.stem for path in paths)
    # The id of each picture in a file of points: its stem, or its place where two stems are alike.
    names = [path.stem if stems[path.stem] == 1 else place for path, place in zip(paths, where, strict=True)]
    if points is not None and format == "text":
        for name in names:
            if name.split() != [name]:
                raise ValueError(f"the picture {name!r} has a blank in its name; expected none, or --format csv")
    if rule != "none" and resize is None:
        typer.echo(f"pictures are resized by {rule}, as in the training; --resize changes that", err=True)
    rows: list[dict[str, Any]] = []
    found = {}
    failed = 0
    for path, name, place in zip(paths, names, where, strict=True):
        row: dict[str, Any] = {"image": str(path)}
        try:
            prediction = predict_image(model, path, resize=rule, method=method, tile=tile)
            row = {**prediction.to_dict(), **row}
            found[name] = (prediction.points, prediction.scores)
            if overlay is not None:
                drawn = overlay / f"{place}_people.png"
                save_overlay(prediction, drawn)
                row["overlay"] = str(drawn)
            if not json:
                typer.echo(f"{path}: {prediction.count:.1f} people, {len(prediction.points)} points")
        except (ValueError, OSError) as error:
            failed += 1
            complain(error)
            row["error"] = str(error)
        rows.append(row)
    if json and failed < len(rows):
        print_json(rows)
    if points is not None and found:
        if format == "text":
            write_predictions(points, {name: people for name, (people, _) in found.items()})
        else:
            write_csv(points, found)
    if failed:
        if failed < len(rows):
            typer.echo(f"{failed} of {len(rows)} pictures failed", err=True)
        raise typer.Exit(MISTAKE)


def predict_video(
    video: Path,
    weights: Path,
    counts: Path,
    overlay: Path | None,
    *,
    every: str,
    resize: str | None,
    method: str,
    tile: int,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Count the people in a video at intervals: a row a picture, which ``counts`` keeps as CSV."""
    from workbench.data.files.video import interval, read_frames
    from workbench.io.files import write_text
    from workbench.training.experiment import open_trained, trained_resize
    from workbench.training.predict import predict_pixels, save_overlay

    apart = interval(every)
    model, config = open_trained(weights)
    rule = trained_resize(config) if resize is None else resize
    rows: list[dict[str, Any]] = []
    for seconds, image in read_frames(video, apart):
        name = f"{video.stem}_{seconds:08.2f}s"
        prediction = predict_pixels(model, image, name, resize=rule, method=method, tile=tile)
        rows.append({"seconds": round(seconds, 3), "count": prediction.count, "points": len(prediction.points)})
        if overlay is not None:
            save_overlay(prediction, overlay / f"{name}_people.png")
        if not quiet:
            typer.echo(f"{seconds:.2f} s: {prediction.count:.1f} people, {len(prediction.points)} points")
    lines = [f"{row['seconds']},{row['count']:.3f},{row['points']}" for row in rows]
    write_text(counts, "\n".join(["seconds,count,points", *lines]) + "\n")
    return rows


def find_pictures(given: Sequence[Path]) -> list[Path]:
    """The pictures that are named, and those that lie in the folders that are named, each once.

    Raises:
        FileNotFoundError: a folder holds no pictures.
        ValueError: a folder holds pictures of a kind that is not read.
    """
    from workbench.data.files.entries import image_files

    paths = (path for one in given for path in (image_files(one, one_a_name=False) if one.is_dir() else [one]))
    return list({os.path.abspath(path): path for path in paths}.values())


def places(paths: Sequence[Path]) -> list[str]:
    """Each picture's place below the folder that all of them share, ``cam1/0001.jpg``: no two are alike."""
    whole = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in whole])
    return [Path(os.path.relpath(path, root)).as_posix() for path in whole]
