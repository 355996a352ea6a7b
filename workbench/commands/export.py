"""``workbench export``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.commands.output import Json, near, print_json

ExportFormat = Literal["onnx", "torchscript"]


def export(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="The weights.pt that `workbench train` wrote.")],
    to: Annotated[ExportFormat, typer.Option(help="onnx needs the extra export.")] = "onnx",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Beside the weights unless given.")] = None,
    json: Json = False,
) -> None:
    """Write a trained model for use without this package, and check that it gives the same."""
    file, apart = export_weights(weights, to, out)
    if json:
        print_json({"file": str(file), "format": to, "difference": apart})
    else:
        typer.echo(f"{near(file)}: differs by {apart:.1g} of the largest density, at three sizes")


def export_weights(weights: Path, to: ExportFormat, out: Path | None = None) -> tuple[Path, float]:
    """What ``workbench export`` does: the file, and by how much it differs."""
    from workbench.training.experiment import open_trained, trained_resize
    from workbench.training.export import EXPORT_SUFFIXES, export_model

    model, config = open_trained(weights)
    file = out or weights.with_name(f"model{EXPORT_SUFFIXES[to]}")
    return file, export_model(model, file, to, resize=trained_resize(config))
