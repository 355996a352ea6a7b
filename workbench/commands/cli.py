"""The command ``workbench``."""

import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from workbench import __version__
from workbench.commands import (
    data,
    evaluate,
    export,
    features,
    lab,
    notebooks,
    predict,
    reference,
    robustness,
    score,
    sweep,
    training,
)
from workbench.commands.output import MISTAKE, Command, complain


class _Commands(TyperGroup):
    """Says what is wrong with the input in one line, instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):  # of these some are RuntimeErrors or OSErrors by descent
            raise
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(128 + signal.SIGINT) from None
        except (ValueError, OSError, RuntimeError) as error:
            if ctx.params.get("debug"):
                raise
            complain(error)
            raise typer.Exit(MISTAKE) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A research workbench for crowd counting.",
)
datasets = typer.Typer(no_args_is_help=True, help="The data sets: what there is, and whether a copy is whole.")
app.add_typer(datasets, name="data")
references = typer.Typer(no_args_is_help=True, help="The project's own measurements: make them, repeat some.")
app.add_typer(references, name="reference")


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _add(group: typer.Typer, *commands: Callable[..., None]) -> None:
    for command in commands:
        group.command(cls=Command)(command)


_add(app, notebooks.run, notebooks.report, sweep.sweep, training.train, predict.predict)
_add(app, features.features, export.export)
_add(app, evaluate.evaluate, robustness.robustness, score.score, lab.lab)
_add(datasets, data.check, data.prepare)
_add(references, reference.run, reference.check)
datasets.command("list", cls=Command)(data.list_datasets)


def main() -> None:
    """Run the command line."""
    # A `kill` ends what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    app()


if __name__ == "__main__":
    main()
