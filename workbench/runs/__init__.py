"""A run of a notebook: its parameters, its status, what it hands over and its record."""

from workbench.runs.run import Run, in_notebook, start_run

__all__ = ["Run", "in_notebook", "start_run"]
