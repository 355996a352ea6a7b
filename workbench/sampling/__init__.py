"""Batch samplers by name: the strategies of the locality-aware paper's Table 6."""

import inspect
from typing import Any

from workbench.data.dataset import CrowdDataset
from workbench.registry import Builder, build, look_up, register

SAMPLERS: dict[str, str | Builder] = {
    "random": "workbench.sampling.batches:RandomBatches",
    "offline": "workbench.sampling.batches:OfflineBatches",
    "balanced": "workbench.sampling.batches:BalancedBatches",
    "adaptive": "workbench.sampling.batches:AdaptiveBatches",
    "lada": "workbench.sampling.zoom:LADABatches",
    "ladp": "workbench.sampling.partition:LADPBatches",
    "la_batch": "workbench.sampling.batches:LABatches",
}
FIXED = ("offline", "balanced", "adaptive", "lada", "ladp", "la_batch")
"""Those that remember, partition or zoom samples: they need patches at fixed places."""

__all__ = ["FIXED", "SAMPLERS", "build_sampler", "register_sampler"]


def build_sampler(
    name: str,
    *,
    samples: int,
    batch_size: int,
    seed: int = 0,
    patches: CrowdDataset | None = None,
    **options: Any,
) -> Any:
    """Build a batch sampler by its name.

    Args:
        name: one of ``SAMPLERS``.
        samples: number of samples.
        batch_size: samples per batch; see the sampler's class.
        seed: what everything is drawn from.
        patches: the samples, :class:`~workbench.data.patches.FixedPatches`, which those of ``FIXED`` need.
        options: the sampler's own options, see its class.

    Raises:
        ValueError: the name, an option or its value is not known, or the sampler needs other patches.
    """
    if name in FIXED:
        from workbench.data.patches import FixedPatches

        if not isinstance(patches, FixedPatches):
            found = "none" if patches is None else type(patches).__name__
            raise ValueError(
                f"sampler {name!r} needs the same patches in every epoch, found {found}; expected FixedPatches: "
                "set per_image"
            )
        if len(patches) != samples:
            raise ValueError(f"samples is {samples}, but there are {len(patches)} patches; expected the same")
    known = inspect.signature(look_up(SAMPLERS, name, "sampler")).parameters
    wanted = {"patches": patches} if "patches" in known else {}
    return build(SAMPLERS, name, "sampler", samples=samples, batch_size=batch_size, seed=seed, **wanted, **options)


def register_sampler(name: str, builder: str | Builder) -> None:
    """Make somebody's own sampler known by a name; see :mod:`workbench.registry`.

    Args:
        name: what :func:`build_sampler` shall know it by.
        builder: a batch sampler that takes ``samples``, ``batch_size``, ``seed`` and its options by keyword,
            or ``"module:attribute"``.

    Raises:
        ValueError: the name is taken by another sampler.
    """
    register(SAMPLERS, name, builder, "sampler")
