"""Training and what belongs to it: configuration, objective, loop, evaluation, prediction."""

from workbench.io.extras import need

need("train")
