"""Batch samplers by name."""

from typing import Any

from workbench.registry import build

SAMPLERS = {
    "random": "workbench.sampling.batches:RandomBatches",
}

__all__ = ["SAMPLERS", "build_sampler"]


def build_sampler(name: str, *, samples: int, batch_size: int, seed: int = 0, **options: Any) -> Any:
    """Build a batch sampler by its name.

    Raises:
        ValueError: the name, an option or its value is not known.
    """
    return build(SAMPLERS, name, "sampler", samples=samples, batch_size=batch_size, seed=seed, **options)
