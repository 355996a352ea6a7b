"""Ablations in bulk: a grid, its cells, one of them run, all of them on a Dask scheduler, and what is told of them."""

from workbench.io.extras import need

need("sweeps")
