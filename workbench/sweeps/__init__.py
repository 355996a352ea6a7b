"""Sweeps: a grid is planned as cells, and workers run them.

The workers are processes of this machine, or of a Dask cluster if its address is given. Notebooks run the same way.
"""

from workbench.io.extras import need

need("sweeps")
