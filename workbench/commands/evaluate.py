"""``workbench evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands.output import Json, assignments, near, parse, print_json, print_numbers, settings
from workbench.commands.predict import Method, Resize
from workbench.commands.score import print_scores, score_points

if TYPE_CHECKING:
    from workbench.data.dataset import CrowdDataset
    from workbench.data.sample import CrowdSample
    from workbench.localization.formats import Heads
    from workbench.models import CountingModel


def evaluate(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="The weights.pt that `workbench train` wrote.")],
    dataset: Annotated[
        str | None, typer.Option(help="The data set; the training's unless given. One of {data.DATASETS}.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Its folder.")] = None,
    split: Annotated[str, typer.Option(help="test, val, train or trainval.")] = "test",
    parameter: Annotated[list[str] | None, settings("An option of the data set.")] = None,
    resize: Resize = None,
    points: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Score points, too; writes both files of `workbench score`.")
    ] = None,
    method: Method = "local_maxima",
    radius: Annotated[
        tuple[float, float], typer.Option(help="The two matching radii in pixels where heads have no boxes.")
    ] = (4, 8),
    json: Json = False,
) -> None:
    """Score a trained model on a data set: counts, and with --points where people are."""
    from tqdm import tqdm

    from workbench.localization.formats import write_predictions, write_truth
    from workbench.training.evaluation import Counted
    from workbench.training.experiment import known_scores
    from workbench.training.predict import locate, predict_density

    model, data, trained_on, name, options = open_scored(
        weights, dataset, root, split, assignments(parameter, parse), resize
    )
    results, found, heads = [], {}, {}
    for index in tqdm(range(len(data)), unit="image", disable=None):  # None: shown on a terminal only
        sample = data[index]
        density = predict_density(model, sample.image)
        results.append(Counted(sample.name, float(sample.count), float(density.sum())))
        if points is not None:
            found[sample.name] = locate(density, method, model.stride, sample.size).points
            heads[sample.name] = heads_of(sample, radius)
    content: dict[str, Any] = {
        "dataset": name,
        "split": split,
        "resize": options.get("resize", "none"),
        "images": len(results),
        "counts": known_scores(results),
    }
    if name == trained_on and split != "test":
        content["warning"] = f"the images of {split!r} trained these weights or chose them: no score of unseen images"
        typer.echo(f"warning: {content['warning']}", err=True)
    if points is not None:
        write_predictions(points / "predictions.txt", found)
        write_truth(points / "truth.txt", heads)
        content["localization"], _ = score_points(found, heads)
    if json:
        print_json(content)
        return
    typer.echo(f"{name} {split}, {len(results)} images, resize {content['resize']}")
    print_numbers(content["counts"])
    if points is not None:
        print_scores(content["localization"])
        typer.echo(f"\npoints written to {near(points)}")


def open_scored(
    weights: Path, dataset: str | None, root: Path | None, split: str, options: dict[str, Any], resize: str | None
) -> "tuple[CountingModel, CrowdDataset, str, str, dict[str, Any]]":
    """A trained model and the images to score it on, by the options of ``workbench evaluate``.

    Returns:
        The model, the images, the name of the training's data set, the name of this one, and its options.

    Raises:
        ValueError: an unknown data set or option, or images without labels.
    """
    from workbench.data import DATASETS
    from workbench.registry import check_options
    from workbench.training.config import open_split
    from workbench.training.experiment import open_trained, trained_resize

    model, config = open_trained(weights)
    own = dataset is None or (dataset == config.dataset and root is None)
    name = config.dataset if dataset is None else dataset
    chosen = dict(config.dataset_options) if own else {}
    if (rule := trained_resize(config)) != "none":
        chosen["resize"] = rule
    chosen |= options
    if resize is not None:
        chosen["resize"] = resize
    check_options(DATASETS, name, "dataset", chosen)
    place = {"dataset": name, "root": root or (config.root if own else None), "dataset_options": chosen}
    data = open_split(config.model_copy(update=place), split)
    if not data[0].annotated:
        raise ValueError(f"{name} has no labels for its {split} images; choose another --split")
    return model, data, config.dataset, name, chosen


def heads_of(sample: "CrowdSample", radius: tuple[float, float]) -> "Heads":
    """The heads of a sample: matching radii from its boxes as NWPU-Crowd takes them, else the two fixed ones.

    Heads without a box are of level 0.
    """
    from workbench.localization.formats import Heads, heads_of_boxes

    if sample.boxes is not None:
        return heads_of_boxes(sample.points, sample.boxes)
    nobody = sample.points.new_zeros(len(sample.points))
    return Heads(sample.points, nobody + radius[0], nobody + radius[1], nobody.long())
