"""The commands of the command line, a file a theme; heavy imports lie inside the commands."""

from workbench.io.extras import need

need("train")
