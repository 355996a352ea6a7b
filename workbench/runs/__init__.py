"""A run of a notebook: its parameters, its status, what it hands over and its record."""

from workbench.io.extras import need

need("train")

from workbench.runs.run import Run, in_notebook, start_run  # noqa: E402

__all__ = ["Run", "in_notebook", "start_run"]
