"""What several notebooks share: recipes, the benchmark, experts, descents and timings."""
