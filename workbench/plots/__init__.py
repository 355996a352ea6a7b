"""Figures, one theme a file."""

from workbench.io.extras import need

need("data")
