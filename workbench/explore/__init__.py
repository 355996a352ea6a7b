"""Explorers to try a method by hand in a notebook, each by one call: ``explore.transport()``.

An explorer is shown as widgets where a kernel runs, and as a picture in an executed notebook. Its ``figure()`` draws
the same state for a report. Each explorer is imported when it is first used.
"""

from typing import Any

from workbench.io.extras import need

need("lab")

from workbench.explore.base import Explorer  # noqa: E402
from workbench.registry import look_up  # noqa: E402

EXPLORERS = {
    "experts": "workbench.explore.experts_explorer:ExpertsExplorer",
    "locality": "workbench.explore.locality_explorer:LocalityExplorer",
    "losses": "workbench.explore.losses_explorer:LossesExplorer",
    "margins": "workbench.explore.margins_explorer:MarginsExplorer",
    "transport": "workbench.explore.transport_explorer:TransportExplorer",
}
__all__ = ["Explorer", *EXPLORERS]


def __getattr__(name: str) -> Any:
    """The class of the explorer ``name``."""
    if name in EXPLORERS:
        return look_up(EXPLORERS, name, "explorer")
    raise AttributeError(f"module 'workbench.explore' has no attribute {name!r}, expected {', '.join(EXPLORERS)}")
