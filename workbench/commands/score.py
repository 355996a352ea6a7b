"""``workbench score``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands.output import Json, near, print_json, print_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.localization.formats import Heads
    from workbench.localization.scores import QnrfScores


def score(
    predictions: Annotated[Path, typer.Option(help="Predicted points: lines of `id n x1 y1 x2 y2 ...`.")],
    truth: Annotated[Path, typer.Option(help="Annotated points: lines of `id n (x y sigma_s sigma_l level) * n`.")],
    radius: Annotated[list[float] | None, typer.Option(metavar="PX", help="A fixed radius; repeatable.")] = None,
    qnrf: Annotated[bool, typer.Option("--qnrf", help="The radii 1 to 100 px, as UCF-QNRF is scored.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw precision and recall by radius.")] = None,
    json: Json = False,
) -> None:
    """Score predicted points: NWPU-Crowd's protocol with the file's own radii, fixed radii, UCF-QNRF's protocol."""
    from workbench.localization.formats import read_predictions, read_truth

    found, heads = read_predictions(predictions), read_truth(truth)
    _same_images(predictions, set(found), truth, set(heads))
    content, swept = score_points(found, heads, radius or (), qnrf=qnrf or plot is not None)
    if plot is not None and swept is not None:
        save_plot(swept, plot)
    if json:
        print_json(content)
    else:
        print_scores(content)
    if plot is not None:
        typer.echo(f"precision and recall drawn on {near(plot)}", err=json)


def score_points(
    found: "Mapping[str, Tensor]", heads: "Mapping[str, Heads]", radius: Sequence[float] = (), *, qnrf: bool = False
) -> "tuple[dict[str, Any], QnrfScores | None]":
    """The scores of predicted points (N, 2) against annotated heads of the same images, both by image id.

    ``radius`` holds fixed radii in pixels besides the heads' own; ``qnrf`` adds the radii 1 to 100 px. Returns what the
    command prints, as plain values, and the scores of those radii.
    """
    from workbench.localization.scores import nwpu_scores, qnrf_scores, radius_scores
    from workbench.metrics import count_scores

    ours, theirs = [found[name] for name in heads], list(heads.values())
    points = [one.points for one in theirs]
    progress = typer.get_text_stream("stderr").isatty()
    small, large = (nwpu_scores(ours, theirs, sigma=sigma, progress=progress) for sigma in ("small", "large"))
    rows: dict[str, dict[str, Any]] = {"sigma_s": small.detection.to_dict(), "sigma_l": large.detection.to_dict()}
    for value in radius:
        result = radius_scores(ours, points, value, progress=progress)
        rows[f"{value:g} px"] = {**result.detection.to_dict(), "error_px": result.error}
    swept = qnrf_scores(ours, points, progress=progress) if qnrf else None
    if swept is not None:
        rows["1 to 100 px"] = swept.to_dict()
    counts = count_scores([len(one) for one in points], [len(one) for one in ours])
    counts = {name: value for name, value in counts.items() if value == value}  # NAE where nobody is in any image
    content: dict[str, Any] = {"images": len(points), "people": sum(map(len, points)), "predicted": sum(map(len, ours))}
    content |= {"scores": rows, "recall_by_level": large.recall_by_level, "counts": counts}
    return content | {"heads_by_level": {name: large.by_level[name][1] for name in large.recall_by_level}}, swept


def print_scores(content: Mapping[str, Any]) -> None:
    """Print what :func:`score_points` gives as tables."""
    typer.echo("{images} images, {people} people, {predicted} predicted points".format_map(content))
    typer.echo(f"\n{'matching':12} {'precision':>9} {'recall':>9} {'F1':>9} {'error px':>9} {'AUC':>9}")
    for name, row in content["scores"].items():
        columns = (row.get(key) for key in ("precision", "recall", "f1", "error_px", "auc"))
        cells = " ".join(" " * 9 if value is None else f"{value:9.4f}" for value in columns)
        typer.echo(f"{name:12} {cells}".rstrip())
    typer.echo("\nrecall by head area in square pixels, sigma_l")
    for name, value in content["recall_by_level"].items():
        typer.echo(f"  {name:14} {value:.4f}   of {content['heads_by_level'][name]}")
    typer.echo("\ncounts")
    print_numbers(content["counts"])


def save_plot(scores: "QnrfScores", path: Path) -> None:
    """Draw precision and recall against the radius and write it as PNG."""
    from workbench.io.files import atomic_write
    from workbench.plots.basic import new_figure
    from workbench.plots.localization import show_radius_scores

    figure = new_figure(6, 3.8, layout="constrained")
    show_radius_scores(figure.subplots(), scores)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _same_images(predictions: Path, found: set[str], truth: Path, known: set[str]) -> None:
    """Raise ``ValueError`` unless both files hold the same images, and any at all."""
    if not known:
        raise ValueError(f"{truth} holds no image, expected at least one line")
    for path, other, left in ((predictions, truth, known - found), (truth, predictions, found - known)):
        if left:
            first = ", ".join(sorted(left)[:3])
            raise ValueError(f"{path} lacks {len(left)} of the images of {other}, for instance {first}")
