"""What several notebooks share: recipes, the benchmark, experts, descents and timings."""

from workbench.io.extras import need

need("train")
